"""Makes the bare copy of one x86 instruction, to be single-stepped and repaired afterwards."""

from insn.errors import NotRelocatable, OutOfReach
from insn.model import Fixups, Flow, Instruction, Method, Relocated
from insn.x86_copies import DIRECT, detail_of, displaced, require
from insn.x86_detail import Detail, Encoding

_SCRATCH = {"rsi": 6, "rdi": 7, "rbx": 3}
# By flow: what the copy leaves to repair when it was single-stepped.
_FLOW_FIXUPS = {
    Flow.NEXT: Fixups.IP,
    Flow.JUMP: Fixups.IP,
    Flow.CONDITIONAL_JUMP: Fixups.IP,
    Flow.INDIRECT_JUMP: Fixups.NONE,
    Flow.CALL: Fixups.IP | Fixups.RETURN_ADDRESS,
    Flow.INDIRECT_CALL: Fixups.RETURN_ADDRESS,
    Flow.RETURN: Fixups.NONE,
    Flow.SYSTEM_CALL: Fixups.IP,
}
# By refusal class: what comes on top.
_CLASS_FIXUPS = {
    "pushes-flags": Fixups.PUSHED_TRAP_FLAG,
    "loads-flags": Fixups.LOADED_FLAGS,
    "system-call": Fixups.SYSTEM_CALL,
}


def _with_scratch(instruction: Instruction, detail: Detail) -> tuple[bytes, str]:
    """Replace RIP by a register that the instruction does not use; the displacement stays."""
    used = instruction.reads | instruction.writes
    scratch = next((name for name in _SCRATCH if name not in used), None)
    if scratch is None:
        raise OutOfReach(
            "it uses every register that could stand for the program counter",
            address=instruction.address,
            hint="choose a slot within 2 GiB of what it addresses",
        )
    code = bytearray(instruction.code)
    code[detail.modrm_offset] = 0x80 | (detail.modrm & 0x38) | _SCRATCH[scratch]
    at = detail.encoding_offset
    # The bits that would extend the base register did not count before: they must say "not
    # extended" now.
    if detail.encoding is Encoding.LEGACY:
        if at >= 0:
            code[at] &= ~1
    elif code[at] != 0xC5:
        code[at + 1] |= 0x60
    return bytes(code), scratch


def step_copy(instruction: Instruction, to: int) -> Relocated:
    """Make the bare copy of one instruction, with what must be repaired after it was stepped."""
    require(instruction, Method.STEP)
    detail = detail_of(instruction)
    flow = detail.row.flow
    fixups = _FLOW_FIXUPS[flow] | _CLASS_FIXUPS.get(detail.row.refusal, Fixups.NONE)
    if detail.repeats:
        fixups |= Fixups.REPEATS
    code: bytes | None = instruction.code
    scratch = None
    if detail.pc_relative:
        code = displaced(instruction, detail, to)
        if code is None:
            code, scratch = _with_scratch(instruction, detail)
            fixups |= Fixups.SCRATCH
    elif flow in DIRECT and detail.mode == 64:
        _require_canonical(instruction, to)
    assert code is not None
    return Relocated(
        to,
        code,
        fixups,
        ((0, instruction.address), (len(code), instruction.end)),
        scratch,
        instruction.end if scratch else 0,
    )


def _require_canonical(instruction: Instruction, to: int) -> None:
    assert instruction.target is not None
    landing = (to + instruction.target - instruction.address) & (1 << 64) - 1
    if 0 < landing >> 47 < (1 << 17) - 1:
        raise NotRelocatable(
            f"the copy would branch to {landing:#x}, which is no address (step, copy-would-escape)",
            address=instruction.address,
            hint="use emulate, or a slot nearer to the original",
        )
