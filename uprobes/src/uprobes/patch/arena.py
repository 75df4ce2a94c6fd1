"""Room for trampolines: areas near the code that they serve, or at just the place they must be."""

import contextlib
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from uprobes import seccomp
from uprobes.area import DISTANCE, HIGHEST, LOWEST
from uprobes.errors import CannotMap
from uprobes.memory import ProcessMemory

SMALL, LARGE = 1 << 16, 1 << 20
PAGE = 4096
ALIGNMENT = 16
ATTEMPTS = 8
"""At so many places of a range it is tried to map an area."""
MOST_PINNED = 2048
"""More areas are not mapped for trampolines that must be at a certain place."""


@dataclass(slots=True)
class Area:
    """One mapping, and the stretches of it that are taken, in order."""

    start: int
    end: int
    taken: list[tuple[int, int]] = field(default_factory=list)
    code: list[tuple[int, bytes]] = field(default_factory=list)
    """What is to be written: addresses and bytes."""

    def fit(self, low: int, high: int, size: int) -> int | None:
        """Find room for `size` bytes that begin in `low` … `high` - 1."""
        index = bisect_right(self.taken, (low, HIGHEST))
        begin = self.taken[index - 1][1] if index else self.start
        for start, end in [*self.taken[index:], (self.end, self.end)]:
            at = max(low, begin)
            if at >= high:
                return None
            if at + size <= start:
                return at
            begin = end
        return None


class Arena:
    """The trampolines of one installation; they go all at once, when nobody is inside any more.

    `place` finds room for so many bytes near an address, `map_at` maps them, or raises CannotMap.
    """

    def __init__(
        self,
        memory: ProcessMemory,
        place: Callable[[int, int], int | None],
        map_at: Callable[[int, int], object],
    ) -> None:
        self.memory = memory
        self.areas: list[Area] = []
        self._place, self._map_at = place, map_at
        self._filled: list[Area] = []
        """Areas filled from the front."""
        self._pinned: list[Area] = []
        self.announce: Callable[[], object] = _nobody
        """Called before another area is mapped."""
        self._given: Area | None = None
        """Where the last place was that was given."""

    def near(self, address: int, size: int) -> int:
        """Return where the next `size` bytes within reach of an address would stand.

        Nothing is taken by that. Raises CannotMap.
        """
        for area in reversed(self._filled):
            far = max(abs(area.start - address), abs(area.end - address))
            free = area.taken[-1][1] if area.taken else area.start
            if far < DISTANCE and area.end - free >= size:
                self._given = area
                return free
        length = max(LARGE if self._filled else SMALL, size + PAGE - 1 & -PAGE)
        for _ in range(ATTEMPTS):
            start = self._place(address, length)
            if start is None:
                break
            try:
                self._filled.append(self._add(start, start + length))
                return start
            except CannotMap as error:
                if error.code == seccomp.CODE:
                    raise  # no other place would do either
        raise CannotMap("no room for trampolines within reach of the code", address=address)

    def within(self, low: int, high: int, size: int) -> int:
        """Return where `size` bytes that begin in `low` … `high` - 1 would stand; CannotMap."""
        for area in self._pinned:
            if area.start < high and low < area.end:
                at = area.fit(low, high, size)
                if at is not None:
                    self._given = area
                    return at
        for at in _spread(low, high):
            start, end = at & -PAGE, at + size + PAGE - 1 & -PAGE
            if len(self._pinned) >= MOST_PINNED or not LOWEST <= start < end <= HIGHEST:
                break
            with contextlib.suppress(CannotMap):
                self._pinned.append(self._add(start, end))
                return at
        raise CannotMap(
            "the trampoline must be at a place that the process uses already",
            address=low,
            code="place-taken",
        )

    def _add(self, start: int, end: int) -> Area:
        """Map an area that is announced before; raises CannotMap."""
        area = Area(start, end)
        self.areas.append(area)
        self.announce()
        try:
            self._map_at(start, end - start)
        except CannotMap:
            self.areas.remove(area)
            raise
        self._given = area
        return area

    def take(self, address: int, code: bytes) -> None:
        """Keep a place that was given for code; it is written by `flush`."""
        end = address + len(code) + ALIGNMENT - 1 & -ALIGNMENT
        area = self._given
        if area is None or not area.start <= address < area.end:
            area = next(area for area in self.areas if area.start <= address < area.end)
        area.code.append((address, code))
        insort(area.taken, (address, min(end, area.end)))

    def flush(self) -> None:
        """Write all code that was taken in; before that, nothing may lead there."""
        for area in self.areas:
            if len(area.code) > 1:
                first = min(address for address, _ in area.code)
                end = max(address + len(code) for address, code in area.code)
                content = bytearray(self.memory.read(first, end - first))
                for address, code in area.code:
                    content[address - first : address - first + len(code)] = code
                self.memory.write(first, bytes(content))
            else:
                for address, code in area.code:
                    self.memory.write(address, code)
            area.code.clear()

    def holds(self, address: int) -> bool:
        """Tell whether an address is in one of the areas."""
        return any(area.start <= address < area.end for area in self.areas)


def _nobody() -> None:
    """Nobody wants to know."""


def _spread(low: int, high: int) -> Iterator[int]:
    """Give places in a range to try, at the beginnings of pages where that can be."""
    step = max((high - low) // ATTEMPTS, 1)
    for at in range(low, high, step)[:ATTEMPTS]:
        aligned = at + PAGE - 1 & -PAGE
        yield aligned if aligned < high else at
