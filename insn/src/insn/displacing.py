"""Which instructions so many bytes at an address belong to, and why these may not be displaced."""

import numpy as np
from numpy.typing import NDArray

from insn.forms import FLOWS, METHODS
from insn.model import Flow, Method, Reason
from insn.padding import LEAVES
from insn.restartable import sequences
from insn.targets import Addresses, CodeMap

REASONS: tuple[Reason | None, ...] = (
    None,
    Reason(
        "not-a-boundary",
        "no instruction is known to start there",
        "name a function, or an instruction of one",
    ),
    Reason(
        "not-displaceable",
        "an instruction under the jump cannot run elsewhere",
        "use trap, or a method with a handler",
    ),
    Reason(
        "entered-inside",
        "control can arrive between the first and the last byte of the jump",
        "use trap, or probe another instruction",
    ),
    Reason(
        "no-room",
        "the code ends before there is room for a jump",
        "use trap",
    ),
    Reason(
        "undecoded-function",
        "the function holds bytes that are no instructions, which may hide a branch under the jump",
        "use trap",
    ),
    Reason(
        "call-inside",
        "a call under the jump would return into it",
        "use trap, or probe the instruction behind the call",
    ),
    Reason(
        "overlaps",
        "another probe point lies among the instructions that the jump displaces",
        "use trap, or remove the other probe",
    ),
    Reason(
        "restartable",
        "it lies in a sequence that the kernel restarts when it is interrupted, but not in a copy",
        "probe the instruction before the sequence",
    ),
)
"""What the numbers in a window's `reason` mean; 0: a plain jump may be written."""
(
    SAFE,
    NO_BOUNDARY,
    NOT_DISPLACEABLE,
    ENTERED,
    NO_ROOM,
    UNDECODED,
    CALL_INSIDE,
    OVERLAPS,
    RESTARTABLE,
) = range(len(REASONS))

WINDOW = np.dtype(
    [
        ("address", "<u8"),
        ("end", "<u8"),
        ("target", "<u8"),
        ("hole", "<u8"),
        ("low", "<u8"),
        ("high", "<u8"),
        ("count", "u1"),
        ("padding", "u1"),
        ("reason", "u1"),
        ("form", "u1"),
        ("size", "u1"),
        ("cut", "u1"),
    ]
)
"""One window: `count` instructions from `address` to `end` are displaced.

`form` indexes `JUMP_FORMS`, 0 where no jump may be written. `size` is how many bytes change at
`address`, of which the last `padding` lie behind the displaced instructions; `hole` is where the
long jump of a short one stands. The trampoline may begin anywhere in `low` … `high` - 1 (as all
addresses those of the file; modulo the address size). `reason` indexes `REASONS` and tells why
not a plain jump; `target` is the address that is entered, or the instruction that cannot be
displaced, or the other site, when that is the reason. `cut` is how many bytes of whole
instructions, fewer than a jump has, may be displaced by themselves.
"""

_CALLS = [FLOWS.index(flow) for flow in (Flow.CALL, Flow.INDIRECT_CALL)]
_JUMP_BIT = np.uint8(1 << METHODS.index(Method.JUMP))


