"""What this package asks of the outside."""

from typing import Protocol


class ReadAt(Protocol):
    """Something that gives the bytes at an address: at most `size`, fewer where they end."""

    def __call__(self, address: int, size: int, /) -> bytes:
        """Read; raise an exception of the implementer's choice where nothing is."""
