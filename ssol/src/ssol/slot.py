"""The records a pool gives out: slots, tickets for slots, and what was counted."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple

from ssol.policy import Ownership


class Slot(NamedTuple):
    """A piece of executable memory for one copy.

    `address` is a multiple of `size`, a power of two in bytes; no slot crosses a page. `area` is
    the address of the area it lies in. `serial` differs whenever the memory is given out anew, so
    that the slot of a former holder is never taken for the present one's.

    Write all of it: the copy, then trap opcodes to the end, at least one, so that a return address
    pushed by the copy still lies inside and a missed step does not run into the neighbour.
    """

    address: int
    size: int
    area: int
    serial: int

    @property
    def end(self) -> int:
        """The first address behind the slot."""
        return self.address + self.size

    def holds(self, address: int) -> bool:
        """Tell whether the address lies inside."""
        return self.address <= address < self.address + self.size


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the queue for a slot, made when the pool was full; `serial` gives the order."""

    serial: int
    reach: tuple[int, ...]
    size: int
    owner: Hashable
    ownership: Ownership


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a pool has done so far, and what it holds now.

    Counted from the beginning: `taken`, `freed`, `stolen`, `waits` (tickets given), `refused`
    (neither slot nor ticket). Now: `held` and `quarantined` slots, `waiting` tickets, `areas`,
    `bytes_mapped`, `bytes_held` (quarantined ones included). `high_water` is the largest number of
    held and quarantined slots there ever was.
    """

    taken: int
    freed: int
    stolen: int
    waits: int
    refused: int
    held: int
    quarantined: int
    waiting: int
    areas: int
    bytes_mapped: int
    bytes_held: int
    high_water: int
