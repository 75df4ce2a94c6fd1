"""Analyses whole stretches of code at once: what `decode` and `judge` say, as numpy records.

The same rows answer: each form of instruction that occurs is decoded and judged once (see `forms`),
and arrays of instructions are looked up by form.
"""

import importlib
import threading
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from insn.arch import Arch
from insn.forms import FLOWS, KINDS, METHODS, NUMBER_BITS, RECORD, STEP, Forms, Found, refusals
from insn.sweep import follow
from insn.x86 import X86_64

__all__ = ["FLOWS", "KINDS", "METHODS", "RECORD", "refusals", "scan"]

PADDING = 32
"""Bytes behind the code that may be read."""
_CHUNK = 1 << 21
"""Bytes of code that are followed together, at most."""
_LANE = 80
"""Bytes of code in a lane: with fewer, more lanes start wrong; with more, there are more steps."""
_BLOCK = 1 << 14
"""Records that are written together: what they need fits the fast caches."""
_EVERY_BIT = (1 << 64) - 1
# Arrays without dimensions: numpy takes them more quickly than numbers.
_STEP, _NUMBER, _COUNT_AT = (
    np.array(n, np.uint16) for n in (STEP, (1 << NUMBER_BITS) - 1, NUMBER_BITS)
)
_LENGTH, _SIZE, _NO_SIZE = np.uint64(0xFF), np.uint64(0xFF << 24), np.uint64(0)


class Lookup(Protocol):
    """What an architecture provides for scanning: see `x86_forms`."""

    forms: Forms

    def windows(
        self, buffer: NDArray[np.uint8], out: NDArray[np.uint32] | None = None
    ) -> NDArray[np.uint32]:
        """Give the four bytes from each position on as a number."""

    def look_up(
        self, buffer: NDArray[np.uint8], windows: NDArray[np.uint32], at: NDArray[np.intp]
    ) -> Found:
        """Find the form of the instruction at each position, with its number of stripped bytes."""

    def lane_starts(self, windows: NDArray[np.uint32], distance: int) -> NDArray[np.intp]:
        """Choose positions about `distance` apart where instructions probably start, first 0."""


_LEARNING = threading.Lock()
"""Held while forms are looked up, since new ones are learned on the way."""
_HOMES = dict.fromkeys(("x86_64", "x86_32", "x86_16"), ("insn.x86_forms", "X86Forms"))
USES = dict.fromkeys(_HOMES, ("insn.x86_uses", "X86Uses"))
"""Where each architecture says what its instructions read and write: see `bulk_liveness`."""


@cache
def _lookup(arch: Arch) -> Lookup:
    module, name = _HOMES[arch.name]
    made: Lookup = getattr(importlib.import_module(module), name)(arch)
    return made


def scan(
    code: bytes | bytearray | memoryview,
    address: int,
    arch: Arch = X86_64,
    *,
    starts: ArrayLike | None = None,
    restarts: ArrayLike = (),
) -> NDArray[np.void]:
    """Decode and judge all of `code`, which stands at `address`: an array of `RECORD`.

    Without `starts`, instruction follows instruction from the first byte on; where none begins, a
    record of length 0 stands for one byte. With `starts` (offsets into `code`), one record for each
    of them, in their order, whatever stands between. At each of `restarts` (offsets, ascending, of
    functions for example) decoding begins anew, wherever the instruction before it ends. Agrees
    with `decode` (by the rows, without the second decoder) and `judge` in everything that a record
    holds. Raises IndexError for an offset outside of `code`, nothing for any bytes.
    """
    text = np.frombuffer(code, np.uint8)
    lookup = _lookup(arch)
    if starts is None:
        with _LEARNING:
            return _scan_all(text, address, arch, lookup, np.asarray(restarts, np.intp))
    offsets = np.asarray(starts, np.intp)
    if len(offsets) and (offsets.min() < 0 or offsets.max() >= len(text)):
        raise IndexError(f"a start lies outside of the code, which has {len(text)} bytes")
    with _LEARNING:
        return _scan_each(text, address, arch, lookup, offsets)


def _scan_each(
    text: NDArray[np.uint8], address: int, arch: Arch, lookup: Lookup, offsets: NDArray[np.intp]
) -> NDArray[np.void]:
    """Look up single places: their bytes are copied, so that the other code costs nothing."""
    width = 2 * PADDING
    rows = np.zeros((len(offsets), width), np.uint8)
    reach = np.minimum(offsets[:, None] + np.arange(PADDING), len(text) - 1)
    rows[:, :PADDING] = text[reach]
    buffer = np.concatenate([rows.reshape(-1), np.zeros(PADDING, np.uint8)])
    windows = lookup.windows(buffer)
    at = np.arange(len(offsets)) * width
    found = lookup.look_up(buffer, windows, at)
    for where in np.flatnonzero(offsets > len(text) - arch.max_length).tolist():
        found[where] = lookup.forms.exactly(text[offsets[where] :].tobytes())
    out = np.empty((len(offsets), 3), np.uint64)
    _fill(out, lookup.forms, windows, at, offsets, address, found)
    return out.view(RECORD).reshape(-1)


