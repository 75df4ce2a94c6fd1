"""Refuses bytes that fit a row of the x86 table but are no instruction."""

from insn.x86_detail import Detail, Encoding
from insn.x86_row import Property

_USES_VVVV = frozenset({"H", "B", "kH", "tH"})
_CONTROL_REGISTERS = frozenset({0, 2, 3, 4, 8})


class Invalid(Exception):
    """No instruction begins with these bytes, and why."""


def check(detail: Detail, *, broadcast: bool, vvvv: int) -> None:
    """Refuse what fits a row but is no instruction: illegal prefixes and register fields."""
    row = detail.row
    properties = row.properties
    memory = detail.has_memory
    letters = {operand.letter for operand in row.operands}
    if detail.lock and not (properties & Property.LOCK and memory):
        raise Invalid("LOCK cannot stand before it")
    if "C" in letters and detail.reg not in _CONTROL_REGISTERS:
        raise Invalid("no such control register")
    if "D" in letters and detail.reg > 7:
        raise Invalid("no such debug register")
    if detail.encoding in (Encoding.LEGACY, Encoding.REX2) or detail.apx:
        return
    # An EVEX memory operand with a vector index has the fifth bit of the index beside vvvv.
    named = vvvv & 15 if properties & Property.VSIB else vvvv
    if named and not letters & _USES_VVVV:
        raise Invalid("vvvv must not name a register")
    if (letters & {"kG", "kP"} and detail.reg > 7) or ("kH" in letters and detail.vvvv > 7):
        raise Invalid("no such mask register")
    if letters & {"tG", "tE", "tH"} and max(detail.reg, detail.vvvv) > 7:
        raise Invalid("no such tile register")
    if detail.encoding is Encoding.EVEX:
        if "G" in letters and detail.reg > 15:
            raise Invalid("no such general register")
        _check_evex(detail, memory=memory, broadcast=broadcast)
    if properties & Property.UNIQUE:
        _check_unique(detail, letters)


def _check_evex(detail: Detail, *, memory: bool, broadcast: bool) -> None:
    properties = detail.row.properties
    if detail.mask and not properties & (Property.MASK | Property.MASKREQ):
        raise Invalid("no mask can be used here")
    if properties & Property.MASKREQ and not detail.mask:
        raise Invalid("a mask must be named")
    if detail.zeroing and not (
        properties & Property.Z and detail.mask and not _writes_memory(detail)
    ):
        raise Invalid("elements cannot be zeroed here")
    if broadcast and not properties & (Property.BC if memory else Property.ER | Property.SAE):
        raise Invalid("no broadcast or rounding here")


def _writes_memory(detail: Detail) -> bool:
    first = detail.row.operands[0]
    return detail.has_memory and first.letter in "WM"


def _check_unique(detail: Detail, letters: set[str]) -> None:
    if "tG" in letters:
        used = [detail.reg, detail.rm, detail.vvvv]
    elif "H" not in letters:
        used = [detail.reg, detail.index]
    elif detail.row.properties & Property.VSIB:
        used = [detail.reg, detail.vvvv, detail.index]
    elif detail.reg in (detail.vvvv, -1 if detail.has_memory else detail.rm):
        used = [0, 0]
    else:
        used = [0]
    if len(set(used)) < len(used):
        raise Invalid("its registers must differ")
