"""Judges one instruction of any architecture."""

from insn.model import Instruction, Verdict


def judge(instruction: Instruction) -> Verdict:
    """Tell for each method whether a probe may execute the instruction by it, and if not, why
    (see `reasons`)."""
    return instruction.arch.judge(instruction)
