"""All areas of one pool: where they are, which have room, and when another one is mapped."""

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import NamedTuple

from ssol.area import PAGE, Area
from ssol.errors import BadArea, BadRequest, NoAreaInReach
from ssol.policy import Growth
from ssol.ports import Mapper


class Block(NamedTuple):
    """Memory just taken from an area."""

    address: int
    area: Area


class Areas:
    """The areas a mapper provided: `area_size` bytes each, within `reach` bytes of what they serve.

    Raises `BadRequest` when `area_size` is no multiple of `PAGE` or `reach` is smaller than an
    area.
    """

    def __init__(self, mapper: Mapper, *, area_size: int, reach: int, growth: Growth) -> None:
        if area_size < PAGE or area_size % PAGE:
            raise BadRequest(f"an area is a multiple of {PAGE} bytes, not {area_size}")
        if reach < area_size:
            raise BadRequest(f"a reach of {reach} bytes does not even span an area of {area_size}")
        self._mapper = mapper
        self._area_size = area_size
        self._reach = reach
        self._growth = growth
        self._starts: list[int] = []
        self._by_start: dict[int, Area] = {}
        # Full areas are left out, so that a take does not get slower with the number of areas.
        self._roomy: dict[int, Area] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def all(self) -> tuple[Area, ...]:
        """Give every area, in order of address."""
        return tuple(self._by_start[start] for start in self._starts)

    def at(self, address: int) -> Area | None:
        """Give the area that holds the address, or None."""
        place = bisect_right(self._starts, address)
        if not place:
            return None
        area = self._by_start[self._starts[place - 1]]
        return area if address < area.end else None

    def reaches(self, area: Area, near: Sequence[int]) -> bool:
        """Tell whether every byte of the area is within reach of all the addresses."""
        return not near or area.reaches(min(near), max(near), self._reach)

    def serves(self, start: int, near: Sequence[int]) -> bool:
        """Tell whether the area at `start` is within reach of all the addresses."""
        return self.reaches(self._by_start[start], near)

    def any_reaches(self, near: Sequence[int]) -> bool:
        """Tell whether some area, full or not, is within reach of all the addresses."""
        return any(self.reaches(area, near) for area in self._by_start.values())

    def take(self, near: Sequence[int], size: int) -> Block | None:
        """Take a block of `size` bytes from an area in reach that has one, or give None."""
        for area in self._roomy.values():
            if self.reaches(area, near) and (block := self.take_from(area, size)):
                return block
        return None

    def take_from(self, area: Area, size: int) -> Block | None:
        """Take a block of `size` bytes from this area, or give None when it has none."""
        address = area.take(size)
        if address is None:
            return None
        if not area.free_bytes:
            del self._roomy[area.address]
        return Block(address, area)

    def give_back(self, start: int, address: int, size: int) -> Area:
        """Make a block of the area at `start` free again, and give that area."""
        area = self._by_start[start]
        area.give_back(address, size)
        self._roomy[start] = area
        return area

    def grow(self, near: Sequence[int]) -> Area | None:
        """Map one more area, or give None when the policy allows no more.

        Raises `NoAreaInReach` from the mapper, and `BadArea` when what the mapper gave cannot be
        used (it is unmapped again, except when it is part of an area in use).
        """
        if self._growth is Growth.FIXED and self._starts:
            return None
        if near and max(near) - min(near) > 2 * self._reach:
            raise NoAreaInReach(
                f"{min(near):#x} and {max(near):#x} are too far apart for any area to reach both",
                hint="take a slot for each, or one that need not reach both",
            )
        address = self._mapper.map(near, self._area_size)
        area = Area(address, self._area_size)
        if any(address < old.end and old.address < area.end for old in self._by_start.values()):
            raise BadArea("the mapper gave an area that overlaps one in use", address=address)
        if address % PAGE or not self.reaches(area, near):
            self._mapper.unmap(address, self._area_size)
            wrong = "at no page boundary" if address % PAGE else "out of reach"
            raise BadArea(f"the mapper gave an area {wrong}", address=address)
        insort(self._starts, address)
        self._by_start[address] = self._roomy[address] = area
        return area

    def drop(self, area: Area) -> None:
        """Unmap an area in which nothing is taken."""
        self._mapper.unmap(area.address, area.size)
        self._starts.remove(area.address)
        del self._by_start[area.address], self._roomy[area.address]
