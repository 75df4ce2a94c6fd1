"""10,000 functions patched at once and put back, and what becomes of programs that end soon after.

Beside Frida, which works by jumps as well.
"""

import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uprobes
from benchmarks.peers import frida_tool, has_frida, stopped
from benchmarks.quiet import wait_for_quiet
from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.tracers import Tracing
from benchmarks.victims import CROWD, Missing, Victim, file_code

IN_MS, OUT_MS = 1000.0, 500.0
SWEEPS = 2
PATIENCE_S = 1.0
"""How long to wait for others to leave the machine alone."""
TARGETS = 12
"""How many programs end soon after a tool has left them."""
HANGS_S = 4.0
"""Who has not ended by then hangs."""
MEMBERS = "crowd:member_*"


@dataclass(frozen=True)
class Took:
    """Milliseconds by the clock, and of our own CPU time."""

    wall: float
    cpu: float | None = None


Pair = tuple[Took, Took]
"""To put all in, and to take all out."""


def _timed(work: Callable[[], object]) -> Took:
    begun, cpu = time.perf_counter_ns(), time.process_time_ns()
    work()
    wall = time.perf_counter_ns() - begun
    return Took(wall / 1e6, (time.process_time_ns() - cpu) / 1e6)


def ours() -> Pair:
    """Count at every function of the crowd; symbols were read before."""
    with Victim("crowd") as victim, uprobes.attach(victim.pid) as target:
        target.check("crowd:member_00000")
        made: list[uprobes.recording.Recording] = []
        put_in = _timed(lambda: made.append(target.record(MEMBERS, (), method="jump")))
        [recording] = made
        assert not recording.refused, recording.refused[0]
        victim.sweep(SWEEPS)
        assert (recording.hits == SWEEPS).all(), "a function was not counted each time"
        assert len(recording.hits) == CROWD, f"{len(recording.hits)} functions"
        take_out = _timed(recording.remove)
        _check_untouched(victim)
        return put_in, take_out


def from_nothing() -> Pair:
    """The same from the first look at the process to the moment when it is left alone."""
    with Victim("crowd") as victim:

        def put_in() -> None:
            with uprobes.attach(victim.pid) as target:
                recording = target.record(MEMBERS, (), method="jump")
                assert len(recording.hits) == CROWD, recording.refused[:1]
                recording.detach()

        def take_out() -> None:
            with uprobes.attach(victim.pid) as target:
                for installed in target.installed:
                    installed.remove()

        into = _timed(put_in)
        victim.sweep(SWEEPS)
        out = _timed(take_out)
        _check_untouched(victim)
        return into, out


def frida() -> Pair:
    """Count with Frida in compiled C; what it needs to get into the process is counted in."""
    with Victim("crowd") as victim:
        tracing = Tracing(frida_tool("many", CROWD), victim, "member_00000")
        with stopped(tracing.process):
            victim.sweep(SWEEPS)
            tracing.process.send_signal(signal.SIGTERM)
            said, _ = tracing.process.communicate(timeout=60)
            words = said.decode().split()
            hits, put_in, take_out = map(int, words[words.index("hits") + 1 :][:3])
            assert hits == SWEEPS * CROWD, f"Frida saw {hits} of {SWEEPS * CROWD}"
            # It may have died of that, which the other table counts.
            return Took(put_in / 1e6), Took(take_out / 1e6)


def _check_untouched(victim: Victim) -> None:
    """Look whether the program still answers, with the bytes it was started with."""
    victim.sweep(SWEEPS)
    for number in (0, CROWD // 2, CROWD - 1):
        name = f"member_{number:05d}"
        assert victim.code(name) == file_code(victim.binary, name), "bytes were left behind"


OURS, WHOLE, FRIDA = "uprobes", "uprobes, from attach to detach", "Frida, compiled C"
WAYS: tuple[tuple[str, Callable[[], Pair], bool], ...] = (
    (OURS, ours, True),
    (WHOLE, from_nothing, False),
    (FRIDA, frida, False),
)


def patch_costs(rounds: int) -> Section:
    """Measure each way in turns, every time on a fresh program."""
    taken: dict[str, list[Pair]] = {name: [] for name, _, _ in WAYS}
    missing: dict[str, str] = {}
    disturbed = 0
    for _ in range(rounds):
        for name, way, _ in WAYS:
            if name not in missing:
                disturbed += not wait_for_quiet(PATIENCE_S)
                try:
                    taken[name].append(way())
                except Missing as error:
                    missing[name] = str(error)
    section = Section(
        f"Patching {CROWD:,} functions with jumps, and putting them back",
        "Wall time. One process, all functions in one call; each is then called, counted, and gives"
        " the right result, with the jumps and without them again."
        + (f" {disturbed} of {rounds * len(WAYS)} turns on a busy machine." if disturbed else ""),
    )
    for name, _, has_goal in WAYS:
        if name in missing:
            section.figures.append(Figure(name, note=f"not measured: {missing[name]}"))
            continue
        for index, (what, limit) in enumerate((("in", IN_MS), ("out", OUT_MS))):
            times = [pair[index].wall for pair in taken[name]]
            ratios = []
            if has_goal:
                ratios.append(Ratio("of what it may take", _median_ratio(times, limit), Goal(1)))
            elif name == FRIDA:
                own = [pair[index].wall for pair in taken[OURS]]
                ratios.append(Ratio("over ours", ratio(times, own)))
            if times and (cpu := [c for pair in taken[name] if (c := pair[index].cpu)]):
                ratios.append(Ratio("of CPU time, ms", statistics.median(cpu)))
            section.figures.append(Figure(f"{name}: {what}", tuple(times), "ms", tuple(ratios)))
    return section


def _median_ratio(times: Sequence[float], limit: float) -> float:
    return ratio(times, [limit] * len(times))


# -- who ends soon after -------------------------------------------------------------------------


def _ends_well(victim: Victim) -> bool:
    """Let a program end, and tell whether it did, and as it should."""
    victim.process.stdin.close()
    try:
        return victim.process.wait(HANGS_S) == 0
    except subprocess.TimeoutExpired:
        victim.process.kill()
        victim.process.wait()
        return False


def outlives_ours() -> bool:
    """Jump-probe a program that ends right after we have left it."""
    with Victim() as victim:
        with uprobes.attach(victim.pid) as target, target.record("victim:begins_*", ()):
            victim.call("begins_lea", 1000)
        return _ends_well(victim)


def outlives_frida() -> bool:
    """Let Frida do the same."""
    with Victim() as victim:
        tracing = Tracing(frida_tool("short"), victim, "begins_lea")
        with stopped(tracing.process):
            victim.call("begins_lea", 1000)
            tracing.process.send_signal(signal.SIGTERM)
            tracing.process.stdout.readline()
            return _ends_well(victim)


def endings() -> Section:
    """Count the programs that do not survive that a tool left them moments ago."""
    section = Section(
        "Programs that end soon after a tool has left them",
        "How many crashed or hung: probed, hit, let go in the tool's own clean way, ended at once.",
    )
    died = sum(not outlives_ours() for _ in range(TARGETS))
    section.figures.append(
        Figure("uprobes", (died,), f"of {TARGETS}", (Ratio("died", died, Goal(0)),))
    )
    try:
        has_frida()
        died = sum(not outlives_frida() for _ in range(TARGETS))
        section.figures.append(Figure("Frida", (died,), f"of {TARGETS}"))
    except Missing as error:
        section.figures.append(Figure("Frida", note=f"not measured: {error}"))
    return section
