"""Where may a return probe stand? Where a call has just put its return address on the stack."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from insn.elf import Image
from uprobes.machine.return_readers import LANDING, READERS
from uprobes.names.go import is_go

RETURNS_TWICE = frozenset(
    [
        "setjmp",
        "_setjmp",
        "__setjmp",
        "sigsetjmp",
        "__sigsetjmp",
        "vfork",
        "__vfork",
        "__libc_vfork",
        "getcontext",
        "__getcontext",
        "savectx",
        "swapcontext",
        "__swapcontext",
    ]
)
"""They keep their return address for a second return, which a replaced one would break."""

UNWINDERS = frozenset(
    [
        "_Unwind_RaiseException",
        "_Unwind_Resume_or_Rethrow",
        "_Unwind_Resume",
        "_Unwind_ForcedUnwind",
        "_Unwind_Backtrace",
    ]
)
"""The functions that walk the stack (Itanium C++ ABI: Exception Handling, level I)."""
UNWINDER = b"_Unwind_"

OFFSET = "a return probe needs the first instruction of a function"
ENTRY = "nothing called the entry of a program: it has no return address"
READS = "it reads its return address to learn where it is, and would find ours"
TWICE = "it returns twice to the same address"
NOT_CALLED = "by its unwind entry, no return address is known to be on top of the stack there"


def no_return(image: Image, address: int, offset: int, name: str | None) -> str:
    """Say why a return probe can't stand at a file address; empty where it can."""
    if offset:
        return OFFSET
    return no_returns(image, [address], [name or ""]).get(address, "")


def no_returns(image: Image, addresses: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Say of which functions the returns can't be probed and why, by file address."""
    if is_go(image):
        return {}  # their returns are seen without touching the stack
    frames = image.frames
    wanted = np.array(addresses, np.uint64)
    uncalled = wanted[np.isin(wanted, frames.starts[~frames.entered])]
    # A symbol in the middle of what one unwind entry covers: a second way into the function, or a
    # mere label. Nothing says what is on the stack there.
    at = np.searchsorted(frames.starts, wanted, side="right").astype(np.intp) - 1
    inside = at >= 0
    inside[inside] = (frames.starts[at[inside]] < wanted[inside]) & (
        frames.ends[at[inside]] > wanted[inside]
    )
    found = dict.fromkeys([*uncalled.tolist(), *wanted[inside].tolist()], NOT_CALLED)
    found |= dict.fromkeys(_readers(image, wanted).tolist(), READS)
    found |= {a: TWICE for a, name in zip(addresses, names, strict=True) if name in RETURNS_TWICE}
    if image.entry in addresses:
        found[image.entry] = ENTRY
    return found


def _readers(image: Image, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give those of the functions that begin by reading their return address."""
    rows = READERS.get(image.arch.name, ())
    found = [addresses[:0]]
    for stretch in image.text if rows else ():
        code = np.frombuffer(stretch.code + bytes(8), np.uint8)
        end = stretch.address + len(stretch.code)
        here = addresses[(addresses >= stretch.address) & (addresses < end)]
        at = (here - np.uint64(stretch.address)).astype(np.intp)
        at += 4 * np.isin(_words(code, at), LANDING)
        words = _words(code, at)
        reads = np.zeros(len(here), np.bool_)
        for mask, value in rows:
            reads |= words & np.uint32(mask) == value
        found.append(here[reads])
    return np.concatenate(found)


def _words(code: NDArray[np.uint8], at: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Read four bytes at each offset."""
    return np.ascontiguousarray(code[at[:, None] + np.arange(4)]).view("<u4").reshape(-1)


def unwinders(image: Image) -> list[int]:
    """List the functions of a file that walk the stack, by file address."""
    texts = [image.section(name) for name in (".dynstr", ".strtab")]
    # Reading a large file's symbols takes time; most files have none of these.
    if image.sections and not any(UNWINDER in image.contents(t) for t in texts if t is not None):
        return []
    symbols = image.functions
    addresses: list[int] = symbols.addresses.tolist()
    return [a for a, name in zip(addresses, symbols.names, strict=True) if name in UNWINDERS]
