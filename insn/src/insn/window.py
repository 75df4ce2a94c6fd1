"""Which instructions a jump that is written over the code displaces, and whether that is safe.

The rules (window: the displaced instructions; hole: the bytes that the jump itself takes):

- every displaced instruction may run in a trampoline (its verdict allows `jump`);
- a call is displaced only as the last instruction: it returns behind the window, never into it;
- control enters the hole nowhere but at its first byte;
- where control leaves the window for good before the hole is full, only padding follows, which
  nothing enters;
- nothing in the function is undecodable: a hidden branch could lead anywhere.

Where the plain jump does not fit, two other forms may: see `JumpForm`.
"""

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from insn import padding
from insn.bulk_liveness import Liveness
from insn.displacing import (
    NO_BOUNDARY,
    NOT_DISPLACEABLE,
    OVERLAPS,
    REASONS,
    RESTARTABLE,
    SAFE,
    UNDECODED,
    WINDOW,
    Displacing,
)
from insn.elf import Image
from insn.forms import refusals
from insn.jumping import JUMP_FORMS, JumpForm, PatchWindow, jump_bytes
from insn.liveness import Dead
from insn.model import Instruction, Method
from insn.targets import Addresses, CodeMap

__all__ = [
    "JUMP_FORMS", "REASONS", "WINDOW", "JumpForm", "PatchWindow", "Windows", "patch_window",
    "patch_windows",
]  # fmt: skip

_OF_JUMPS = ("address", "size", "hole", "low", "high")
_HIGHEST = np.uint64((1 << 64) - 1)
_JUMP, _SHORT, _PUNNED = range(1, len(JUMP_FORMS))
EVERY_FORM = frozenset(JumpForm)


