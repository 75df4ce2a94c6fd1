"""One mapped area, cut into slots by halving pages (a buddy allocator).

Every block is aligned to its own size: that makes the slot of an address a look-up per size
(`Pool.find`), and two free halves of a block one bigger block again, so that no mixture of sizes
can wear an area out.
"""

from ssol.errors import BadRequest

PAGE = 4096
"""The largest slot, and the alignment of areas, in bytes."""


def size_class(size: int, smallest: int) -> int:
    """Give the size of the slots that serve a request of `size` bytes.

    That is a power of two, at least `smallest` and no more than `PAGE`.

    Raises `BadRequest` for a size below 1 or above `PAGE`.
    """
    if not 1 <= size <= PAGE:
        raise BadRequest(
            f"a slot has 1 to {PAGE} bytes, not {size}", hint="map longer code by itself"
        )
    return max(smallest, 1 << (size - 1).bit_length())


class Area:
    """The free blocks of one area.

    `address` and `size` are multiples of `PAGE`; `free_bytes` is what is left.
    """

    __slots__ = ("_free", "address", "free_bytes", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size
        self.free_bytes = size
        # Dictionaries as ordered sets, last in first out: so the lowest page goes in last.
        self._free: dict[int, dict[int, None]] = {
            PAGE: dict.fromkeys(range(address + size - PAGE, address - 1, -PAGE))
        }

    def __repr__(self) -> str:
        return f"<Area {self.address:#x}+{self.size:#x}, {self.free_bytes:#x} free>"

    @property
    def end(self) -> int:
        """The first address behind the area."""
        return self.address + self.size

    @property
    def empty(self) -> bool:
        """Whether nothing in it is taken."""
        return self.free_bytes == self.size

    def reaches(self, low: int, high: int, reach: int) -> bool:
        """Tell whether every byte of it is within `reach` bytes of all from `low` to `high`."""
        return high - reach <= self.address and self.address + self.size <= low + reach

    def take(self, size: int) -> int | None:
        """Give the address of a block of `size` bytes (a size class), or None without one."""
        block = size
        while not (free := self._free.get(block)):
            block *= 2
            if block > PAGE:
                return None
        address, _ = free.popitem()
        while block > size:
            block //= 2
            self._free.setdefault(block, {})[address + block] = None
        self.free_bytes -= size
        return address

    def give_back(self, address: int, size: int) -> None:
        """Make a block free again, and whole with its other half when that is free too."""
        self.free_bytes += size
        while size < PAGE and (address ^ size) in (free := self._free.get(size, {})):
            del free[address ^ size]
            address &= ~size
            size *= 2
        self._free.setdefault(size, {})[address] = None
