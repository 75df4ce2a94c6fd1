"""Follows code from instruction to instruction: many lanes side by side, exactly joined.

A lane starts at a place that looks like the start of an instruction and follows its instructions up
to the start of the next lane. Where it does not arrive there exactly, the next lane started wrong:
the true instructions are followed until they meet one that the lane found (x86 code falls into step
after a few instructions), and what it found before is dropped. The outcome is that of decoding from
the first byte on, one instruction after the other.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]
Found = NDArray[np.uint16]


class Step(Protocol):
    """Something that looks instructions up, and knows their lengths."""

    def __call__(self, at: Positions, /) -> tuple[Found, Found]:
        """Give what is at each position (1 or more) and the length of it in bytes (1 or more)."""


def follow(
    step: Step, starts: Positions, found: Found, restarts: Positions
) -> tuple[Positions, Found, int]:
    """Decode from `starts[0]` on: positions, what is there, and where it goes on.

    `found` is memory, one element for each byte: its length is where the code ends.
    `starts` are where lanes begin, ascending; they decide how long it takes, not what is found. At
    each of `restarts` (ascending) decoding begins anew, wherever the instruction before it ends.
    """
    end = len(found)
    found[:] = 0
    if len(restarts):
        starts = np.union1d(starts, restarts)
    limits = np.append(starts[1:], end)
    arrived = _run_lanes(step, starts, limits, found)
    loose = (arrived != limits) & (arrived < end)
    if len(restarts):
        loose &= ~(np.isin(limits, restarts) & (arrived > limits))
    reached = int(arrived[-1])
    if loose.any():
        bounds = np.append(restarts, end)
        ends = bounds[np.searchsorted(restarts, limits[loose])]
        settled = _join(step, found, limits[loose], arrived[loose], ends)
        reached = settled if settled >= end else reached
    at = np.flatnonzero(found != 0)
    return at, found.take(at), reached


def _run_lanes(step: Step, starts: Positions, limits: Positions, found: Found) -> Positions:
    """Follow all lanes up to their limits, but for the last few: say where each arrived."""
    arrived = starts.copy()
    lanes = np.arange(len(starts))
    at = starts
    few = len(starts) // 16  # stepping them costs as much as stepping a thousand: `_join` does it
    while len(at) > few:
        what, lengths = step(at)
        found[at] = what
        at = at + lengths
        going = at < limits
        if np.count_nonzero(going) < len(going):
            done = (~going).nonzero()[0]
            arrived[lanes[done]] = at[done]
            kept = going.nonzero()[0]
            at, lanes, limits = at.take(kept), lanes.take(kept), limits.take(kept)
    arrived[lanes] = at
    return arrived


def _join(step: Step, found: Found, starts: Positions, entries: Positions, ends: Positions) -> int:
    """Follow the code from each of `entries` to where something is found, or to `ends`.

    Lanes began at `starts`, which the code may not arrive at: what they found before it meets them
    is dropped. Give the position up to which this settled the code.
    """
    joined = ends.copy()
    lanes = np.arange(len(starts))
    at = entries
    paths: list[tuple[Positions, Positions, Found]] = []
    while True:
        inside = at < ends.take(lanes)
        met = ~inside
        met[inside] = found.take(at[inside]) != 0
        joined[lanes[met]] = at[met]
        going = (~met).nonzero()[0]
        if not len(going):
            break
        at, lanes = at.take(going), lanes.take(going)
        what, lengths = step(at)
        paths.append((lanes, at, what))
        at = at + lengths
    settled = np.minimum(joined, ends)
    right = _unpassed(starts, settled)
    found[_ranges(starts[right], settled[right])] = 0
    for lanes, at, what in paths:
        kept = right.take(lanes)
        found[at[kept]] = what[kept]
    return int(joined[right][-1])


def _unpassed(starts: Positions, settled: Positions) -> NDArray[np.bool_]:
    """Tell of paths, ascending by where the lane they lead to began, which ones count.

    One that began earlier and runs up to a start, or past it, settles the code there.
    """
    right = np.ones(len(starts), np.bool_)
    for index in (settled[:-1] >= starts[1:]).nonzero()[0].tolist():
        if right[index]:
            right[index + 1 : int(np.searchsorted(starts, settled[index], "right"))] = False
    return right


def _ranges(starts: Positions, ends: Positions) -> Positions:
    """Give all positions from each start up to its end."""
    sizes = np.maximum(ends - starts, 0)
    before = np.cumsum(sizes) - sizes
    inside: Positions = np.arange(int(sizes.sum())) - np.repeat(before, sizes)
    return np.repeat(starts, sizes) + inside