class Windows:
    """Judges windows of one file; what is known of the file is found out on first use."""

    def __init__(self, origin: Image | CodeMap) -> None:
        self.map = origin if isinstance(origin, CodeMap) else CodeMap(origin)

    @cached_property
    def _is_padding(self) -> NDArray[np.bool_]:
        return padding.is_padding(self.map)

    @cached_property
    def _displacing(self) -> Displacing:
        return Displacing(self.map, self._is_padding)

    @cached_property
    def holes(self) -> Addresses:
        """Where in proven padding there is room for a jump: each serves one short jump."""
        low, high = padding.runs(self.map, self._is_padding)
        return padding.slots(low, high, self.map.image.arch.jump_size)

    def judge(
        self,
        addresses: ArrayLike,
        size: int | None = None,
        *,
        forms: Collection[JumpForm] = EVERY_FORM,
    ) -> NDArray[np.void]:
        """Judge the windows at many addresses, each as if it were the only one: see `WINDOW`.

        The rows are in the order of the addresses. Only the given forms are considered. `size` is
        that of the jump in bytes; by default the architecture's own, and for no other are there
        forms but the plain jump. For sites that are to be patched together, use `plan`.
        """
        wanted = np.asarray(addresses, np.uint64)
        rows = self._displacing.find(wanted, size or self.map.image.arch.jump_size)
        if size is not None and size != self.map.image.arch.jump_size:
            rows["form"] = np.where(rows["reason"] == SAFE, _JUMP, 0)
            self._reach(rows, np.flatnonzero(rows["form"]), rows["address"])
            return rows
        limits = np.full(len(rows), _HIGHEST)
        self._choose(rows, limits, forms, None)
        return rows

    def plan(
        self,
        addresses: ArrayLike,
        taken: Sequence[tuple[int, int]] = (),
        *,
        forms: Collection[JumpForm] = EVERY_FORM,
    ) -> NDArray[np.void]:
        """Judge sites that are to be patched together: rows of `WINDOW` that go well together.

        A jump neither displaces nor depends on bytes of another site (of any form, or none: a
        breakpoint is one byte) nor on any of the ranges (start, end) `taken`; of two sites too
        near to each other the second one gets the jump, and the first has `overlaps` as its
        reason and the other as `target`. Each hole is given away once.
        """
        wanted = np.asarray(addresses, np.uint64)
        order = np.argsort(wanted, kind="stable")
        rows = self._displacing.find(wanted[order], self.map.image.arch.jump_size)
        ranges = np.array(list(taken), np.uint64).reshape(-1, 2)
        limits = _limits(rows["address"], ranges)
        self._choose(rows, limits, forms, ranges)
        out = np.empty_like(rows)
        out[order] = rows
        return out

    def _choose(
        self,
        rows: NDArray[np.void],
        limits: Addresses,
        forms: Collection[JumpForm],
        taken: NDArray[np.uint64] | None,
    ) -> None:
        """Fill in the form of each row; nothing of a window may lie at or behind its limit."""
        arch = self.map.image.arch
        size = np.uint64(arch.jump_size)
        known = ~np.isin(rows["reason"], (NO_BOUNDARY, UNDECODED, RESTARTABLE))
        near = (rows["reason"] == SAFE) & (rows["end"] + rows["padding"] > limits)
        rows["reason"][near] = OVERLAPS
        rows["target"][near] = limits[near]
        if JumpForm.JUMP in forms:
            plain = np.flatnonzero(rows["reason"] == SAFE)
            rows["form"][plain] = _JUMP
            self._reach(rows, plain, rows["address"])
        if JumpForm.SHORT in forms and arch.short_jump_size:
            self._shorten(rows, np.flatnonzero(known & (rows["form"] == 0)), limits, taken)
        if JumpForm.PUNNED in forms and arch.jump_field:
            fits = known & (rows["form"] == 0) & (rows["cut"] > 0)
            self._pun(rows, np.flatnonzero(fits & (rows["address"] + size <= limits)))

    def _reach(self, rows: NDArray[np.void], which: NDArray[np.intp], jumps: Addresses) -> None:
        """Say where the trampolines of plain jumps at these addresses may be."""
        arch = self.map.image.arch
        if 2 * arch.jump_reach > arch.address_mask:
            rows["high"][which] = np.uint64(arch.address_mask)
            return
        ends = jumps[which] + np.uint64(arch.jump_size)
        rows["low"][which] = ends - np.uint64(arch.jump_reach)
        rows["high"][which] = ends + np.uint64(arch.jump_reach)

    def _shorten(
        self,
        rows: NDArray[np.void],
        which: NDArray[np.intp],
        limits: Addresses,
        taken: NDArray[np.uint64] | None,
    ) -> None:
        """Give short jumps to those that have a hole in reach; each its own if any are `taken`."""
        arch = self.map.image.arch
        size = arch.short_jump_size
        found = self._displacing.find(rows["address"][which], size)
        fits = (found["reason"] == SAFE) & (found["address"] + np.uint64(size) <= limits[which])
        fits &= found["end"] <= limits[which]
        which, found = which[fits], found[fits]
        holes = self.holes
        if taken is not None:
            low = np.concatenate([taken[:, 0], rows["address"], found["address"]])
            ends = np.maximum(rows["end"] + rows["padding"], rows["address"] + np.uint64(1))
            high = np.concatenate([taken[:, 1], ends, found["end"] + found["padding"]])
            holes = padding.without(holes, arch.jump_size, low, high)
        give = padding.nearest if taken is None else padding.assign
        # The distance counts from the end of the short jump.
        place = give(found["address"], holes, 128 - size, 127 + size)
        which, found, place = which[place >= 0], found[place >= 0], place[place >= 0]
        at = holes[place]
        apart = (at >= found["end"] + found["padding"]) | (at < found["address"])
        which, found, at = which[apart], found[apart], at[apart]
        for name in ("end", "count", "padding", "size"):
            rows[name][which] = found[name]
        rows["hole"][which] = at
        rows["form"][which] = _SHORT
        self._reach(rows, which, rows["hole"])

    def _pun(self, rows: NDArray[np.void], which: NDArray[np.intp]) -> None:
        """Make the bytes behind the displaced instructions the high ones of the distance."""
        arch = self.map.image.arch
        width = arch.jump_size - arch.jump_field
        bits = np.uint64(8)
        for stretch in self.map.image.text:
            at = rows["address"][which]
            inside = (at >= stretch.address) & (at + np.uint64(arch.jump_size) <= stretch.end)
            here = which[inside & (rows["cut"][which] >= arch.jump_field)]
            if not len(here):
                continue
            at = rows["address"][here]
            text = np.frombuffer(stretch.code, np.uint8)
            first = (at - np.uint64(stretch.address)).astype(np.intp)
            field = text[first[:, None] + np.arange(arch.jump_field, arch.jump_size)]
            own = rows["cut"][here].astype(np.uint64) - np.uint64(arch.jump_field)
            distance = np.zeros(len(here), np.uint64)
            for place in range(width):
                kept = np.where(own <= np.uint64(place), field[:, place], 0).astype(np.uint64)
                distance |= kept << np.uint64(8 * place)
            sign = np.uint64(1 << 8 * width - 1)
            low = at + np.uint64(arch.jump_size) + ((distance ^ sign) - sign)
            mask = np.uint64(arch.address_mask)
            rows["low"][here] = low & mask
            rows["high"][here] = (low & mask) + (np.uint64(1) << bits * own)
            rows["form"][here] = _PUNNED
            rows["size"][here] = rows["cut"][here]
            rows["end"][here] = at + rows["cut"][here].astype(np.uint64)
            rows["padding"][here] = 0
            rows["count"][here] = (
                np.searchsorted(self._displacing.starts, rows["end"][here])
                - np.searchsorted(self._displacing.starts, at)
            ).astype(np.uint8)

    @cached_property
    def liveness(self) -> Liveness:
        """What is dead before the instructions of the file."""
        return Liveness(self.map)

    def dead(self, addresses: ArrayLike) -> list[Dead]:
        """Tell for each address what may be overwritten before the instruction there.

        Nobody looks at the flags across calls and returns. For numbers instead of names, ask
        `liveness`.
        """
        liveness = self.liveness
        return [liveness.named(bits) for bits in liveness.dead(addresses).tolist()]

    def window(
        self, address: int, size: int | None = None, *, forms: Collection[JumpForm] = EVERY_FORM
    ) -> PatchWindow:
        """Judge one window, with the instructions that it displaces."""
        (row,) = self.judge([address], size, forms=forms)
        return self.window_of(row)

    def window_of(self, row: np.void) -> PatchWindow:
        """Tell about a row of `judge` or `plan` with the instructions that it displaces."""
        image = self.map.image
        instructions: list[Instruction] = []
        at = address = int(row["address"])
        while at < int(row["end"]):
            instructions.append(image.instruction_at(at))
            at = instructions[-1].end
        reason = REASONS[row["reason"]]
        if row["reason"] == NOT_DISPLACEABLE:
            record = self.map.instructions[np.searchsorted(self._displacing.starts, row["target"])]
            reason = refusals(int(record["verdict"]))[Method.JUMP]
        return PatchWindow(
            address,
            int(row["size"]),
            int(row["end"]),
            int(row["padding"]),
            tuple(instructions),
            reason,
            JUMP_FORMS[row["form"]],
            int(row["hole"]),
            int(row["low"]),
            int(row["high"]),
        )

    def jump_bytes(
        self, rows: NDArray[np.void], trampolines: Sequence[int]
    ) -> list[tuple[tuple[int, bytes], ...]]:
        """Give what to write for each row of `judge` or `plan`: see `PatchWindow.jump_bytes`."""
        arch = self.map.image.arch
        columns = (rows[name].tolist() for name in ("form", *_OF_JUMPS))
        return [
            jump_bytes(arch, JUMP_FORMS[form], *numbers)
            for form, *numbers in zip(*columns, trampolines, strict=True)
        ]


def _limits(addresses: Addresses, taken: NDArray[np.uint64]) -> Addresses:
    """Find what nothing of each site's window may reach: the next site, or what is taken."""
    starts = np.append(np.union1d(addresses, taken[:, 0]), _HIGHEST)
    limits: Addresses = starts[np.searchsorted(starts[:-1], addresses, side="right")]
    if len(taken):
        order = np.argsort(taken[:, 0])
        reached = np.maximum.accumulate(taken[order, 1])
        before = np.searchsorted(taken[order, 0], addresses, side="right").astype(np.intp) - 1
        covered = (before >= 0) & (reached[np.maximum(before, 0)] > addresses)
        limits = np.where(covered, addresses, limits)
    return limits


def patch_window(origin: Image | CodeMap, address: int, size: int | None = None) -> PatchWindow:
    """Judge what a jump at `address` displaces; for several, make one `Windows` and keep it."""
    return Windows(origin).window(address, size)


def patch_windows(
    origin: Image | CodeMap, addresses: Sequence[int], size: int | None = None
) -> NDArray[np.void]:
    """Judge the windows at many addresses at once: an array of `WINDOW`."""
    return Windows(origin).judge(addresses, size)
