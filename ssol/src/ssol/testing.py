"""A mapper without a process: areas are byte arrays that tests and simulations can look into."""

from collections.abc import Sequence

from ssol.area import PAGE
from ssol.errors import NoAreaInReach


class FakeMapper:
    """Maps at most `room` areas, each at the lowest free address within `reach` of what it serves.

    `memory` has the bytes of every mapped area by its address, filled with `trap`; `mapped` and
    `unmapped` count calls.
    """

    LOWEST = 0x10000
    ANYWHERE = 0x7F00_0000_0000
    TOP = 0x7FFF_FFFF_F000

    def __init__(
        self, *, reach: int = 2**31 - 2**16, room: int | None = None, trap: bytes = b"\xcc"
    ) -> None:
        self.reach = reach
        self.room = room
        self.trap = trap
        self.memory: dict[int, bytearray] = {}
        self.mapped = 0
        self.unmapped = 0

    def map(self, near: Sequence[int], size: int) -> int:
        """Map an area, as `ssol.Mapper` says."""
        if self.room is not None and len(self.memory) >= self.room:
            raise NoAreaInReach(f"no more than {self.room} areas can be mapped")
        low = max(self.LOWEST, max(near) - self.reach) if near else self.ANYWHERE
        high = min(self.TOP, min(near) + self.reach) if near else self.TOP
        address = -(-low // PAGE) * PAGE
        for start in sorted(self.memory):
            if start < address + size and address < start + len(self.memory[start]):
                address = start + len(self.memory[start])
        if address + size > high:
            raise NoAreaInReach("no free memory in reach", address=near[0] if near else None)
        self.memory[address] = bytearray((self.trap * size)[:size])
        self.mapped += 1
        return address

    def unmap(self, address: int, size: int) -> None:
        """Unmap an area; a wrong size is a mistake of the caller and raises `ValueError`."""
        if len(self.memory.get(address, b"")) != size:
            raise ValueError(f"no area of {size} bytes is mapped at {address:#x}")
        del self.memory[address]
        self.unmapped += 1

    def write(self, address: int, code: bytes) -> None:
        """Write into a mapped area; raises `ValueError` outside of it."""
        for start, memory in self.memory.items():
            if start <= address and address + len(code) <= start + len(memory):
                memory[address - start : address - start + len(code)] = code
                return
        raise ValueError(f"{len(code)} bytes at {address:#x} are not mapped")

    def read(self, address: int, size: int) -> bytes:
        """Read from a mapped area; raises `ValueError` outside of it."""
        for start, memory in self.memory.items():
            if start <= address and address + size <= start + len(memory):
                return bytes(memory[address - start : address - start + size])
        raise ValueError(f"{size} bytes at {address:#x} are not mapped")
