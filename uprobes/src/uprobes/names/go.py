"""What the Go linker made: how it is known, and where its functions really begin."""

from insn.elf import Image
from insn.errors import InsnError
from uprobes.machine.go_checks import LONGEST, STACK_CHECKS

SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo")
MARK = b"\xff Go buildinf:"
"""What the Go linker puts before its build information (debug/buildinfo)."""


def is_go(image: Image) -> bool:
    """Tell whether a file was made by the Go linker."""
    if image.sections:
        return any(image.section(name) is not None for name in SECTIONS)
    return any(MARK in image.loaded(s) for s in image.segments if not s.executable)


def check_size(image: Image, start: int) -> int:
    """Return the size of the stack check with which a Go function begins, 0 without one."""
    check = STACK_CHECKS.get(image.arch.name)
    if check is None:
        return 0
    try:
        found = check.match(image.read(start, LONGEST))
    except InsnError:
        return 0
    return found.end() if found is not None else 0
