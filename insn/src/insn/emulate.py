"""Does an instruction's work on registers and memory that are handed in, as the CPU would."""

from insn.arch import Emulator
from insn.model import Instruction, Memory, Registers


def emulator(instruction: Instruction) -> Emulator:
    """Prepare a function that does the work of this instruction on (registers, memory), the
    program counter included.

    Everything that can be decided beforehand is; the function is meant for the moment of a hit.
    It changes nothing when an access to memory fails: the exception of `memory` passes through.
    Raises NotEmulable.
    """
    return instruction.arch.emulator(instruction)


def emulate(instruction: Instruction, registers: Registers, memory: Memory) -> None:
    """Do the work of the instruction once; NotEmulable when that is not possible on registers and
    memory alone."""
    instruction.arch.emulator(instruction)(registers, memory)


def only_moves_ip(instruction: Instruction) -> bool:
    """Tell whether emulating the instruction changes nothing but the program counter
    (no-operations and jumps)."""
    return instruction.arch.only_moves_ip(instruction)
