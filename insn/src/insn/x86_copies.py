"""Pieces of all copies of x86 instructions: jumps, and operands that count from RIP."""

from insn.errors import NotRelocatable
from insn.model import Flow, Instruction, Method
from insn.x86_detail import Detail
from insn.x86_judge import judge

DIRECT = frozenset({Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.CALL})
_S32 = range(-(1 << 31), 1 << 31)


def detail_of(instruction: Instruction) -> Detail:
    """Give what the decoder found in an instruction."""
    detail = instruction.detail
    assert isinstance(detail, Detail)
    return detail


def require(instruction: Instruction, method: Method) -> None:
    """Raise NotRelocatable with the reason when the verdict forbids a method."""
    why = judge(instruction).why_not(method)
    if why is not None:
        raise NotRelocatable(
            f"{instruction.name} cannot run in a copy ({method}, {why.code}): {why.why}",
            address=instruction.address,
            hint=why.hint,
        )


def near_jump(bits: int, at: int, to: int) -> bytes | None:
    """Encode the jump from `at` to `to` with a relative displacement; None when it does not
    reach."""
    if bits == 16:
        return b"\xe9" + ((to - at - 3) & 0xFFFF).to_bytes(2, "little")
    distance = to - at - 5
    if bits == 64 and distance not in _S32:
        return None
    return b"\xe9" + (distance & 0xFFFFFFFF).to_bytes(4, "little")


def any_jump(bits: int, at: int, to: int) -> bytes:
    """Encode a jump that reaches everything and changes no register."""
    return near_jump(bits, at, to) or far_jump(to)


def far_jump(to: int) -> bytes:
    """Encode the jump through the eight bytes behind it: 64-bit code only, all of memory."""
    return b"\xff\x25\0\0\0\0" + (to & (1 << 64) - 1).to_bytes(8, "little")


def displaced(instruction: Instruction, detail: Detail, at: int) -> bytes | None:
    """Copy an instruction with its RIP-relative displacement made right for `at`; None when it
    does not reach."""
    assert instruction.pc_relative is not None
    displacement = instruction.pc_relative.target - (at + detail.length)
    if detail.address_size == 4:
        # EIP-relative: the sum is cut to 32 bits, so that everything below 4 GiB is in reach.
        displacement = (displacement + (1 << 31)) % (1 << 32) - (1 << 31)
    if displacement not in _S32:
        return None
    offset = detail.displacement_offset
    field = displacement.to_bytes(4, "little", signed=True)
    return instruction.code[:offset] + field + instruction.code[offset + 4 :]
