"""Restartable sequences: code that the kernel restarts when it is interrupted (rseq(2)).

Programs describe theirs in records of 32 bytes: two 32-bit words, then start, length and where the
kernel goes instead, 64 bits each. They stand in a section of their own, as librseq and tcmalloc
have it; in a file that can be loaded anywhere the addresses stand in the relocations.
"""

import numpy as np
from numpy.typing import NDArray

from insn.elf import Image

_SECTION = "__rseq_cs"
_RELOCATIONS = ".rela.dyn"
_WORDS = 4
_START, _LENGTH = 1, 2
_LONGEST = 1 << 16
"""A longer sequence is a mistake: it could never end."""

Addresses = NDArray[np.uint64]


def sequences(image: Image) -> tuple[Addresses, Addresses]:
    """Find the starts and ends of a file's restartable sequences, ascending by start."""
    section = image.section(_SECTION)
    nothing = np.empty(0, np.uint64)
    if section is None or not section.in_file:
        return nothing, nothing
    order = "<" if image.headers.byte_order == "little" else ">"
    content = image.contents(section)
    words = np.frombuffer(content, f"{order}u8", len(content) // 32 * _WORDS).astype(np.uint64)
    relocations = image.section(_RELOCATIONS)
    if relocations is not None and image.headers.bits == 64:
        content = image.contents(relocations)
        entries = np.frombuffer(content, f"{order}u8", len(content) // 24 * 3).astype(np.uint64)
        places, _, values = entries.reshape(-1, 3).T
        offsets = places - np.uint64(section.address)  # those before it wrap round
        inside = offsets < np.uint64(8 * len(words))
        words[(offsets[inside] // np.uint64(8)).astype(np.intp)] = values[inside]
    records = words.reshape(-1, _WORDS)
    starts, lengths = records[:, _START], records[:, _LENGTH]
    found = (lengths > 0) & (lengths < _LONGEST)
    chosen = np.argsort(starts[found], kind="stable")
    return starts[found][chosen], (starts + lengths)[found][chosen]
