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
Found = NDArray[np.int32]


class Step(Protocol):
    """Something that looks instructions up, and knows their lengths."""

    def __call__(self, at: Positions, /) -> tuple[Found, NDArray[np.int32]]:
        """Give what is at each position (0 or more) and the length of it in bytes (1 or more)."""


def follow(
    step: Step, starts: Positions, found: Found, restarts: Positions
) -> tuple[Positions, Found, int]:
    """Decode from `starts[0]` on: positions, what is there, and where it goes on.

    `found` is memory, one element for each byte: its length is where the code ends.
    `starts` are where lanes begin, ascending; they decide how long it takes, not what is found. At
    each of `restarts` (ascending) decoding begins anew, wherever the instruction before it ends.
    """
    end = len(found)
    found[:] = -1
    if len(restarts):
        starts = np.union1d(starts, restarts)
    limits = np.append(starts[1:], end)
    arrived = _run_lanes(step, starts, limits, found)
    wrong = np.flatnonzero(arrived[:-1] != starts[1:]) + 1
    reached = int(arrived[-1])
    if len(wrong) and len(restarts):
        wrong = wrong[~np.isin(starts[wrong], restarts)]
    if len(wrong):
        bounds = np.append(restarts, end)
        ends = bounds[np.searchsorted(restarts, starts[wrong], side="right")]
        settled = _join(step, found, starts[wrong], arrived[wrong - 1], ends)
        reached = settled if settled >= end else reached
    at = np.flatnonzero(found >= 0)
    return at, found.take(at), reached


def _run_lanes(step: Step, starts: Positions, limits: Positions, found: Found) -> Positions:
    arrived = starts.copy()
    lanes = np.arange(len(starts))
    at = starts
    while len(at):
        what, lengths = step(at)
        found[at] = what
        at = at + lengths
        going = at < limits
        if np.count_nonzero(going) < len(going):
            done = (~going).nonzero()[0]
            arrived[lanes[done]] = at[done]
            kept = going.nonzero()[0]
            at, lanes, limits = at.take(kept), lanes.take(kept), limits.take(kept)
    return arrived


def _join(step: Step, found: Found, starts: Positions, entries: Positions, ends: Positions) -> int:
    """Put lanes right that began at `starts` though the code goes on at `entries`, up to `ends`.

    Give the position up to which this settled the code.
    """
    paths: list[list[tuple[int, int]]] = [[] for _ in starts]
    joined = ends.copy()
    lanes = np.arange(len(starts))
    at = entries
    while len(at):
        inside = at < ends[lanes]
        met = ~inside
        met[inside] = found[at[inside]] >= 0
        joined[lanes[met]] = at[met]
        at, lanes = at[~met], lanes[~met]
        if not len(at):
            break
        what, lengths = step(at)
        for lane, position, form in zip(lanes.tolist(), at.tolist(), what.tolist(), strict=True):
            paths[lane].append((position, form))
        at = at + lengths
    settled = -1
    rows = zip(starts.tolist(), paths, joined.tolist(), ends.tolist(), strict=True)
    for start, path, meets, bound in rows:
        if start <= settled:
            continue  # a path that began earlier arrives at this start, or runs past it
        settled = meets
        found[start : min(meets, bound)] = -1
        for position, form in path:
            found[position] = form
    return settled
