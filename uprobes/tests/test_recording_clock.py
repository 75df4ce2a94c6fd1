"""Ticks become nanoseconds of CLOCK_MONOTONIC, and how wrong they may be is known."""

import platform
import time

import numpy as np
import pytest

from uprobes import UnsupportedTarget
from uprobes.recording import clock as clock_module
from uprobes.recording import ticks
from uprobes.recording.clock import KEPT, Clock, Sample, take_sample

LINE = [Sample(1_000_000_000, 5_000_000_000, 10), Sample(3_000_000_000, 6_000_000_000, 20)]


@pytest.fixture
def frozen(monkeypatch):
    """A clock whose samples are given by hand: two ticks are a nanosecond."""
    left = [*LINE]
    monkeypatch.setattr(clock_module, "check_counter", lambda: None)
    monkeypatch.setattr(clock_module, "take_sample", lambda: left.pop(0))
    clock = Clock()
    clock.mark()
    return clock


def test_times_between_two_samples_lie_on_the_line_through_them(frozen):
    ticks = np.array([1_000_000_000, 2_000_000_000, 3_000_000_000, 1_000_000_003], np.uint64)
    expected = [5_000_000_000, 5_500_000_000, 6_000_000_000, 5_000_000_002]
    assert frozen.times(ticks).tolist() == expected
    assert frozen.times(ticks.view(np.int64)).tolist() == expected
    assert frozen.error_ns == 21


def test_times_outside_go_straight_on(frozen):
    ticks = np.array([0, 5_000_000_000], np.uint64)
    assert frozen.times(ticks).tolist() == [4_500_000_000, 7_000_000_000]


def test_durations_may_be_negative(frozen):
    ticks = np.array([10, 2**64 - 10, 0], np.uint64)
    assert frozen.durations(ticks).tolist() == [5, -5, 0]


def test_a_bent_clock_is_followed_from_sample_to_sample(monkeypatch):
    left = [Sample(0, 0, 1), Sample(10**9, 10**9, 1), Sample(2 * 10**9, 3 * 10**9, 1)]
    monkeypatch.setattr(clock_module, "check_counter", lambda: None)
    monkeypatch.setattr(clock_module, "take_sample", lambda: left.pop(0))
    clock = Clock()
    clock.mark()
    clock.mark()
    ticks = np.array([5 * 10**8, 15 * 10**8, 10**9, 25 * 10**8], np.uint64)
    assert clock.times(ticks).tolist() == [5 * 10**8, 2 * 10**9, 10**9, 4 * 10**9]


def test_any_64_bits_have_an_answer(frozen):
    ticks = np.array([0, 2**63, 2**63 - 1, 2**64 - 1], np.uint64)
    assert len(frozen.times(ticks)) == 4
    assert len(frozen.durations(ticks)) == 4


def test_samples_do_not_pile_up_and_the_first_stays(monkeypatch):
    numbers = iter(range(1, 10**6))

    def sample():
        at = next(numbers) * 10**8
        return Sample(at, at, 1)

    monkeypatch.setattr(clock_module, "check_counter", lambda: None)
    monkeypatch.setattr(clock_module, "take_sample", sample)
    clock = Clock()
    for _ in range(10 * KEPT):
        clock.mark()
    assert len(clock.samples) <= KEPT
    assert clock.samples[0].ns == 10**8
    assert clock.samples == tuple(sorted(clock.samples))


def test_a_clock_of_another_boot_is_forgotten(monkeypatch):
    monkeypatch.setattr(clock_module, "check_counter", lambda: None)
    monkeypatch.setattr(clock_module, "take_sample", lambda: Sample(500, 500, 1))
    assert Clock(LINE).samples == (Sample(500, 500, 1),)


@pytest.mark.parametrize(
    ("flags", "source", "why"),
    [
        ("tsc nonstop_tsc", "tsc", "not constant_tsc"),
        ("tsc constant_tsc", "tsc", "not nonstop_tsc"),
        ("tsc", "kvm-clock", "not constant_tsc and nonstop_tsc"),
        ("constant_tsc nonstop_tsc", "hpet", "went over to hpet"),
    ],
)
def test_a_counter_that_is_no_clock_is_refused(flags, source, why, monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    (tmp_path / "source").write_text(source + "\n")
    monkeypatch.setattr(clock_module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(clock_module, "CLOCKSOURCE", tmp_path / "source")
    with pytest.raises(UnsupportedTarget, match=why) as refused:
        Clock()
    assert refused.value.code == "no-clock"
    assert refused.value.hint


def test_a_machine_whose_counter_nobody_reads_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(UnsupportedTarget, match="this machine is a vax"):
        ticks.Sampler()


def test_the_real_counter_agrees_with_the_clock_within_the_stated_error():
    clock = Clock()
    between = []
    for _ in range(200):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        sample = take_sample()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        between.append((before, sample, after))
        clock.mark()
    times = clock.times(np.array([sample.ticks for _, sample, _ in between], np.uint64)).tolist()
    assert times == sorted(times)
    for (before, sample, after), ns in zip(between, times, strict=True):
        assert before - clock.error_ns <= ns <= after + clock.error_ns
        assert abs(ns - sample.ns) <= clock.error_ns + sample.error_ns


def test_the_code_that_reads_the_counter_cannot_be_written():
    take_sample()
    with open("/proc/self/maps") as maps:
        rows = [line.split()[1] for line in maps if "uprobes clock" in line]
    assert rows
    assert all("w" not in permissions for permissions in rows)
