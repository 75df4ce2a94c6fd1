"""The pool: gives out slots, and reuses one only after proof that no thread is inside."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NoReturn

from ssol.area import PAGE, Area, size_class
from ssol.areas import Areas, Block
from ssol.errors import BadRequest, MustWait, NoAreaInReach, NotTaken, PoolFull
from ssol.holdings import Holding, Holdings, State
from ssol.policy import Allocation, Growth, Ownership, WhenFull
from ssol.ports import Mapper
from ssol.slot import Slot, Statistics, Ticket

REACH = 2**31 - 2**16
"""How far a signed 32-bit displacement goes, less a margin for where it counts from, in bytes."""


class Pool:
    """Slots in areas near what they must reach, given out by the policies chosen here.

    `slot_size` is the size of the smallest slot in bytes, a power of two up to `PAGE`; `reach` the
    distance in bytes that every byte of a slot may have from the addresses it serves; `near` (with
    `Allocation.PREALLOCATED`) what the first area must reach. `ownership` is what `take` uses
    unless told otherwise.

    No threads and no locks inside: whoever owns the event loop calls it. Raises `BadRequest` for
    sizes that are impossible, and with `PREALLOCATED` what the mapper raises.
    """

    def __init__(
        self,
        mapper: Mapper,
        *,
        slot_size: int = 32,
        area_size: int = 65536,
        reach: int = REACH,
        allocation: Allocation = Allocation.LAZY,
        growth: Growth = Growth.EXPANDABLE,
        ownership: Ownership = Ownership.PRIVATE,
        when_full: WhenFull = WhenFull.REFUSE,
        near: Sequence[int] = (),
    ) -> None:
        if not 1 <= slot_size <= PAGE or slot_size & (slot_size - 1):
            raise BadRequest(f"a slot size is a power of two up to {PAGE}, not {slot_size}")
        self._areas = Areas(mapper, area_size=area_size, reach=reach, growth=growth)
        self._slot_size = slot_size
        self._ownership = ownership
        self._when_full = when_full
        self._serials = itertools.count(1)
        self._holdings = Holdings()
        self._queue: dict[int, Ticket] = {}  # in order of coming
        self._granted: dict[Ticket, Slot] = {}
        self._taken = self._freed = self._stolen = self._waits = self._refused = 0
        if allocation is Allocation.PREALLOCATED:
            self._areas.grow(near)

    # -- giving out -------------------------------------------------------------------------------

    def take(
        self,
        reach: Sequence[int] = (),
        size: int | None = None,
        owner: Hashable = None,
        ownership: Ownership | None = None,
        busy: Callable[[], Iterable[int]] | None = None,
    ) -> Slot:
        """Give a slot of at least `size` bytes within reach of all the addresses.

        `size` is that of the smallest slot unless given. A per-thread slot needs an `owner`, who
        gets the slot he has when it will do. `busy` is asked only when a slot has to be stolen, and
        gives every address at which a thread is or may yet arrive, as for `reclaim`; without it
        nothing is stolen.

        Raises `PoolFull` (`MustWait` with a ticket, under `WhenFull.WAIT`), `NoAreaInReach` when
        waiting would not help either, `BadRequest`, and what the mapper raises.
        """
        size = self._slot_size if size is None else size_class(size, self._slot_size)
        ownership = ownership or self._ownership
        if ownership is Ownership.PER_THREAD:
            if owner is None:
                raise BadRequest("a per-thread slot needs an owner", hint="pass owner=tid")
            for holding in self._holdings.of_thread(owner):
                if holding.ownership is ownership and self._serves(holding.slot, reach, size):
                    self._holdings.touch(holding.slot)
                    return holding.slot
        block = self._areas.take(reach, size) or self._enlarge(reach, size)
        if block is None and self._when_full is WhenFull.STEAL and busy is not None:
            block = self._steal(reach, size, busy())
        if block is None:
            self._turn_away(reach, size, owner, ownership)
        return self._hold(block, size, owner, ownership, State.HELD)

    def reserve(self, reach: Sequence[int] = (), size: int | None = None) -> Slot:
        """Give a slot that is never stolen, for a trampoline say, and ends only with `free`.

        Raises `PoolFull`, `NoAreaInReach`, `BadRequest`, and what the mapper raises.
        """
        size = self._slot_size if size is None else size_class(size, self._slot_size)
        block = self._areas.take(reach, size) or self._enlarge(reach, size)
        if block is None:
            self._refused += 1
            raise PoolFull("no slot is left to reserve", hint="reserve before slots are taken")
        return self._hold(block, size, None, Ownership.PRIVATE, State.RESERVED)

    def touch(self, slot: Slot) -> bool:
        """Note that a held slot is about to be used; False when it was freed or stolen."""
        return self._holdings.touch(slot)

    def preallocate(self, reach: Sequence[int] = (), slots: int = 1) -> None:
        """Map areas until the free bytes in reach make that many of the smallest slots.

        Raises `PoolFull` when growth is fixed, `NoAreaInReach`, and what the mapper raises.
        """
        areas = (a for a in self._areas.all() if self._areas.reaches(a, reach))
        missing = slots * self._slot_size - sum(area.free_bytes for area in areas)
        while missing > 0:
            area = self._grow(reach)
            if area is None:
                raise PoolFull("the only area has no room for so many slots")
            missing -= area.size

    # -- taking back ------------------------------------------------------------------------------

    def free(self, slot: Slot) -> None:
        """Take a slot back: into quarantine until `reclaim`, except a public one, reusable at once.

        Raises `NotTaken` when it was freed before or stolen since.
        """
        holding = self._holdings.current(slot)
        if holding.state is State.QUARANTINED:
            raise NotTaken("this slot was freed before", address=slot.address)
        self._freed += 1
        if holding.ownership is Ownership.PUBLIC:
            self._serve(self._release(holding))
        else:
            self._holdings.quarantine(holding)

    def free_owner(self, owner: Hashable) -> list[Slot]:
        """Take back what a thread that ended holds or waits for, except private slots."""
        waiting = [*self._queue.values(), *self._granted]
        for ticket in waiting:
            if ticket.owner == owner and ticket.ownership is not Ownership.PRIVATE:
                self.cancel(ticket)
        slots = [holding.slot for holding in self._holdings.of_thread(owner)]
        for slot in slots:
            self.free(slot)
        return slots

    def reclaim(self, busy: Iterable[int]) -> list[Slot]:
        """Make quarantined slots reusable in which none of the addresses lies, and return them.

        `busy` is every address at which a thread is or may yet arrive: program counters, those in
        saved signal contexts, return addresses. Overwrite what is returned with trap opcodes before
        the next `take` or `granted`.
        """
        freed = self._holdings.quarantined()
        if not freed:
            return []
        occupied = self._holdings.occupied(busy)
        proved = [holding for holding in freed if holding.slot.address not in occupied]
        for holding in proved:
            self._serve(self._release(holding))
        return [holding.slot for holding in proved]

    def release_areas(self) -> list[Area]:
        """Unmap the areas in which no slot is held, reserved or quarantined, and return them."""
        released = [area for area in self._areas.all() if area.empty]
        for area in released:
            self._areas.drop(area)
        return released

    # -- waiting ----------------------------------------------------------------------------------

    def granted(self) -> list[tuple[Ticket, Slot]]:
        """Give the tickets served since the last call, in their order, with the slots now held."""
        served = list(self._granted.items())
        self._granted.clear()
        return served

    def cancel(self, ticket: Ticket) -> None:
        """Leave the queue.

        A slot granted but not yet fetched is freed. Raises `NotTaken` for a served ticket.
        """
        if self._queue.pop(ticket.serial, None) is not None:
            return
        slot = self._granted.pop(ticket, None)
        if slot is None:
            raise NotTaken("this ticket is not waiting", hint="it was served or cancelled before")
        self.free(slot)

    # -- looking up -------------------------------------------------------------------------------

    def find(self, address: int) -> Slot | None:
        """Give the slot, held, reserved or quarantined, that the address lies in."""
        return self._holdings.find(address)

    def holds(self, address: int) -> bool:
        """Tell whether the address lies in any area, in a slot or not."""
        return self._areas.at(address) is not None

    def owner(self, slot: Slot) -> Hashable:
        """Give the owner that took a slot. Raises `NotTaken` when it is held no longer."""
        return self._holdings.current(slot).owner

    @property
    def areas(self) -> tuple[Area, ...]:
        """Every mapped area, in order of address."""
        return self._areas.all()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Every slot that is held, reserved or quarantined, in order of address."""
        return self._holdings.slots()

    @property
    def quarantined(self) -> tuple[Slot, ...]:
        """The slots that were freed and not yet proved empty, in the order of freeing."""
        return tuple(holding.slot for holding in self._holdings.quarantined())

    @property
    def statistics(self) -> Statistics:
        """What was done so far and what is held now."""
        quarantined = len(self._holdings.quarantined())
        return Statistics(
            taken=self._taken,
            freed=self._freed,
            stolen=self._stolen,
            waits=self._waits,
            refused=self._refused,
            held=len(self._holdings) - quarantined,
            quarantined=quarantined,
            waiting=len(self._queue),
            areas=len(self._areas),
            bytes_mapped=sum(area.size for area in self._areas.all()),
            bytes_held=self._holdings.bytes_held,
            high_water=self._holdings.high_water,
        )

    # -- the parts --------------------------------------------------------------------------------

    def _hold(
        self, block: Block, size: int, owner: Hashable, ownership: Ownership, state: State
    ) -> Slot:
        """Make a slot of a block just taken, and write down whose it is."""
        slot = Slot(block.address, size, block.area.address, next(self._serials))
        self._holdings.add(slot, owner, ownership, state)
        self._taken += 1
        return slot

    def _serves(self, slot: Slot, reach: Sequence[int], size: int) -> bool:
        """Tell whether a slot is big enough and near enough."""
        return slot.size >= size and self._areas.serves(slot.area, reach)

    def _release(self, holding: Holding) -> Area:
        """Give the bytes of a slot in which nobody is back to its area."""
        slot = holding.slot
        self._holdings.remove(holding)
        return self._areas.give_back(slot.area, slot.address, slot.size)

    def _serve(self, area: Area) -> None:
        """Hand the free bytes of an area on to those who wait, longest first."""
        for ticket in list(self._queue.values()):
            if not area.free_bytes:
                break
            if self._areas.reaches(area, ticket.reach):
                block = self._areas.take_from(area, ticket.size)
                if block is not None:
                    del self._queue[ticket.serial]
                    self._granted[ticket] = self._hold(
                        block, ticket.size, ticket.owner, ticket.ownership, State.HELD
                    )

    def _grow(self, reach: Sequence[int]) -> Area | None:
        """Map another area, or give None when growth is fixed; those who wait come first."""
        area = self._areas.grow(reach)
        if area is not None:
            self._serve(area)
        return area

    def _enlarge(self, reach: Sequence[int], size: int) -> Block | None:
        """Map another area and take from it, or give None when only a taken slot would do."""
        refusal = NoAreaInReach(
            f"the only area does not reach {', '.join(map(hex, reach))}",
            hint="let the pool grow, or take a slot that need not reach them",
        )
        may_grow = True
        try:
            area = self._grow(reach)
            if area is not None:
                return self._areas.take_from(area, size)
            may_grow = False
        except NoAreaInReach as error:
            refusal = error
        if (may_grow and self._when_full is WhenFull.REFUSE) or not self._areas.any_reaches(reach):
            self._refused += 1
            raise refusal
        return None

    def _steal(self, reach: Sequence[int], size: int, busy: Iterable[int]) -> Block | None:
        """Take the place of the slot used least recently that will do and that nobody is in."""
        occupied = self._holdings.occupied(busy)
        for holding in self._holdings.least_used():
            slot = holding.slot
            if slot.address not in occupied and self._serves(slot, reach, size):
                self._stolen += 1
                return self._areas.take_from(self._release(holding), size)
        return None

    def _turn_away(
        self, reach: Sequence[int], size: int, owner: Hashable, ownership: Ownership
    ) -> NoReturn:
        """Raise what the policy says when there is no slot."""
        if self._when_full is WhenFull.WAIT:
            self._waits += 1
            ticket = Ticket(next(self._serials), tuple(reach), size, owner, ownership)
            self._queue[ticket.serial] = ticket
            raise MustWait(
                f"every slot of {size} bytes in reach is taken",
                ticket,
                hint="call granted() after slots were freed",
            )
        self._refused += 1
        raise PoolFull(
            f"every slot of {size} bytes in reach is taken",
            hint="reclaim freed slots, let the pool grow, or run the instruction inline",
        )
