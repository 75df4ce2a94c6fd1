"""What a pool promises, one sentence a test."""

import contextlib
import itertools

import pytest

import ssol
from ssol.testing import FakeMapper

TEXT = 0x5555_0000_0000
LIBRARY = 0x7FFF_0000_0000
ONE_PAGE = {"area_size": ssol.PAGE, "growth": ssol.Growth.FIXED}
SLOTS_IN_PAGE = ssol.PAGE // 32


def fill(pool, reach=(TEXT,), **how):
    """Take slots until the area has no more."""
    return [pool.take(reach, **how) for _ in range(SLOTS_IN_PAGE)]


def test_a_slot_lies_within_reach_of_all_that_it_serves():
    pool = ssol.Pool(FakeMapper())
    slot = pool.take((TEXT, TEXT + 2**30))
    for address in (TEXT, TEXT + 2**30):
        assert abs(slot.address - address) <= ssol.REACH
        assert abs(slot.end - address) <= ssol.REACH


def test_each_distant_object_gets_an_area_of_its_own():
    pool = ssol.Pool(FakeMapper())
    near_text, near_library = pool.take((TEXT,)), pool.take((LIBRARY,))
    assert near_text.area != near_library.area
    assert pool.take((TEXT,)).area == near_text.area
    assert pool.take((LIBRARY,)).area == near_library.area


def test_addresses_too_far_apart_are_refused_without_asking_the_mapper():
    mapper = FakeMapper()
    with pytest.raises(ssol.NoAreaInReach, match="too far apart"):
        ssol.Pool(mapper).take((TEXT, LIBRARY))
    assert mapper.mapped == 0


@pytest.mark.parametrize(
    ("asked", "given"),
    [(1, 32), (32, 32), (33, 64), (64, 64), (65, 128), (129, 256), (2049, 4096), (4096, 4096)],
)
def test_a_size_is_rounded_up_to_its_class_and_the_slot_aligned_to_it(asked, given):
    pool = ssol.Pool(FakeMapper())
    pool.take(size=40)
    slot = pool.take(size=asked)
    assert slot.size == given
    assert slot.address % given == 0


@pytest.mark.parametrize("size", [0, -1, 4097])
def test_a_size_no_slot_can_have_is_refused(size):
    with pytest.raises(ssol.BadRequest, match="1 to 4096 bytes"):
        ssol.Pool(FakeMapper()).take(size=size)


@pytest.mark.parametrize(
    "settings",
    [
        {"slot_size": 24},
        {"slot_size": 0},
        {"slot_size": 8192},
        {"area_size": 1000},
        {"area_size": 0},
        {"area_size": 65536, "reach": 4096},
    ],
)
def test_an_impossible_setting_is_refused_when_the_pool_is_made(settings):
    with pytest.raises(ssol.BadRequest):
        ssol.Pool(FakeMapper(), **settings)


def test_mixed_sizes_never_overlap_and_fill_the_area_to_the_last_byte():
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE)
    sizes = [32, 128, 64, 32, 256, 512, 1024, 2048]
    slots = sorted(pool.take(size=size) for size in sizes)
    assert sum(sizes) == ssol.PAGE
    assert all(a.end <= b.address for a, b in itertools.pairwise(slots))
    with pytest.raises(ssol.PoolFull):
        pool.take()


def test_freed_halves_join_again_to_bigger_slots():
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE)
    for slot in fill(pool):
        pool.free(slot)
    pool.reclaim(())
    assert pool.take(size=ssol.PAGE).size == ssol.PAGE


def test_a_freed_slot_is_not_given_out_before_it_was_reclaimed():
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE)
    slots = fill(pool)
    pool.free(slots[3])
    with pytest.raises(ssol.PoolFull):
        pool.take()
    assert pool.reclaim(()) == [slots[3]]
    assert pool.take().address == slots[3].address


