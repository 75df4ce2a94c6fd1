"""Whatever is done in whatever order, the rules of a pool hold (a hypothesis state machine)."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import ssol
from ssol.testing import FakeMapper

REACH = 2**20
# Few places, most of them near each other, and few slots: so that pools are often full.
PLACES = st.sampled_from([2**20, 2**20 + 2**18, 2**20 + 2**19, 2**22])


class PoolMachine(RuleBasedStateMachine):
    """A pool beside the simplest model: what each slot is, and where the threads are."""

    growth = ssol.Growth.EXPANDABLE
    when_full = ssol.WhenFull.REFUSE

    held = Bundle("held")

    @initialize(room=st.integers(1, 2))
    def begin(self, room):
        self.mapper = FakeMapper(reach=REACH, room=room)
        self.pool = ssol.Pool(
            self.mapper,
            area_size=ssol.PAGE,
            slot_size=512,
            reach=REACH,
            growth=self.growth,
            when_full=self.when_full,
        )
        self.taken = {}  # slot: ownership
        self.reserved = set()
        self.quarantined = set()
        self.inside = set()  # addresses in slots at which a thread is
        self.stolen = 0
        self.waiting = []

    def occupied(self, slot):
        return any(slot.holds(address) for address in self.inside)

    def enter(self, slot, reach, size, ownership):
        unusable = [*self.taken, *self.reserved, *self.quarantined]
        assert all(slot.end <= other.address or other.end <= slot.address for other in unusable)
        assert not self.occupied(slot)
        assert slot.size >= size
        for address in reach:
            assert max(abs(slot.address - address), abs(slot.end - address)) <= REACH
        assert all(slot.address // ssol.PAGE == (slot.end - 1) // ssol.PAGE for _ in reach)
        self.taken[slot] = ownership

    @rule(
        target=held,
        reach=st.lists(PLACES, max_size=2).map(tuple),
        size=st.sampled_from([1, 512, 513, 1024, 2048]),
        owner=st.integers(1, 4),
        ownership=st.sampled_from(ssol.Ownership),
    )
    def take(self, reach, size, owner, ownership):
        before = set(self.taken)
        try:
            slot = self.pool.take(reach, size, owner, ownership, busy=lambda: self.inside)
        except ssol.MustWait as full:
            assert self.when_full is ssol.WhenFull.WAIT
            self.waiting.append(full.ticket)
            return multiple()
        except (ssol.PoolFull, ssol.NoAreaInReach):
            return multiple()
        finally:
            self.notice_granted()
        lost = {slot for slot in before if not self.pool.touch(slot)}
        assert not any(self.occupied(slot) for slot in lost)
        self.stolen += len(lost)
        for slot_lost in lost:
            del self.taken[slot_lost]
        if slot in before:
            assert ownership is ssol.Ownership.PER_THREAD
            assert self.pool.owner(slot) == owner
            return multiple()
        self.enter(slot, reach, size, ownership)
        return slot

    @rule(target=held, size=st.sampled_from([1, 1000]))
    def reserve(self, size):
        try:
            slot = self.pool.reserve(size=size)
        except (ssol.PoolFull, ssol.NoAreaInReach):
            return multiple()
        finally:
            self.notice_granted()
        self.enter(slot, (), size, None)
        del self.taken[slot]
        self.reserved.add(slot)
        return slot

    @rule(slot=held, offset=st.sampled_from([0, 1, 511]))
    def a_thread_enters(self, slot, offset):
        if slot in self.taken or slot in self.reserved:
            self.inside.add(slot.address + offset)

    @rule(data=st.data())
    def a_thread_leaves(self, data):
        if self.inside:
            self.inside.discard(data.draw(st.sampled_from(sorted(self.inside))))

    @rule(slot=consumes(held))
    def free(self, slot):
        if slot in self.taken or slot in self.reserved:
            public = self.taken.get(slot) is ssol.Ownership.PUBLIC
            if public:  # the promise of whoever frees a public slot
                self.inside = {a for a in self.inside if not slot.holds(a)}
            self.taken.pop(slot, None)
            self.reserved.discard(slot)
            if not public:
                self.quarantined.add(slot)
            self.pool.free(slot)
            self.notice_granted()
        else:
            with pytest.raises(ssol.NotTaken):
                self.pool.free(slot)

    @rule()
    def reclaim(self):
        reclaimed = set(self.pool.reclaim(self.inside))
        assert reclaimed == {s for s in self.quarantined if not self.occupied(s)}
        self.quarantined -= reclaimed
        self.notice_granted()

    @rule(owner=st.integers(1, 4))
    def a_thread_ends(self, owner):
        theirs = {
            slot
            for slot, ownership in self.taken.items()
            if ownership is not ssol.Ownership.PRIVATE and self.pool.owner(slot) == owner
        }
        for slot in theirs:
            if self.taken[slot] is ssol.Ownership.PUBLIC:
                self.inside = {a for a in self.inside if not slot.holds(a)}
            else:
                self.quarantined.add(slot)
            del self.taken[slot]
        self.waiting = [
            t for t in self.waiting if t.owner != owner or t.ownership is ssol.Ownership.PRIVATE
        ]
        assert set(self.pool.free_owner(owner)) == theirs
        self.notice_granted()

    @rule(data=st.data())
    def give_up_waiting(self, data):
        if self.waiting:
            ticket = data.draw(st.sampled_from(self.waiting))
            self.pool.cancel(ticket)
            self.waiting.remove(ticket)

    @rule()
    def release_areas(self):
        before = {area.address for area in self.pool.areas}
        released = {area.address for area in self.pool.release_areas()}
        unusable = {*self.taken, *self.reserved, *self.quarantined}
        assert released == before - {slot.area for slot in unusable}

    def notice_granted(self):
        for ticket, slot in self.pool.granted():
            assert ticket in self.waiting
            self.waiting.remove(ticket)
            self.enter(slot, ticket.reach, ticket.size, ticket.ownership)

    @invariant()
    def the_pool_knows_what_the_model_knows(self):
        if not hasattr(self, "pool"):
            return
        unusable = {*self.taken, *self.reserved, *self.quarantined}
        assert set(self.pool.slots) == unusable
        assert set(self.pool.quarantined) == self.quarantined
        statistics = self.pool.statistics
        assert statistics.bytes_held == sum(slot.size for slot in unusable)
        assert statistics.stolen == self.stolen
        assert statistics.waiting == len(self.waiting)
        assert {area.address for area in self.pool.areas} == set(self.mapper.memory)
        for slot in unusable:
            assert self.pool.find(slot.end - 1) == slot
            assert slot.area in self.mapper.memory
        for slot in self.reserved:
            assert self.pool.touch(slot)
        for ticket in self.waiting:  # nobody waits for what is there
            assert not any(
                all(slot.end <= place or place + ticket.size <= slot.address for slot in unusable)
                and all(
                    max(abs(place - a), abs(place + ticket.size - a)) < REACH / 2
                    for a in ticket.reach
                )
                for area in self.mapper.memory
                for place in range(area, area + ssol.PAGE, ticket.size)
            )


POLICIES = list(itertools.product(ssol.Growth, ssol.WhenFull))


@pytest.mark.parametrize(
    ("growth", "when_full"), POLICIES, ids=[f"{g.value}-{w.value}" for g, w in POLICIES]
)
def test_no_order_of_calls_breaks_a_rule(growth, when_full):
    machine = type("Machine", (PoolMachine,), {"growth": growth, "when_full": when_full})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=80, stateful_step_count=60, deadline=None)
    )
