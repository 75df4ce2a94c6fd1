"""Which instructions a jump that is written over the code displaces, and whether that is safe.

The rules (window: the displaced instructions; hole: the bytes that the jump itself takes):

- every displaced instruction may run in a trampoline (its verdict allows `jump`); - control enters
the hole nowhere but at its first byte; - where control leaves the window for good before the hole
is full, only padding follows, which nothing enters; - nothing in the function is undecodable: a
hidden branch could lead anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from insn.elf import Image
from insn.forms import FLOWS, METHODS, refusals
from insn.model import Flow, Instruction, Method, Reason
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
)
"""What the numbers in a window's `reason` mean; 0: a jump may be written."""
_SAFE, _NO_BOUNDARY, _NOT_DISPLACEABLE, _ENTERED, _NO_ROOM, _UNDECODED, _CALL_INSIDE = range(
    len(REASONS)
)

WINDOW = np.dtype(
    [
        ("address", "<u8"),
        ("end", "<u8"),
        ("target", "<u8"),
        ("count", "u1"),
        ("padding", "u1"),
        ("reason", "u1"),
    ]
)
"""One window: `count` instructions from `address` to `end` are displaced.

The last `padding` bytes of the hole lie behind them. `reason` indexes `REASONS`; `target` is the
address that is entered, or the instruction that cannot be displaced, when that is the reason.
"""

_LEAVES = [FLOWS.index(flow) for flow in (Flow.JUMP, Flow.INDIRECT_JUMP, Flow.RETURN, Flow.FAR)]
_CALLS = [FLOWS.index(flow) for flow in (Flow.CALL, Flow.INDIRECT_CALL)]
_JUMP_BIT = np.uint8(1 << METHODS.index(Method.JUMP))


@dataclass(frozen=True, slots=True)
class PatchWindow:
    """What a jump at `address` displaces: `instructions` up to `end`.

    A `reason` when it must not be written.     The hole is `size` bytes, of which the last
    `padding` are behind the displaced instructions.
    """

    address: int
    size: int
    end: int
    padding: int
    instructions: tuple[Instruction, ...]
    reason: Reason | None

    @property
    def allowed(self) -> bool:
        """Whether a jump may be written."""
        return self.reason is None