@pytest.mark.parametrize("offset", [0, 1, 31])
def test_a_slot_with_a_thread_inside_stays_in_quarantine(offset):
    pool = ssol.Pool(FakeMapper())
    inside, empty = pool.take(), pool.take()
    pool.free(inside)
    pool.free(empty)
    assert pool.reclaim([inside.address + offset]) == [empty]
    assert pool.quarantined == (inside,)
    assert pool.reclaim([inside.end]) == [inside]


def test_a_public_slot_is_reusable_as_soon_as_its_thread_frees_it():
    pool = ssol.Pool(FakeMapper(), ownership=ssol.Ownership.PUBLIC, **ONE_PAGE)
    slots = fill(pool)
    pool.free(slots[7])
    assert pool.take().address == slots[7].address


def test_a_thread_gets_its_own_slot_again():
    pool = ssol.Pool(FakeMapper(), ownership=ssol.Ownership.PER_THREAD)
    first, other = pool.take(owner=17), pool.take(owner=18)
    assert first != other
    assert pool.take(owner=17) == first
    assert pool.owner(first) == 17


def test_a_thread_gets_a_second_slot_when_its_own_is_too_small_or_too_far():
    pool = ssol.Pool(FakeMapper(), ownership=ssol.Ownership.PER_THREAD)
    small = pool.take((TEXT,), owner=17)
    large = pool.take((TEXT,), size=100, owner=17)
    far = pool.take((LIBRARY,), owner=17)
    assert len({small, large, far}) == 3
    assert pool.take((TEXT,), size=100, owner=17) == large
    assert pool.take((LIBRARY,), owner=17) == far


def test_a_per_thread_slot_needs_a_thread():
    with pytest.raises(ssol.BadRequest, match="owner"):
        ssol.Pool(FakeMapper()).take(ownership=ssol.Ownership.PER_THREAD)


def test_a_thread_that_ends_leaves_its_slots_and_its_place_in_the_queue():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.WAIT, **ONE_PAGE)
    private = pool.take(owner=17)
    own = pool.take(owner=17, ownership=ssol.Ownership.PER_THREAD)
    step = pool.take(owner=17, ownership=ssol.Ownership.PUBLIC)
    for _ in range(SLOTS_IN_PAGE - 3):
        pool.take()
    with pytest.raises(ssol.MustWait):
        pool.take(owner=17, ownership=ssol.Ownership.PUBLIC)
    assert set(pool.free_owner(17)) == {own, step}
    assert pool.owner(private) == 17
    assert pool.statistics.waiting == 0
    assert pool.granted() == []


def test_one_pool_can_hold_slots_of_every_ownership_in_one_area():
    pool = ssol.Pool(FakeMapper())
    slots = [pool.take(owner=1, ownership=ownership) for ownership in ssol.Ownership]
    assert len({slot.address for slot in slots}) == 3
    assert len({slot.area for slot in slots}) == 1


def test_the_slot_of_an_address_is_found_while_held_reserved_or_quarantined():
    pool = ssol.Pool(FakeMapper())
    small, large, kept = pool.take(), pool.take(size=256), pool.reserve(size=64)
    for slot in (small, large, kept):
        for address in (slot.address, slot.address + slot.size // 2, slot.end - 1):
            assert pool.find(address) == slot
    pool.free(large)
    assert pool.find(large.end - 1) == large
    pool.reclaim(())
    assert pool.find(large.address) is None
    assert pool.find(0) is None


def test_an_address_in_an_area_is_known_even_where_no_slot_is():
    pool = ssol.Pool(FakeMapper())
    slot = pool.take()
    assert pool.holds(slot.area)
    assert pool.holds(slot.area + 65535)
    assert not pool.holds(slot.area - 1)
    assert not pool.holds(slot.area + 65536)
    assert pool.find(slot.area + 65535) is None


def test_freeing_twice_is_refused_and_so_is_freeing_what_was_given_to_another():
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE)
    slot = fill(pool)[0]
    pool.free(slot)
    with pytest.raises(ssol.NotTaken):
        pool.free(slot)
    pool.reclaim(())
    again = pool.take()
    assert again.address == slot.address
    with pytest.raises(ssol.NotTaken):
        pool.free(slot)
    assert pool.touch(again)
    assert not pool.touch(slot)


