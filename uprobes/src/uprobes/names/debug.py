"""Debug files: the symbols that were stripped off a program, kept apart, found by the build ID."""

from collections.abc import Sequence

from insn.elf import Image, open_image
from insn.errors import InsnError
from insn.symbols import Symbols

_PLACE = "usr/lib/debug/.build-id"


def separate_symbols(image: Image, roots: Sequence[str]) -> Symbols | None:
    """Return the function symbols of the debug file for an image.

    `roots` are root directories to look in, the process's own first. None for an image that has all
    its symbols, or has no build ID, or no readable debug file of the same build ID.
    """
    try:
        identity = image.build_id
        if image.section(".symtab") is not None or not identity or len(identity) < 4:
            return None
    except InsnError:
        return None
    for root in roots:
        try:
            found = open_image(f"{root}/{_PLACE}/{identity[:2]}/{identity[2:]}.debug")
            if found.build_id == identity:
                return found.functions
        except (OSError, InsnError):
            continue
    return None
