"""What an x86 instruction is wherever it stands, and what it is at one address."""

from typing import NamedTuple

from insn.arch import Arch
from insn.model import Flow, Instruction, PcRelative, PcRelativeKind
from insn.x86_detail import Detail
from insn.x86_effects import flags, registers
from insn.x86_row import Immediate, Property

# A branch cuts its target to the operand size.
_TARGET_MASKS = {2: 0xFFFF, 4: 0xFFFFFFFF, 8: (1 << 64) - 1}


class Form(NamedTuple):
    """What an instruction is, wherever it stands."""

    detail: Detail
    name: str
    branch: bool
    kind: PcRelativeKind
    reads: frozenset[str]
    writes: frozenset[str]
    flags_read: frozenset[str]
    flags_written: frozenset[str]


known: dict[tuple[int, bytes], Form] = {}
_FORMS_KEPT = 1 << 16


def _name(detail: Detail) -> str:
    names = detail.row.names
    if len(names) == 1:
        return names[0]
    by_address = any(o.letter == "$" and o.size == "cxa" for o in detail.row.operands)
    size = detail.address_size if by_address else detail.operand_size
    if len(names) == 2:
        return names[size > 2]
    return names[(2, 4, 8).index(size)]


def form_of(detail: Detail, code: bytes) -> Form:
    """Find out the rest about an instruction that was met for the first time."""
    reads, writes = registers(detail)
    flags_read, flags_written = flags(detail)
    form = Form(
        detail,
        _name(detail),
        detail.row.immediate in (Immediate.BRANCH_BYTE, Immediate.BRANCH_Z),
        PcRelativeKind.MEMORY if detail.accesses_memory else PcRelativeKind.ADDRESS,
        reads,
        writes,
        flags_read,
        flags_written,
    )
    if len(known) >= _FORMS_KEPT:
        known.clear()
    known[detail.mode, code[: detail.length]] = form
    return form


def place(form: Form, code: bytes, address: int, arch: Arch) -> Instruction:
    """Put the form at an address: what it names relative to itself becomes absolute."""
    detail = form.detail
    target = pc_relative = None
    length = detail.length
    if form.branch:
        size = detail.operand_size
        if detail.mode == 64:
            size = 8
        elif not detail.row.properties & Property.F64:
            size = 4  # xbegin: its displacement is short, its target is not
        where = (address + length + detail.immediate) & _TARGET_MASKS[size]
        pc_relative = PcRelative(
            detail.immediate_offset, detail.immediate_size, PcRelativeKind.BRANCH, where
        )
        target = where
    elif detail.row.flow is Flow.JUMP:
        target = detail.immediate & arch.address_mask
    elif detail.pc_relative:
        where = (address + length + detail.displacement) & arch.address_mask
        if detail.address_size == 4:
            where &= 0xFFFFFFFF
        pc_relative = PcRelative(detail.displacement_offset, 4, form.kind, where)
    return Instruction(
        address,
        code[:length],
        arch,
        form.name,
        detail.row.flow,
        target,
        pc_relative,
        form.reads,
        form.writes,
        form.flags_read,
        form.flags_written,
        detail,
    )