def test_a_reserved_slot_is_never_stolen_and_ends_only_when_freed():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.STEAL, **ONE_PAGE)
    kept = pool.reserve()
    for _ in range(3 * SLOTS_IN_PAGE):
        assert pool.take(busy=tuple).address != kept.address
    assert pool.touch(kept)
    pool.free(kept)
    assert pool.reclaim(()) == [kept]


def test_the_slot_used_least_recently_is_stolen():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.STEAL, **ONE_PAGE)
    slots = fill(pool)
    pool.touch(slots[0])
    stolen = pool.take((TEXT,), busy=tuple)
    assert stolen.address == slots[1].address
    assert not pool.touch(slots[1])
    assert pool.touch(slots[0])
    assert pool.statistics.stolen == 1


def test_a_slot_with_a_thread_inside_is_not_stolen():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.STEAL, **ONE_PAGE)
    slots = fill(pool)
    stolen = pool.take((TEXT,), busy=lambda: [slots[0].address + 5, slots[1].address])
    assert stolen.address == slots[2].address


@pytest.mark.parametrize("busy", [None, "all"])
def test_nothing_is_stolen_without_proof(busy):
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.STEAL, **ONE_PAGE)
    slots = fill(pool)
    ask = None if busy is None else lambda: [slot.address for slot in slots]
    with pytest.raises(ssol.PoolFull):
        pool.take((TEXT,), busy=ask)
    assert all(pool.touch(slot) for slot in slots)


def test_a_slot_too_small_is_not_stolen_but_a_larger_one_is_cut():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.STEAL, **ONE_PAGE)
    small = [pool.take(size=1024) for _ in range(2)]
    large = pool.take(size=2048)
    assert pool.take(size=2048, busy=tuple).address == large.address
    pool.take(size=32, busy=tuple)
    assert not pool.touch(small[0])
    assert pool.take(size=512, busy=tuple).area == large.area
    assert pool.touch(small[1])


def test_those_who_wait_are_served_in_the_order_of_their_coming():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.WAIT, **ONE_PAGE)
    slots = fill(pool)
    tickets = []
    for tid in range(3):
        with pytest.raises(ssol.MustWait) as full:
            pool.take((TEXT,), owner=tid)
        tickets.append(full.value.ticket)
    pool.free(slots[9])
    assert pool.granted() == []
    pool.reclaim(())
    [(ticket, slot)] = pool.granted()
    assert ticket == tickets[0]
    assert slot.address == slots[9].address
    assert pool.owner(slot) == 0
    assert pool.granted() == []
    pool.free(slot)
    pool.free(slots[1])
    pool.reclaim(())
    assert [ticket for ticket, _ in pool.granted()] == tickets[1:]


def test_more_threads_than_slots_all_get_their_step():
    pool = ssol.Pool(
        FakeMapper(), ownership=ssol.Ownership.PUBLIC, when_full=ssol.WhenFull.WAIT, **ONE_PAGE
    )
    stepping, served = [], set()
    for tid in range(3 * SLOTS_IN_PAGE):
        try:
            stepping.append(pool.take((TEXT,), owner=tid))
        except ssol.MustWait:
            continue
    while stepping:
        assert len({slot.address for slot in stepping}) == len(stepping)
        slot = stepping.pop(0)
        served.add(pool.owner(slot))
        pool.free(slot)
        stepping += [slot for _, slot in pool.granted()]
    assert served == set(range(3 * SLOTS_IN_PAGE))


def test_a_waiter_that_gives_up_before_or_after_being_served_keeps_no_slot():
    pool = ssol.Pool(FakeMapper(), when_full=ssol.WhenFull.WAIT, **ONE_PAGE)
    slots = fill(pool)
    tickets = []
    for _ in range(2):
        with pytest.raises(ssol.MustWait) as full:
            pool.take((TEXT,))
        tickets.append(full.value.ticket)
    pool.cancel(tickets[0])
    pool.free(slots[0])
    pool.reclaim(())
    pool.cancel(tickets[1])
    assert pool.granted() == []
    pool.reclaim(())
    assert pool.take((TEXT,)).address == slots[0].address
    with pytest.raises(ssol.NotTaken, match="ticket"):
        pool.cancel(tickets[1])


