"""Which slots may not be given out, and why: held, reserved, or freed and not yet proved empty."""

import enum
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from ssol.errors import NotTaken
from ssol.policy import Ownership
from ssol.slot import Slot


class State(enum.Enum):
    """Why a slot may not be given out."""

    HELD = "held"
    RESERVED = "reserved"
    QUARANTINED = "quarantined"


@dataclass(slots=True)
class Holding:
    """What is known of one slot that may not be given out."""

    slot: Slot
    owner: Hashable
    ownership: Ownership
    state: State


class Holdings:
    """The slots of one pool that may not be given out, by address, by owner and by last use."""

    def __init__(self) -> None:
        self._by_address: dict[int, Holding] = {}
        self._sizes: tuple[int, ...] = ()
        self._used: OrderedDict[int, Holding] = OrderedDict()  # held, least recently used first
        self._of_thread: dict[Hashable, dict[int, Holding]] = {}
        self._quarantine: dict[int, Holding] = {}
        self.bytes_held = 0
        self.high_water = 0

    def __len__(self) -> int:
        return len(self._by_address)

    def slots(self) -> tuple[Slot, ...]:
        """Give every slot, in order of address."""
        return tuple(self._by_address[address].slot for address in sorted(self._by_address))

    def quarantined(self) -> list[Holding]:
        """Give the freed ones, in the order of freeing."""
        return list(self._quarantine.values())

    def least_used(self) -> Iterable[Holding]:
        """Give the held ones, least recently used first."""
        return self._used.values()

    def of_thread(self, owner: Hashable) -> list[Holding]:
        """Give the public and per-thread slots that an owner holds."""
        return list(self._of_thread.get(owner, {}).values())

    def find(self, address: int) -> Slot | None:
        """Give the slot that the address lies in.

        One look-up per size, for a slot is aligned to its size.
        """
        for size in self._sizes:
            holding = self._by_address.get(address & -size)
            if holding is not None and address < holding.slot.end:
                return holding.slot
        return None

    def occupied(self, busy: Iterable[int]) -> set[int]:
        """Give the addresses of the slots in which some busy address lies."""
        return {slot.address for address in busy if (slot := self.find(address)) is not None}

    def current(self, slot: Slot) -> Holding:
        """Give the holding that is still this very slot's. Raises `NotTaken` when there is none."""
        holding = self._by_address.get(slot.address)
        if holding is None or holding.slot != slot:
            raise NotTaken("this slot is held no longer", address=slot.address)
        return holding

    def add(self, slot: Slot, owner: Hashable, ownership: Ownership, state: State) -> None:
        """Enter a slot just given out."""
        holding = Holding(slot, owner, ownership, state)
        self._by_address[slot.address] = holding
        if slot.size not in self._sizes:
            self._sizes = (*self._sizes, slot.size)
        if state is State.HELD:
            self._used[slot.address] = holding
        if ownership is not Ownership.PRIVATE and owner is not None:
            self._of_thread.setdefault(owner, {})[slot.address] = holding
        self.bytes_held += slot.size
        self.high_water = max(self.high_water, len(self._by_address))

    def touch(self, slot: Slot) -> bool:
        """Make a held slot the one used last; tell whether it is held or reserved at all."""
        holding = self._by_address.get(slot.address)
        if holding is None or holding.slot != slot or holding.state is State.QUARANTINED:
            return False
        if holding.state is State.HELD:
            self._used.move_to_end(slot.address)
        return True

    def quarantine(self, holding: Holding) -> None:
        """Note that nobody holds the slot any more, though threads may be inside."""
        self._end(holding)
        holding.state = State.QUARANTINED
        self._quarantine[holding.slot.address] = holding

    def remove(self, holding: Holding) -> None:
        """Forget a slot that nobody holds and nobody is in."""
        self._end(holding)
        self._quarantine.pop(holding.slot.address, None)
        del self._by_address[holding.slot.address]
        self.bytes_held -= holding.slot.size

    def _end(self, holding: Holding) -> None:
        address = holding.slot.address
        self._used.pop(address, None)
        theirs = self._of_thread.get(holding.owner)
        if theirs is not None and theirs.get(address) is holding:
            del theirs[address]
            if not theirs:
                del self._of_thread[holding.owner]
