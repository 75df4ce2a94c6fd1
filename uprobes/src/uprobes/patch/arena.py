"""Room for trampolines: areas near the code that they serve, filled from the front."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uprobes.area import DISTANCE

if TYPE_CHECKING:
    from uprobes.process import Process

SMALL, LARGE = 1 << 16, 1 << 20
ALIGNMENT = 16


@dataclass(slots=True)
class Area:
    """One mapping: `used` bytes from its start are taken."""

    start: int
    end: int
    used: int = 0

    @property
    def free(self) -> int:
        """The first address that is not taken."""
        return self.start + self.used


class Arena:
    """The trampolines of one installation; they go all at once, when nobody is inside any more."""

    def __init__(self, process: "Process", expected: int) -> None:
        self.process = process
        self.areas: list[Area] = []
        self._size = SMALL if expected <= SMALL else LARGE

    def room(self, near: int, size: int) -> int:
        """Return where the next `size` bytes within reach of an address would stand.

        Nothing is taken by that. Needs a stopped thread where a new area has to be mapped; raises
        CannotMap or ssol.NoAreaInReach.
        """
        area = self._area(near, size)
        return area.free

    def take(self, address: int, code: bytes) -> None:
        """Write what stands at an address that `room` gave, and keep it."""
        area = next(area for area in self.areas if area.free == address)
        self.process.memory.write(address, code)
        area.used += len(code) + ALIGNMENT - 1 & -ALIGNMENT

    def _area(self, near: int, size: int) -> Area:
        for area in self.areas:
            far = max(abs(area.start - near), abs(area.end - near))
            if area.end - area.free >= size and far < DISTANCE:
                return area
        start = self.process.mapper.map((near,), self._size)
        area = Area(start, start + self._size)
        self.areas.append(area)
        return area

    def holds(self, address: int) -> bool:
        """Tell whether an address is in one of the areas."""
        return any(area.start <= address < area.end for area in self.areas)
