"""What it takes to put 10,000 probes in and to take them out, beside bare writes and the kernel."""

import os
import time
from collections.abc import Callable, Sequence

import uprobes
from benchmarks import kernel_uprobes
from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.victims import CROWD, Missing, Victim

GOAL_MS = 100.0
TRAP = b"\xcc"
Pair = tuple[float, float]
"""Milliseconds to put all in, and to take all out."""


def _timed(work: Callable[[], object], clock: Callable[[], int] = time.process_time_ns) -> float:
    """Return milliseconds: of CPU time, which is all that this takes, whatever others do."""
    begun = clock()
    work()
    return (clock() - begun) / 1e6


def by_address(victim: Victim, addresses: Sequence[int]) -> Pair:
    """Register and unregister probe objects made for addresses."""
    with uprobes.attach(victim.pid) as target:
        target.check(f"va:{addresses[0]:#x}")
        probes = [uprobes.Uprobe(victim.pid, address, _handler) for address in addresses]
        put_in = _timed(lambda: _all_in(target.register_probes(probes)))
        _check(victim, probes)
        return put_in, _timed(lambda: target.unregister(probes))


def by_name(victim: Victim, _addresses: Sequence[int]) -> Pair:
    """Register by one pattern, its symbols resolved before."""
    with uprobes.attach(victim.pid) as target:
        target.check("crowd:member_00000")
        registration = None

        def register() -> None:
            nonlocal registration
            registration = target.register("crowd:member_*", _handler)
            _all_in(registration)

        put_in = _timed(register)
        assert registration is not None
        _check(victim, registration.probes)
        return put_in, _timed(registration.unregister)


def _handler(hit: uprobes.Hit) -> None:
    hit.arg(0)


def _all_in(registration: uprobes.Registration) -> None:
    assert not registration.refused, registration.refused[0]
    assert len(registration.probes) == CROWD, f"{len(registration.probes)} probes"


def _check(victim: Victim, probes: Sequence[uprobes.Probe]) -> None:
    """Let the victim call every function once: each probe must see one hit."""
    victim.sweep()
    assert all(probe.hits == 1 for probe in probes), "a probe was not hit exactly once"


def raw_whole(victim: Victim, addresses: Sequence[int]) -> Pair:
    """Write the text as a whole with all breakpoints in it, and without them again."""
    low, high = min(addresses), max(addresses) + 1
    memory = os.open(f"/proc/{victim.pid}/mem", os.O_RDWR)
    before = b""

    def put_in() -> None:
        nonlocal before
        before = os.pread(memory, high - low, low)
        after = bytearray(before)
        for address in addresses:
            after[address - low] = 0xCC
        os.pwrite(memory, after, low)

    try:
        return _timed(put_in), _timed(lambda: os.pwrite(memory, before, low))
    finally:
        os.close(memory)


def raw_each(victim: Victim, addresses: Sequence[int]) -> Pair:
    """Read and write each byte by itself."""
    memory = os.open(f"/proc/{victim.pid}/mem", os.O_RDWR)
    before: list[bytes] = []

    def put_in() -> None:
        for address in addresses:
            before.append(os.pread(memory, 1, address))
            os.pwrite(memory, TRAP, address)

    def take_out() -> None:
        for address, code in zip(addresses, before, strict=True):
            os.pwrite(memory, code, address)

    try:
        return _timed(put_in), _timed(take_out)
    finally:
        os.close(memory)


def kernel(victim: Victim, _addresses: Sequence[int]) -> Pair:
    """Let the kernel's uprobe_multi do it: one link for all functions."""
    offsets = kernel_uprobes.file_offsets(victim.binary, [f"member_{n:05d}" for n in range(CROWD)])
    link = None

    def put_in() -> None:
        nonlocal link
        link = kernel_uprobes.attach(str(victim.binary), offsets, victim.pid)

    # The kernel waits for other CPUs: that takes no CPU time, but time.
    put_in_ms = _timed(put_in, time.perf_counter_ns)
    assert link is not None
    return put_in_ms, _timed(lambda: os.close(link), time.perf_counter_ns)


WAYS: tuple[tuple[str, Callable[[Victim, Sequence[int]], Pair], bool], ...] = (
    ("raw writes, the text as a whole", raw_whole, False),
    ("raw writes, one by one", raw_each, False),
    ("kernel uprobe_multi", kernel, False),
    ("uprobes, probe objects with addresses", by_address, True),
    ("uprobes, one pattern", by_name, True),
)


def bulk_costs(rounds: int) -> Section:
    """Measure each way in turns, every time on a fresh program."""
    taken: dict[str, list[Pair]] = {name: [] for name, _, _ in WAYS}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name, way, _ in WAYS:
            if name in missing:
                continue
            with Victim("crowd") as victim:
                try:
                    taken[name].append(way(victim, victim.members()))
                except Missing as error:
                    missing[name] = str(error)
    section = Section(
        f"Putting {CROWD:,} probes in and taking them out",
        "One process, every probe in one call; symbols were read before. Each of ours is checked by"
        " a hit. CPU time, but for the kernel's.",
    )
    limit = [pair[0] for pair in taken["raw writes, the text as a whole"]]
    for name, _, is_ours in WAYS:
        if name in missing:
            section.figures.append(Figure(name, note=f"not measured: {missing[name]}"))
            continue
        for index, what in enumerate(("in", "out")):
            times = [pair[index] for pair in taken[name]]
            ratios = []
            if is_ours:
                ratios.append(
                    Ratio(f"over {GOAL_MS:g} ms", ratio(times, [GOAL_MS] * len(times)), Goal(1))
                )
            if name != WAYS[0][0]:
                ratios.append(Ratio("over raw writes, whole, in", ratio(times, limit)))
            section.figures.append(Figure(f"{name}: {what}", tuple(times), "ms", tuple(ratios)))
    return section