class Displacing:
    """Finds what is displaced in one file."""

    def __init__(self, code: CodeMap, padding: NDArray[np.bool_]) -> None:
        self.map = code
        self._is_padding = padding
        self.starts: Addresses = np.ascontiguousarray(code.instructions["address"])
        lengths = code.instructions["length"]
        self._undecoded = np.concatenate([[0], np.cumsum(lengths == 0)])
        self._sequences = sequences(code.image)

    def find(self, wanted: Addresses, size: int) -> NDArray[np.void]:
        """Judge windows of `size` bytes: rows of `WINDOW`, without a form."""
        records, starts = self.map.instructions, self.starts
        out = np.zeros(len(wanted), WINDOW)
        out["address"] = wanted
        out["end"] = wanted
        out["size"] = size
        if not len(starts):
            out["reason"] = NO_BOUNDARY
            return out
        index = np.searchsorted(starts, wanted)
        known = starts[np.minimum(index, len(starts) - 1)] == wanted
        out["reason"][~known] = NO_BOUNDARY
        active = np.flatnonzero(known)
        index = index[active]
        left = np.zeros(len(active), np.bool_)  # whether control left for good
        hole_ends = wanted + np.uint64(size)
        entered = self._next_entries(wanted)
        for _ in range(size):
            if not len(active):
                break
            index_here = np.minimum(index, len(records) - 1)
            here = records[index_here]
            reached = out["end"][active] + np.where(left, out["padding"][active], 0).astype("u8")
            gap = (index >= len(records)) | (here["address"] != reached) | (here["length"] == 0)
            no_room = gap | (left & ~self._is_padding[index_here])
            bad = ~no_room & ~left & (here["methods"] & _JUMP_BIT == 0)
            displaced = ~no_room & ~left & ~bad
            after = out["end"][active] + here["length"]
            inner = displaced & np.isin(here["flow"], _CALLS) & (after < hole_ends[active])
            alone = displaced & (after < hole_ends[active]) & (after <= entered[active])
            out["cut"][active[alone]] = (after - wanted[active])[alone]
            for wrong, reason in (
                (no_room, NO_ROOM),
                (bad, NOT_DISPLACEABLE),
                (inner, CALL_INSIDE),
            ):
                out["reason"][active[wrong]] = reason
                out["target"][active[wrong]] = here["address"][wrong] * (reason != NO_ROOM)
            good = ~no_room & ~bad & ~inner
            moved = active[good & ~left]
            out["end"][moved] += here["length"][good & ~left]
            out["count"][moved] += 1
            filled = active[good & left]
            out["padding"][filled] += here["length"][good & left]
            left = left | np.isin(here["flow"], LEAVES)
            full = out["end"][active] + out["padding"][active] >= hole_ends[active]
            going = good & ~full
            active, index, left = active[going], index[going] + 1, left[going]
        out["padding"] = np.where(
            out["padding"] > 0, np.maximum(hole_ends - out["end"], 0) * (hole_ends > out["end"]), 0
        )
        inside = (entered < hole_ends) & (out["reason"] == SAFE)
        out["reason"][inside] = ENTERED
        out["target"][inside] = entered[inside]
        self._look_for_gaps(out)
        self._look_for_sequences(out)
        return out

    def _next_entries(self, wanted: Addresses) -> Addresses:
        """Find the first address behind each where control may arrive; the highest where none."""
        entries = np.append(self.map.entries, np.uint64((1 << 64) - 1))
        found: Addresses = entries[np.searchsorted(entries[:-1], wanted, side="right")]
        return found

    def _look_for_gaps(self, out: NDArray[np.void]) -> None:
        """Refuse windows in functions that do not decode from start to end."""
        functions, starts = self.map.functions, self.starts
        if not len(functions):
            return
        index = np.searchsorted(functions, out["address"], side="right").astype(np.int64) - 1
        inside = (index >= 0) & (out["address"] < self.map.function_ends[index])
        low = np.searchsorted(starts, np.where(inside, functions[index], out["address"]))
        ends = np.where(inside, self.map.function_ends[index], out["address"])
        high = np.maximum(np.searchsorted(starts, ends), low)
        gaps = self._undecoded[high] - self._undecoded[low] > 0
        out["cut"][gaps] = 0
        out["reason"][gaps & (out["reason"] != NO_BOUNDARY)] = UNDECODED

    def _look_for_sequences(self, out: NDArray[np.void]) -> None:
        """Refuse to displace any of a restartable sequence."""
        starts, ends = self._sequences
        if not len(starts):
            return
        reached = np.maximum.accumulate(ends)
        before = np.searchsorted(starts, out["end"]).astype(np.intp) - 1
        touched = (before >= 0) & (reached[np.maximum(before, 0)] > out["address"])
        touched &= out["reason"] != NO_BOUNDARY
        out["cut"][touched] = 0
        out["reason"][touched] = RESTARTABLE
