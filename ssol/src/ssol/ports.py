"""What this package needs of the outside world."""

from collections.abc import Sequence
from typing import Protocol


class Mapper(Protocol):
    """Whoever can map memory in the process whose instructions are copied."""

    def map(self, near: Sequence[int], size: int) -> int:
        """Map `size` bytes of executable memory within reach of all the addresses in `near`.

        It is never writable (a tracer writes regardless) and holds nothing but trap opcodes.
        Returns its first address, a multiple of `ssol.PAGE`. An empty `near` means anywhere. Raises
        `ssol.NoAreaInReach` when there is no such place.
        """
        ...

    def unmap(self, address: int, size: int) -> None:
        """Unmap an area that `map` returned; no slot in it is held and no thread is inside."""
        ...