def test_a_newcomer_does_not_overtake_those_who_wait_when_room_appears():
    mapper = FakeMapper(room=1)
    pool = ssol.Pool(mapper, area_size=ssol.PAGE, when_full=ssol.WhenFull.WAIT)
    fill(pool)
    with pytest.raises(ssol.MustWait) as full:
        pool.take((TEXT,), owner="first")
    mapper.room = 2
    newcomer = pool.take((TEXT,), owner="second")
    [(ticket, slot)] = pool.granted()
    assert ticket == full.value.ticket
    assert slot != newcomer


def test_a_full_pool_that_refuses_says_so_and_counts_it():
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE)
    fill(pool)
    with pytest.raises(ssol.PoolFull, match="inline") as full:
        pool.take((TEXT,))
    assert full.value.code == "pool-full"
    assert pool.statistics.refused == 1


def test_a_fixed_pool_refuses_what_its_only_area_does_not_reach():
    for when_full in ssol.WhenFull:
        pool = ssol.Pool(FakeMapper(), when_full=when_full, growth=ssol.Growth.FIXED)
        pool.take((TEXT,))
        with pytest.raises(ssol.NoAreaInReach, match="does not reach"):
            pool.take((LIBRARY,), busy=tuple)


def test_a_pool_that_cannot_grow_any_further_waits_or_steals_instead():
    for when_full, raised in ((ssol.WhenFull.WAIT, True), (ssol.WhenFull.STEAL, False)):
        pool = ssol.Pool(FakeMapper(room=1), area_size=ssol.PAGE, when_full=when_full)
        slots = fill(pool)
        if raised:
            with pytest.raises(ssol.MustWait):
                pool.take((TEXT,))
        else:
            assert pool.take((TEXT,), busy=tuple).address == slots[0].address


def test_a_refusing_pool_passes_the_mappers_reason_on():
    pool = ssol.Pool(FakeMapper(room=1), area_size=ssol.PAGE)
    fill(pool)
    with pytest.raises(ssol.NoAreaInReach, match="no more than 1 areas"):
        pool.take((TEXT,))


def test_a_preallocated_pool_maps_at_once_and_a_lazy_one_at_the_first_slot():
    mapper = FakeMapper()
    ssol.Pool(mapper)
    assert mapper.mapped == 0
    pool = ssol.Pool(mapper, allocation=ssol.Allocation.PREALLOCATED, near=(TEXT,))
    assert mapper.mapped == 1
    pool.take((TEXT,))
    assert mapper.mapped == 1


def test_room_for_many_slots_can_be_mapped_beforehand():
    mapper = FakeMapper()
    pool = ssol.Pool(mapper)
    pool.preallocate((TEXT,), slots=10_000)
    mapped = mapper.mapped
    for _ in range(10_000):
        pool.take((TEXT,))
    assert mapper.mapped == mapped == 5
    with pytest.raises(ssol.PoolFull):
        ssol.Pool(mapper, growth=ssol.Growth.FIXED).preallocate(slots=10_000)


def test_only_areas_in_which_nothing_is_left_are_unmapped():
    mapper = FakeMapper()
    pool = ssol.Pool(mapper)
    slot, kept, freed = pool.take((TEXT,)), pool.reserve((LIBRARY,)), pool.take((2**20,))
    pool.free(slot)
    pool.free(freed)
    pool.reclaim([freed.address])
    assert [area.address for area in pool.release_areas()] == [slot.area]
    assert set(mapper.memory) == {kept.area, freed.area}
    pool.free(kept)
    pool.reclaim(())
    assert len(pool.release_areas()) == 2
    assert mapper.memory == {}
    assert pool.take((TEXT,)).area in mapper.memory