class _Workspace(NamedTuple):
    """Memory for one piece of code; it is kept, since new memory costs more than the work in it."""

    windows: NDArray[np.uint32]
    found: Found


_kept = _Workspace(np.empty(0, np.uint32), np.empty(0, np.uint16))


def _workspace(size: int) -> _Workspace:
    global _kept
    if len(_kept.found) < size:
        _kept = _Workspace(np.empty(size, np.uint32), np.empty(size, np.uint16))
    return _kept


def _scan_all(
    text: NDArray[np.uint8],
    address: int,
    arch: Arch,
    lookup: Lookup,
    restarts: NDArray[np.intp],
) -> NDArray[np.void]:
    forms = lookup.forms
    out = np.empty((len(text) // 3 + 64, 3), np.uint64)
    count = position = 0
    last = len(text) - arch.max_length  # behind this, an instruction might be cut off
    # Equal pieces: the time for a piece hardly depends on its length, so that a short one is a
    # waste.
    piece = -(-last // max(1, -(-last // _CHUNK)))
    space = _workspace(piece + arch.max_length + 2 * PADDING) if last > 0 else None
    while space is not None and position < last:
        end = min(piece, last - position)
        buffer = text[position : position + end + arch.max_length + 2 * PADDING]
        short = end + arch.max_length + 2 * PADDING - len(buffer)
        if short:
            buffer = np.concatenate([buffer, np.zeros(short, np.uint8)])
        windows = lookup.windows(buffer, space.windows)
        here = restarts[(restarts > position) & (restarts < position + end)] - position
        found = space.found[:end]
        at, packed, reached = _follow(buffer, windows, found, arch, lookup, here)
        if count + len(at) > len(out):
            out = np.concatenate([out[:count], np.empty((len(at) + len(text) // 2, 3), np.uint64)])
        for block in range(0, len(at), _BLOCK):
            some = at[block : block + _BLOCK]
            records = out[count : count + len(some)]
            form = packed[block : block + _BLOCK]
            _fill(records, forms, windows, some, some, address + position, form)
            count += len(some)
        position = _next(position + end, position + reached, restarts)
    tail = []
    while position < len(text):
        tail.append(position)
        number = forms.exactly(text[position : position + arch.max_length].tobytes())
        position = _next(position + 1, position + (number & STEP), restarts)
    rest = _scan_each(text, address, arch, lookup, np.array(tail, np.intp))
    if count + len(rest) > len(out):
        out = np.concatenate([out[:count], np.empty((len(rest), 3), np.uint64)])
    records_found: NDArray[np.void] = out[: count + len(rest)].view(RECORD).reshape(-1)
    records_found[count:] = rest
    return records_found


def _next(first: int, reached: int, restarts: NDArray[np.intp]) -> int:
    """Say where decoding goes on: at `reached`, or where it begins anew from `first` on."""
    index = int(np.searchsorted(restarts, first))
    return reached if index == len(restarts) else min(reached, int(restarts[index]))


def _follow(
    buffer: NDArray[np.uint8],
    windows: NDArray[np.uint32],
    found: Found,
    arch: Arch,
    lookup: Lookup,
    restarts: NDArray[np.intp],
) -> tuple[NDArray[np.intp], Found, int]:
    """Follow the code from position 0 up to the length of `found`; also give where it goes on."""

    def step(at: NDArray[np.intp]) -> tuple[Found, Found]:
        what = lookup.look_up(buffer, windows, at)
        # Where nothing begins, be it because of too many prefixes, the next byte is tried.
        lengths = (what & _STEP) + (what >> _COUNT_AT)
        long = lengths > arch.max_length
        if np.count_nonzero(long):
            lengths[long] = 1
        return what, lengths

    return follow(step, lookup.lane_starts(windows[: len(found)], _LANE), found, restarts)


def _fill(
    out: NDArray[np.uint64],
    forms: Forms,
    windows: NDArray[np.uint32],
    at: NDArray[np.intp],
    offsets: NDArray[np.intp],
    address: int,
    found: Found,
) -> None:
    """Write records by form, number of prefixes, and the target that the bytes at `at` name."""
    parts = forms.parts.take(found)
    addresses = offsets.astype(np.uint64) + np.uint64(address & _EVERY_BIT)
    targets = np.zeros(len(at), np.uint64)
    relative = np.flatnonzero((parts & _SIZE) != _NO_SIZE)
    if len(relative):
        some = parts[relative]
        field = windows.take(at[relative] + (some >> np.uint64(16) & _LENGTH).view(np.int64))
        unused = np.uint32(32) - (some >> np.uint64(21) & np.uint64(0x7F8)).astype(np.uint32)
        distance = (field << unused).view(np.int32) >> unused.view(np.int32)
        target = addresses[relative] + (some & _LENGTH) + distance.astype(np.int64).view(np.uint64)
        targets[relative] = target & forms.masks.take(found[relative] & _NUMBER)
    out[:, 0] = addresses
    out[:, 1] = parts
    out[:, 2] = targets
