"""What an event costs where no process stands by: counted, recorded, from entry to return."""

import statistics
from collections.abc import Sequence

from benchmarks import installed, peers
from benchmarks.events import Contestant, event_costs
from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.victims import Ended, Missing

HAND_COUNT = "by hand: jump, lock inc"
HAND_FLAGS = "by hand: jump, lock inc, flags saved"
HAND_RECORD = "by hand: jump, record"
HAND_TRAP = "by hand: int3, counted in its signal handler"
KERNEL_STEPS = "kernel uprobe that steps (lea)"
KERNEL_NOP5 = "kernel uprobe, nop5"
FRIDA = "Frida, compiled C"
BPF_STEPS, BPF_NOP5 = "bpftrace count, stepped (lea)", "bpftrace count, nop5"
BPF_RECORD = "bpftrace record, nop5"
LTTNG = "LTTng-UST, static tracepoint"
UFTRACE = "uftrace, -pg"
UFTRACE_ARGUMENTS = "uftrace, -pg, six arguments"
COUNT, MIDDLE = "uprobes: jump, count", "uprobes: jump, count, flags live"
TRAP_COUNT = "uprobes: trap, count"
RECORD, TRAP_RECORD = "uprobes: jump, record", "uprobes: trap, record"
HISTOGRAM = "uprobes: jump, histogram of the time"
LATENCY_RECORD = "uprobes: jump, record of the time"
BY_HAND, JUMP, TRAP = "over by hand", "over ours, jump", "over ours, trap"
MIDDLE_NS = 10.0
THREADS, CALLS = 8, 10_000_000
BEGINS = "begins_lea"


def at_least(factor: float) -> Goal:
    """Ours must be so many times faster."""
    return Goal(factor, at_most=False)


def count_costs(rounds: int) -> Section:
    """Measure counting, at an entry and in the middle of a function."""
    over_both = ((JUMP, COUNT, None), (TRAP, TRAP_COUNT, None))
    steps = ((JUMP, COUNT, None), (TRAP, TRAP_COUNT, at_least(3)))
    contestants = [
        Contestant(HAND_COUNT, peers.by_hand("count")),
        Contestant(COUNT, installed.counting("jump", BEGINS), ((BY_HAND, HAND_COUNT, Goal(2)),)),
        Contestant(HAND_FLAGS, peers.by_hand("flags", "flags_live")),
        Contestant(
            MIDDLE,
            installed.counting("jump", "flags_live", offset=3),
            ((BY_HAND, HAND_FLAGS, None), (JUMP, COUNT, None)),
        ),
        Contestant(HAND_TRAP, peers.by_hand("trap")),
        Contestant(TRAP_COUNT, installed.counting("trap", BEGINS), ((BY_HAND, HAND_TRAP, None),)),
        Contestant(FRIDA, peers.frida("count"), over_both),
        Contestant(KERNEL_NOP5, peers.kernel("begins_nop5"), over_both),
        Contestant(KERNEL_STEPS, peers.kernel(BEGINS), steps),
        Contestant(BPF_NOP5, peers.bpftrace("count", "begins_nop5"), over_both),
        Contestant(BPF_STEPS, peers.bpftrace("count", BEGINS), steps),
    ]
    section = event_costs(
        "Counting an event",
        "Nanoseconds of CPU time that the probe adds to a call. lea, nop5: the instruction probed."
        " Of ours the tracer has gone.",
        contestants,
        rounds,
    )
    entry, middle = (next(c for c in contestants if c.name == name) for name in (COUNT, MIDDLE))
    if entry.rounds and middle.rounds:
        at = next(i for i, figure in enumerate(section.figures) if figure.name == MIDDLE)
        section.figures.insert(at + 1, _more(entry.rounds, middle.rounds))
    return section


def _more(entry: Sequence[float], middle: Sequence[float]) -> Figure:
    """Compare what the middle of a function costs more than its entry with what it may."""
    more = tuple(b - a for a, b in zip(entry, middle, strict=True))
    allowed = Ratio(f"over {MIDDLE_NS:g} ns", statistics.median(more) / MIDDLE_NS, Goal(1))
    return Figure("  of that, more than at an entry", more, "ns", (allowed,))


