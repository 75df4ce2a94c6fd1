"""What this package needs of the outside: memory that can be read and written, registers of a
stopped thread.
"""

from typing import Protocol


class Memory(Protocol):
    """The memory of one process; an address that is not there raises the implementer's own
    exception.
    """

    def read(self, address: int, size: int) -> bytes:
        """Read exactly `size` bytes."""
        ...

    def write(self, address: int, code: bytes) -> None:
        """Write all of `code`, through protections that keep the program itself from writing."""
        ...


class Registers(Protocol):
    """The registers of one stopped thread, by full-width name as in `insn`."""

    def __getitem__(self, name: str) -> int: ...
    def __setitem__(self, name: str, value: int) -> None: ...