class Windows:
    """Judges windows of one file; what is known of the file is found out on first use."""

    def __init__(self, origin: Image | CodeMap) -> None:
        self.map = origin if isinstance(origin, CodeMap) else CodeMap(origin)

    @cached_property
    def _starts(self) -> Addresses:
        found: Addresses = np.ascontiguousarray(self.map.instructions["address"])
        return found

    @cached_property
    def _is_padding(self) -> NDArray[np.bool_]:
        """Whether each instruction is one that assemblers fill gaps with."""
        records = self.map.instructions
        arch = self.map.image.arch
        padding = np.zeros(len(records), np.bool_)
        for stretch in self.map.image.text:
            inside = (records["address"] >= stretch.address) & (records["address"] < stretch.end)
            places = np.flatnonzero(inside)
            text = np.frombuffer(stretch.code, np.uint8)
            at = (records["address"][places] - np.uint64(stretch.address)).astype(np.intp)
            # What is written over unused memory, a NOP of one byte, and those with prefixes or an
            # operand.
            first = text[at]
            second = text[np.minimum(at + 1, len(text) - 1)]
            filled = np.isin(first, (0xCC, 0x90, *arch.fill))
            filled |= (first == 0x0F) & (second == 0x1F)
            filled |= np.isin(first, (0x66, 0x2E)) & np.isin(second, (0x66, 0x2E, 0x90, 0x0F))
            padding[places] = filled
        return padding

    @cached_property
    def _undecoded(self) -> NDArray[np.int64]:
        """How many undecodable bytes come before each instruction."""
        return np.concatenate([[0], np.cumsum(self.map.instructions["length"] == 0)])

    def judge(self, addresses: ArrayLike, size: int | None = None) -> NDArray[np.void]:
        """Judge the windows at many addresses: an array of `WINDOW`, in their order.

        `size` is that of the jump in bytes; by default the architecture's own.
        """
        size = size or self.map.image.arch.jump_size
        wanted = np.asarray(addresses, np.uint64)
        records, starts = self.map.instructions, self._starts
        out = np.zeros(len(wanted), WINDOW)
        out["address"] = wanted
        out["end"] = wanted
        if not len(starts):
            out["reason"] = _NO_BOUNDARY
            return out
        index = np.searchsorted(starts, wanted)
        known = starts[np.minimum(index, len(starts) - 1)] == wanted
        out["reason"][~known] = _NO_BOUNDARY
        active = np.flatnonzero(known)
        index = index[active]
        left = np.zeros(len(active), np.bool_)  # whether control left for good
        hole_ends = wanted + np.uint64(size)
        for _ in range(size):
            if not len(active):
                break
            at_end = index >= len(records)
            index_here = np.minimum(index, len(records) - 1)
            here = records[index_here]
            reached = np.where(
                left, out["end"][active] + out["padding"][active], out["end"][active]
            )
            out["end"][active] = np.where(left, out["end"][active], reached)
            gap = at_end | (here["address"] != reached) | (here["length"] == 0)
            padding = self._is_padding[index_here]
            no_room = gap | (left & ~padding)
            bad = ~no_room & ~left & (here["methods"] & _JUMP_BIT == 0)
            after = out["end"][active] + here["length"]
            inner = ~no_room & ~bad & ~left & np.isin(here["flow"], _CALLS)
            inner &= after < hole_ends[active]
            out["reason"][active[no_room]] = _NO_ROOM
            out["reason"][active[bad]] = _NOT_DISPLACEABLE
            out["target"][active[bad]] = here["address"][bad]
            out["reason"][active[inner]] = _CALL_INSIDE
            out["target"][active[inner]] = here["address"][inner]
            good = ~no_room & ~bad & ~inner
            moved = active[good & ~left]
            out["end"][moved] += here["length"][good & ~left]
            out["count"][moved] += 1
            filled = active[good & left]
            out["padding"][filled] += here["length"][good & left]
            left = left | np.isin(here["flow"], _LEAVES)
            full = out["end"][active] + out["padding"][active] >= hole_ends[active]
            going = good & ~full
            active, index, left = active[going], index[going] + 1, left[going]
        out["padding"] = np.where(
            out["padding"] > 0, np.maximum(hole_ends - out["end"], 0) * (hole_ends > out["end"]), 0
        )
        self._look_for_entries(out, hole_ends)
        self._look_for_gaps(out)
        return out

    def _look_for_entries(self, out: NDArray[np.void], hole_ends: Addresses) -> None:
        entries = self.map.entries
        if not len(entries):
            return
        first = np.searchsorted(entries, out["address"], side="right")
        nearest = entries[np.minimum(first, len(entries) - 1)]
        entered = (first < len(entries)) & (nearest < hole_ends) & (out["reason"] == _SAFE)
        out["reason"][entered] = _ENTERED
        out["target"][entered] = nearest[entered]

    def _look_for_gaps(self, out: NDArray[np.void]) -> None:
        """Refuse windows in functions that do not decode from start to end."""
        functions, starts = self.map.functions, self._starts
        if not len(functions):
            return
        index = np.searchsorted(functions, out["address"], side="right").astype(np.int64) - 1
        inside = (index >= 0) & (out["address"] < self.map.function_ends[index])
        low = np.searchsorted(starts, np.where(inside, functions[index], out["address"]))
        ends = np.where(inside, self.map.function_ends[index], out["address"])
        high = np.maximum(np.searchsorted(starts, ends), low)
        gaps = self._undecoded[high] - self._undecoded[low]
        out["reason"][(gaps > 0) & (out["reason"] == _SAFE)] = _UNDECODED

    def window(self, address: int, size: int | None = None) -> PatchWindow:
        """Judge one window, with the instructions that it displaces."""
        (row,) = self.judge([address], size)
        image = self.map.image
        instructions: list[Instruction] = []
        at = address
        while at < int(row["end"]):
            instructions.append(image.instruction_at(at))
            at = instructions[-1].end
        reason = REASONS[row["reason"]]
        if row["reason"] == _NOT_DISPLACEABLE:
            record = self.map.instructions[np.searchsorted(self._starts, row["target"])]
            reason = refusals(int(record["verdict"]))[Method.JUMP]
        size = size or image.arch.jump_size
        return PatchWindow(
            address, size, int(row["end"]), int(row["padding"]), tuple(instructions), reason
        )


def patch_window(origin: Image | CodeMap, address: int, size: int | None = None) -> PatchWindow:
    """Judge what a jump at `address` displaces; for several, make one `Windows` and keep it."""
    return Windows(origin).window(address, size)


def patch_windows(
    origin: Image | CodeMap, addresses: Sequence[int], size: int | None = None
) -> NDArray[np.void]:
    """Judge the windows at many addresses at once: an array of `WINDOW`."""
    return Windows(origin).judge(addresses, size)