def record_costs(rounds: int) -> Section:
    """Measure recording the time, the thread and six arguments."""
    six = ",".join(f"arg{number}" for number in range(1, 7))
    both = ((JUMP, RECORD, None), (TRAP, TRAP_RECORD, None))

    def over(jump: float, trap: Goal | None = None) -> tuple[tuple[str, str, Goal | None], ...]:
        return (JUMP, RECORD, at_least(jump)), (TRAP, TRAP_RECORD, trap)

    contestants = [
        Contestant(HAND_RECORD, peers.by_hand("record")),
        Contestant(RECORD, installed.recording("jump", BEGINS), ((BY_HAND, HAND_RECORD, None),)),
        Contestant(HAND_TRAP, peers.by_hand("trap")),
        Contestant(TRAP_RECORD, installed.recording("trap", BEGINS), ((BY_HAND, HAND_TRAP, None),)),
        Contestant(LTTNG, peers.lttng(), over(4)),
        Contestant(
            UFTRACE_ARGUMENTS,
            peers.uftrace("compiled_pg", "compiled", "-F", "compiled", "-A", f"compiled@{six}"),
            over(4),
        ),
        Contestant(UFTRACE, peers.uftrace("compiled_pg", "compiled", "-F", "compiled"), over(4)),
        Contestant(FRIDA, peers.frida("record"), over(10)),
        Contestant(KERNEL_STEPS, peers.kernel(BEGINS), ((TRAP, TRAP_RECORD, at_least(3)),)),
        Contestant(BPF_NOP5, peers.bpftrace("count", "begins_nop5"), over(30)),
        Contestant(BPF_STEPS, peers.bpftrace("count", BEGINS), over(400)),
        Contestant(BPF_RECORD, peers.bpftrace("record", "begins_nop5"), both),
    ]
    return event_costs(
        "Recording an event: time, thread, six arguments",
        "Nanoseconds of CPU time that it adds to a call. Rings overwrite the oldest, and nobody"
        " reads meanwhile. uftrace records the return as well, without arguments unless it is said."
        " What only counts (int3 by hand, the kernel, bpftrace) would pay more for records.",
        contestants,
        rounds,
    )


def return_costs(rounds: int) -> Section:
    """Measure the time between entry and return."""
    columns = (("over ours, histogram", HISTOGRAM), ("over ours, record", LATENCY_RECORD))
    twice = tuple((*column, at_least(2)) for column in columns)
    once = tuple((*column, None) for column in columns)
    contestants = [
        Contestant(HISTOGRAM, installed.latency("jump", BEGINS)),
        Contestant(LATENCY_RECORD, installed.returning("jump", BEGINS)),
        Contestant(UFTRACE, peers.uftrace("compiled_pg", "compiled", "-F", "compiled"), twice),
        Contestant(
            "uftrace, -fpatchable-function-entry",
            peers.uftrace("compiled_patchable", "compiled", "-P", "^compiled$"),
            twice,
        ),
        Contestant(
            "uftrace -P, nop5", peers.uftrace("victim", "begins_nop5", "-P", "^begins_nop5$"), twice
        ),
        Contestant("uftrace -P, lea", peers.uftrace("victim", BEGINS, "-P", f"^{BEGINS}$"), twice),
        Contestant(FRIDA, peers.frida("returns"), once),
        Contestant("bpftrace, histogram, nop5", peers.bpftrace("returns", "begins_nop5"), once),
    ]
    return event_costs(
        "From entry to return",
        "Nanoseconds of CPU time that it adds to a call when entry and return are seen, and the"
        " time between them is recorded, or counted in a histogram.",
        contestants,
        rounds,
    )


def thread_costs(rounds: int) -> Section:
    """Let eight threads call one function, and look whether every call of each was counted."""
    ways = (
        (HAND_COUNT, peers.by_hand("count")),
        (COUNT, installed.counting("jump", BEGINS)),
        ("uprobes: jump, record, tid and arg0", installed.short_record(BEGINS)),
    )
    taken: dict[str, list[float]] = {name: [] for name, _ in ways}
    missing: dict[str, str] = {}
    for _ in range(max(1, rounds // 4)):
        for name, start in ways:
            try:
                with start() as running:
                    bare = running.victim.call(running.twin, CALLS, THREADS)
                    probed = running.victim.call(running.function, CALLS, THREADS)
                    seen = running.hits(CALLS * THREADS)
            except Missing as error:
                missing[name] = str(error)
                continue
            if seen != CALLS * THREADS:
                raise Ended(f"{name} saw {seen} events of {CALLS * THREADS}")
            taken[name].append(probed.cpu_ns_per_call - bare.cpu_ns_per_call)
    section = Section(
        f"{THREADS} threads on one probe",
        f"Nanoseconds of CPU time added to a call, while {THREADS} threads make {CALLS:,} each."
        " Every one was counted. Records overwrite the oldest.",
    )
    by_hand = taken[ways[0][0]]
    for name, _ in ways:
        if name in missing:
            section.figures.append(Figure(name, note=f"not measured: {missing[name]}"))
            continue
        against = (Ratio(BY_HAND, ratio(taken[name], by_hand)),) if name != ways[0][0] else ()
        section.figures.append(Figure(name, tuple(taken[name]), "ns", against))
    return section