class WrongMapper(FakeMapper):
    """Gives what it is told to give."""

    def __init__(self, answers):
        super().__init__()
        self.answers = list(answers)

    def map(self, near, size):
        address = self.answers.pop(0)
        self.memory[address] = bytearray(size)
        return address


@pytest.mark.parametrize(
    ("answer", "why"), [(TEXT + 8, "page boundary"), (LIBRARY, "out of reach")]
)
def test_an_area_that_cannot_be_used_is_refused_and_unmapped(answer, why):
    mapper = WrongMapper([answer])
    pool = ssol.Pool(mapper)
    with pytest.raises(ssol.BadArea, match=why):
        pool.take((TEXT,))
    assert mapper.memory == {}
    assert pool.areas == ()


def test_an_area_given_twice_is_refused_and_stays_mapped():
    mapper = WrongMapper([TEXT, TEXT + ssol.PAGE])
    pool = ssol.Pool(mapper)
    slot = pool.take((TEXT,), size=ssol.PAGE)
    for _ in range(15):
        pool.take((TEXT,), size=ssol.PAGE)
    with pytest.raises(ssol.BadArea, match="overlaps"):
        pool.take((TEXT,))
    assert TEXT in mapper.memory
    assert pool.touch(slot)


def test_statistics_count_what_happened():
    pool = ssol.Pool(FakeMapper())
    slots = [pool.take((TEXT,)), pool.take((TEXT,), size=64), pool.take((TEXT,))]
    pool.free(slots[0])
    pool.reclaim(())
    pool.free(slots[1])
    assert pool.statistics == ssol.Statistics(
        taken=3,
        freed=2,
        stolen=0,
        waits=0,
        refused=0,
        held=1,
        quarantined=1,
        waiting=0,
        areas=1,
        bytes_mapped=65536,
        bytes_held=96,
        high_water=3,
    )


def test_every_error_has_a_code_of_its_own_and_the_common_base():
    errors = [
        value
        for value in vars(ssol).values()
        if isinstance(value, type) and issubclass(value, ssol.SsolError)
    ]
    assert len({error.code for error in errors}) == len(errors) == 7
    assert str(ssol.NotTaken("why", address=0x10, hint="do this")) == "why at 0x10 (do this)"


def test_new_areas_hold_nothing_but_trap_opcodes():
    mapper = FakeMapper(trap=b"\xcc")
    pool = ssol.Pool(mapper)
    slot = pool.take((TEXT,))
    assert set(mapper.memory[slot.area]) == {0xCC}
    mapper.write(slot.address, b"\x90\xc3")
    assert mapper.read(slot.address, 3) == b"\x90\xc3\xcc"


def test_who_waits_is_not_given_a_slot_out_of_reach():
    pool = ssol.Pool(FakeMapper(room=2), area_size=ssol.PAGE, when_full=ssol.WhenFull.WAIT)
    near, far = fill(pool, (TEXT,)), fill(pool, (LIBRARY,))
    with pytest.raises(ssol.MustWait):
        pool.take((LIBRARY,))
    pool.free(near[0])
    pool.reclaim(())
    assert pool.granted() == []
    pool.free(far[0])
    pool.reclaim(())
    assert [slot.address for _, slot in pool.granted()] == [far[0].address]


@pytest.mark.parametrize("when_full", list(ssol.WhenFull))
def test_a_reserved_slot_is_never_given_to_anybody_else(when_full):
    """Case U10: a trampoline was stolen by the policy that steals what was used least recently."""
    pool = ssol.Pool(FakeMapper(), **ONE_PAGE, when_full=when_full)
    kept = pool.reserve()
    given = []
    for _ in range(4 * SLOTS_IN_PAGE):
        with contextlib.suppress(ssol.SsolError):
            given.append(pool.take())
    assert len(given) >= SLOTS_IN_PAGE - 1
    assert kept.address not in {slot.address for slot in given}
    assert pool.find(kept.address) == kept
