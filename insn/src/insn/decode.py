"""Decodes one instruction of any architecture: the rows decide, the second decoder must agree."""

from insn import second
from insn.arch import Arch
from insn.model import Effects, Instruction
from insn.x86 import X86_64


def decode(
    code: bytes, address: int, arch: Arch = X86_64, *, check: bool | None = None
) -> Instruction:
    """Decode the instruction that `code` begins with, as if it stood at `address`.

    `code` may be longer than the instruction. Raises Truncated when it is shorter, Undecodable
    when no instruction begins with it. `check` compares with the second decoder and raises
    DecodersDisagree when length or flow differ and the difference is not a known one; by default
    it does so where that decoder is installed.
    """
    instruction = arch.decode(code, address)
    if check or (check is None and second.available()):
        second.compare(instruction)
    return instruction


def effects(instruction: Instruction) -> Effects:
    """Tell how an instruction moves the stack, whether it accesses memory, and whether it may
    fault."""
    return instruction.arch.effects(instruction)
