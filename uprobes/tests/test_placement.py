"""What the tracing thread asks of the machine while hits are dense, and gives back afterwards."""

import os
import subprocess
import sys
import threading
import time

import pytest

from uprobes import placement
from uprobes.placement import POLLS, STRETCH, Placement, affinity

EVERY = 16
MS = 1_000_000
PATIENCE = 5.0

needs_two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="needs two CPUs")


@pytest.fixture
def latency(tmp_path, monkeypatch):
    """A file in the place of the kernel's, whose descriptors can be counted."""
    path = tmp_path / "latency"
    path.touch()
    monkeypatch.setattr(placement, "LATENCY", str(path))
    return path


@pytest.fixture
def forbidden(tmp_path, monkeypatch):
    """The kernel's file as somebody sees it who may not use it."""
    monkeypatch.setattr(placement, "LATENCY", str(tmp_path / "missing"))


@pytest.fixture
def sleeper():
    """A process that may run anywhere."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.communicate(b"\n")


def holders(path):
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.lexists(link) and os.path.realpath(link) == str(path)]


def hit_until(placed, condition, pace_ns):
    """Let reviews come at a pace until something holds."""
    deadline, now = time.monotonic() + PATIENCE, 10**12
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        now += pace_ns * EVERY
        placed.review(now)
        time.sleep(0.001)
    return now


def used(placed, asleep_ns, looking_ns):
    """Let hits come at the pace that the way of waiting brings; return the way used mostly."""
    now = hit_until(placed, lambda: placed._may_poll, asleep_ns)
    ways = []
    for _ in range(40 * STRETCH):
        now += EVERY * (looking_ns if placed.polls else asleep_ns)
        placed.review(now)
        ways.append(placed.polls)
    return max(set(ways), key=ways.count)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def test_rare_hits_change_nothing(latency, sleeper):
    placed = Placement([sleeper], EVERY)
    for number in range(1, 50):
        placed.review(number * EVERY * 3 * MS)
    assert not holders(latency)
    assert placed.polls == 0
    placed.close()


def test_dense_hits_hold_the_latency_at_zero_until_they_are_over(latency, sleeper):
    placed = Placement([sleeper], EVERY)
    hit_until(placed, lambda: holders(latency), MS // 2)
    wait_until(lambda: latency.read_bytes() == b"\0\0\0\0")
    wait_until(lambda: not holders(latency))
    placed.close()


def test_the_end_of_tracing_gives_the_latency_back_at_once(latency, sleeper):
    placed = Placement([sleeper], EVERY)
    hit_until(placed, lambda: holders(latency), MS // 2)
    placed.close()
    assert not holders(latency)


@pytest.mark.usefixtures("forbidden")
@needs_two_cpus
def test_hits_are_looked_for_before_the_tracer_sleeps_where_that_is_quicker(sleeper):
    placed = Placement([sleeper], EVERY)
    assert used(placed, asleep_ns=50_000, looking_ns=15_000) == POLLS
    placed.close()
    assert placed.polls == 0


@pytest.mark.usefixtures("forbidden")
@needs_two_cpus
@pytest.mark.parametrize(
    ("asleep_ns", "looking_ns"), [(10_000, 20_000), (10_000, 9_500), (400_000, 300_000)]
)
def test_hits_are_not_looked_for_where_that_is_no_quicker(sleeper, asleep_ns, looking_ns):
    placed = Placement([sleeper], EVERY)
    assert used(placed, asleep_ns, looking_ns) == 0
    placed.close()


@pytest.mark.usefixtures("forbidden")
@needs_two_cpus
def test_a_target_bound_to_one_cpu_is_followed_there_and_left_alone_afterwards(sleeper):
    before = os.sched_getaffinity(0)
    cpu = max(before)
    os.sched_setaffinity(sleeper, {cpu})
    placed = Placement([sleeper], EVERY)
    seen = []

    def trace():
        hit_until(placed, lambda: os.sched_getaffinity(0) == {cpu}, MS // 2)
        seen.append(placed.polls)
        placed.close()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=trace)
    thread.start()
    thread.join(2 * PATIENCE)
    assert seen == [0, before]
    assert os.sched_getaffinity(sleeper) == {cpu}


@pytest.mark.usefixtures("forbidden")
@needs_two_cpus
def test_looking_ends_at_once_when_somebody_else_needs_the_cpu(sleeper):
    placed = Placement([sleeper], EVERY)
    assert used(placed, asleep_ns=50_000, looking_ns=15_000) == POLLS
    now = placed._last
    while not placed.polls:
        now += EVERY * 50_000
        placed.review(now)
    placed.review(now + EVERY * 300_000)
    assert placed.polls == 0
    placed.close()


def test_threads_that_are_gone_have_no_place(sleeper):
    assert affinity([sleeper, 2**22 + 5]) == os.sched_getaffinity(sleeper)
