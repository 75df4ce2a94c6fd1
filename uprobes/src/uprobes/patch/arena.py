"""Room for trampolines: areas near the code that they serve, filled from the front."""

from collections.abc import Callable
from dataclasses import dataclass

from uprobes.area import DISTANCE
from uprobes.memory import ProcessMemory

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
    """The trampolines of one installation; they go all at once, when nobody is inside any more.

    `map_area` maps so many bytes near addresses, readable and executable.
    """

    def __init__(
        self,
        memory: ProcessMemory,
        map_area: Callable[[tuple[int, ...], int], int],
        expected: int,
    ) -> None:
        self.memory = memory
        self.map_area = map_area
        self.areas: list[Area] = []
        self._size = SMALL if expected <= SMALL else LARGE

    def room(self, near: int, size: int) -> int:
        """Return where the next `size` bytes within reach of an address would stand.

        Nothing is taken by that. Raises what `map_area` raises.
        """
        area = self._area(near, size)
        return area.free

    def take(self, address: int, code: bytes) -> None:
        """Write what stands at an address that `room` gave, and keep it."""
        area = next(area for area in self.areas if area.free == address)
        self.memory.write(address, code)
        area.used += len(code) + ALIGNMENT - 1 & -ALIGNMENT

    def _area(self, near: int, size: int) -> Area:
        for area in self.areas:
            far = max(abs(area.start - near), abs(area.end - near))
            if area.end - area.free >= size and far < DISTANCE:
                return area
        start = self.map_area((near,), self._size)
        area = Area(start, start + self._size)
        self.areas.append(area)
        return area

    def holds(self, address: int) -> bool:
        """Tell whether an address is in one of the areas."""
        return any(area.start <= address < area.end for area in self.areas)
