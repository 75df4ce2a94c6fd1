"""Records come out of the rings whole, once, in order, and what does not is counted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rings import DTYPE, Writer, memory_of

from ubp.programs.ring import RingLayout, RingMode
from uprobes.recording.ring import Ring, RingDamaged


def layout_of(*, rings=1, capacity=8, overwrite=False):
    return RingLayout(rings, capacity, DTYPE.itemsize, RingMode(overwrite))


class Bench:
    """Memory, writers on each of its rings, and a reader whose clock is set by hand."""

    def __init__(self, **layout):
        self.layout = layout_of(**layout)
        self.memory = memory_of(self.layout)
        self.writers = [Writer(self.memory, self.layout, n) for n in range(self.layout.rings)]
        self.time = 0.0
        self.ring = self.reader()

    def reader(self, **options):
        given = {"probes": 4, "now": lambda: self.time, "grace_s": 1.0, **options}
        return Ring(self.memory, self.layout, DTYPE, **given)

    def write(self, *numbers, ring=0):
        for number in numbers:
            self.writers[ring].write(number)

    def read(self, **options):
        records = self.ring.read(**options)
        assert (records["number"] == records["twin"]).all(), "a torn record"
        return records["number"].tolist()


def test_an_empty_ring_gives_an_empty_array_with_the_fields():
    records = Bench().ring.read()
    assert len(records) == 0
    assert records.dtype == DTYPE


def test_records_come_once_and_in_order_over_many_laps():
    bench = Bench(capacity=8)
    numbers = itertools.count()
    written, read = [], []
    for batch in (3, 8, 1, 7, 5, 8, 2):
        new = list(itertools.islice(numbers, batch))
        bench.write(*new)
        written += new
        read += bench.read()
    assert read == written
    assert bench.ring.lost == 0
    assert bench.ring.records_read == len(written)


def test_where_there_is_no_room_new_records_are_lost_and_counted():
    bench = Bench(capacity=8)
    bench.write(*range(20))
    assert bench.read() == list(range(8))
    assert bench.ring.lost == 12
    bench.write(20)
    assert bench.read() == [20]


def test_a_flight_recorder_keeps_the_newest_and_counts_the_overwritten():
    bench = Bench(capacity=8, overwrite=True)
    bench.write(*range(20))
    assert bench.read() == list(range(12, 20))
    assert bench.ring.lost == bench.ring.overwritten == 12
    bench.write(*range(20, 23))
    assert bench.read() == [20, 21, 22]
    assert bench.ring.lost == 12


def test_an_unfinished_record_holds_up_those_behind_it():
    bench = Bench()
    slow = bench.writers[0].steps(1)
    next(slow)
    bench.write(2)
    assert bench.read() == []
    list(slow)
    assert bench.read() == [1, 2]
    assert bench.ring.lost == 0


def test_a_record_that_is_never_finished_is_given_up_after_the_grace_time():
    bench = Bench()
    next(bench.writers[0].steps(1))
    bench.write(2, 3)
    assert bench.read() == []
    bench.time = 0.9
    assert bench.read() == []
    bench.time = 1.1
    assert bench.read() == [2, 3]
    assert (bench.ring.lost, bench.ring.holes) == (1, 1)


def test_a_target_that_is_merely_stopped_loses_nothing():
    bench = Bench()
    slow = bench.writers[0].steps(1)
    next(slow)
    for bench.time in (0, 100, 200):
        assert bench.read() == []
    list(slow)
    assert bench.read() == [1]
    assert bench.ring.lost == 0


def test_each_unfinished_record_has_its_own_grace_time():
    bench = Bench()
    next(bench.writers[0].steps(1))
    bench.write(2)
    assert bench.read() == []
    bench.time = 1.1
    late = bench.writers[0].steps(3)
    next(late)
    bench.write(4)
    assert bench.read() == [2]
    list(late)
    assert bench.read() == [3, 4]
    assert bench.ring.lost == 1


def test_at_the_end_what_is_unfinished_is_lost():
    bench = Bench()
    bench.write(1)
    next(bench.writers[0].steps(2))
    assert bench.read(final=True) == [1]
    assert bench.ring.lost == 1


def test_a_writer_that_comes_back_too_late_tears_nothing():
    bench = Bench(capacity=4)
    late = bench.writers[0].steps(99)
    next(late)
    bench.write(1)
    bench.read()
    bench.time = 2
    assert bench.read() == [1]
    read = []
    for number in range(10, 60, 2):
        next(late, None)
        bench.write(number, number + 1)
        bench.time += 2
        read += bench.read()
    assert set(read) < set(range(10, 60))
    assert len(read) + bench.ring.lost == 51


@pytest.mark.parametrize("overwrite", [False, True])
@given(choices=st.lists(st.integers(0, 6), max_size=120))
@settings(deadline=None)
def test_what_was_written_was_read_or_lost_whatever_the_order_of_the_steps(overwrite, choices):
    bench = Bench(rings=2, capacity=4, overwrite=overwrite)
    numbers = itertools.count()
    under_way = []
    read = []
    for choice in choices:
        if choice < 2:
            under_way.append(bench.writers[choice].steps(next(numbers)))
        if choice == 6:
            bench.time += 0.4
            read += bench.read()
        elif under_way:
            writer = under_way[choice % len(under_way)]
            if next(writer, None) is None:
                under_way.remove(writer)
    for writer in under_way:
        list(writer)
    read += bench.read(final=True)
    assert len(set(read)) == len(read), "read twice"
    attempts = sum(writer.attempts for writer in bench.writers)
    assert len(read) + bench.ring.lost == attempts
    assert bench.ring.damaged == 0


def test_rings_are_merged_in_the_order_that_is_asked_for():
    bench = Bench(rings=4)
    bench.ring = bench.reader(order="number")
    for number in (5, 1, 7, 3, 0, 6, 2, 4):
        bench.write(number, ring=number % 4)
    assert bench.read() == list(range(8))


def test_lent_records_stand_in_the_shared_memory_and_their_slots_stay_taken():
    bench = Bench(capacity=4)
    bench.write(1, 2, 3)
    bench.read()
    bench.write(4, 5, 6)
    with bench.ring.borrow() as parts:
        assert [part["number"].tolist() for part in parts] == [[4], [5, 6]]
        assert all(np.shares_memory(part, np.frombuffer(bench.memory, "u1")) for part in parts)
        assert not any(part.flags.writeable for part in parts)
        bench.write(7, 8)
    assert bench.ring.lost == 1
    bench.write(9)
    assert bench.read() == [7, 9]


def test_another_reader_goes_on_where_the_last_one_stopped():
    bench = Bench()
    bench.write(1, 2, 3)
    assert bench.read() == [1, 2, 3]
    bench.write(4)
    bench.ring = bench.reader()
    assert bench.read() == [4]


def test_a_reader_that_keeps_the_records_leaves_the_memory_as_it_is():
    bench = Bench(capacity=4)
    bench.write(1, 2, 3)
    before = bytes(bench.memory)
    looking = Ring(before, bench.layout, DTYPE, probes=4, keep=True)
    assert looking.read()["number"].tolist() == [1, 2, 3]
    assert bench.reader(keep=True).read()["number"].tolist() == [1, 2, 3]
    assert bytes(bench.memory) == before
    assert bench.read() == [1, 2, 3]


def test_a_memory_that_is_too_small_is_refused():
    bench = Bench()
    with pytest.raises(RingDamaged, match="are wanted"):
        Ring(memoryview(bench.memory)[:-1], bench.layout, DTYPE, probes=1)


# -- a hostile target ----------------------------------------------------------------------------


def put(memory, offset, *words):
    np.frombuffer(memory, "<u8", len(words), offset)[:] = [word % 2**64 for word in words]


@pytest.mark.parametrize("head", [-1, -5, 2**63, 2**63 + 7, 2**64 - 1, 1000, 9])
def test_a_head_that_cannot_be_is_noticed_and_the_ring_goes_on(head):
    bench = Bench(capacity=8)
    put(bench.memory, bench.layout.control(0), head)
    assert bench.read() == []
    assert bench.ring.damaged == 1
    assert bench.read() == []
    assert bench.ring.damaged == 1


def test_a_probe_number_that_cannot_be_is_left_out_and_counted():
    bench = Bench()
    bench.write(1)
    bench.writers[0].write(2, probe=4)
    bench.write(3)
    assert bench.read() == [1, 3]
    assert bench.ring.damaged == 1


@pytest.mark.parametrize("overwrite", [False, True])
@given(
    noise=st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from(["head", "lost", "tail", "commit", "any"]),
            st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1)),
        ),
        max_size=40,
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_no_bytes_whatever_make_the_reader_fail_or_read_more_than_there_is(overwrite, noise, seed):
    bench = Bench(rings=2, capacity=4, overwrite=overwrite)
    random = np.random.default_rng(seed)
    layout = bench.layout
    if seed % 2:
        np.frombuffer(bench.memory, "u1")[:] = random.integers(0, 256, layout.size, np.uint8)
    for where, what, value in noise:
        ring, slot = where % 2, where // 2
        record = layout.data(ring) + slot * layout.record_size
        offset = {
            "head": layout.control(ring),
            "lost": layout.control(ring) + 8,
            "tail": layout.control(ring) + 64,
            "commit": record,
            "any": record + 8 * (value % 4),
        }[what]
        put(bench.memory, offset, value)
        bench.time += 0.6
        records = bench.ring.read()
        assert len(records) <= layout.rings * layout.capacity
        assert (records["probe"] < 4).all()
        assert bench.ring.lost >= 0
    before = bytes(bench.memory)
    bench.ring.read(final=True)
    changed = np.flatnonzero(np.frombuffer(before, "u1") != np.frombuffer(bench.memory, "u1"))
    tails = {layout.control(ring) + 64 + byte for ring in range(2) for byte in range(8)}
    assert set(changed.tolist()) <= tails, "the reader wrote something else than its tails"
