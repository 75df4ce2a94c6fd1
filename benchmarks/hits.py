"""What one hit costs, by method and tool.

All tools are attached at once, each to a victim of its own, and measured in turns.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.quiet import wait_for_quiet
from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.tracers import GDB, LIBDEBUG, Tool, Tracing, limit, ours
from benchmarks.victims import CROWD, Ended, Missing, Victim, cpu_ns

ROUND_NS = 30_000_000
"""How long one victim calls its function in one round."""
REST = 0.25
"""Seconds between two turns, in which what a tool asked of the machine is given back."""
LIMIT_GOAL, LIBDEBUG_GOAL, GDB_GOAL = Goal(1.4), Goal(4, at_most=False), Goal(10, at_most=False)
CROWD_GOAL = Goal(1.1)
PATIENCE = 1.0
"""Seconds to wait in each turn for others to leave the machine alone."""
IN_VAIN = 5
"""After so many turns in which they did not, nobody waits any more."""
ONE_STOP = "C loop, one stop, GETREGS + SETREGS"
LEAST = "C loop, one stop, PEEKUSER + POKEUSER"
WRITING = "C loop, one stop, GETREGS + POKEDATA + SETREGS (push)"
STEPPED = "C loop, two stops, a copy stepped"
IN_PLACE = "C loop, two stops, stepped in place"


@dataclass(frozen=True)
class Placement:
    """Where victim and tool may run."""

    name: str
    victim: frozenset[int] | None
    tool: frozenset[int] | None
    by_cpu_time: bool = False
    """Whether CPU time is taken for wall time: on one CPU they are the same, but for what others
    do there.
    """


def placements(allowed: Collection[int]) -> Iterator[Placement]:
    """Give the placements that this machine has."""
    first, *others = sorted(allowed)
    yield Placement(
        "victim and tool bound to the same CPU", frozenset({first}), frozenset({first}), True
    )
    yield Placement("nobody bound", None, None)
    if others:
        yield Placement(
            "victim and tool bound to different CPUs", frozenset({first}), frozenset({others[0]})
        )


@dataclass
class Contestant:
    """One tool and the function it probes; afterwards what it took, or why there is nothing."""

    tool: Tool
    function: str
    label: str = ""
    writes: bool = False
    """Whether the instruction writes memory, which an emulating tool must do for it."""
    rounds: list[float] = field(default_factory=list)
    missing: str = ""
    calls: int = 0
    count: int = 0
    disturbed: int = 0
    """How many turns began although somebody else used the machine."""

    @property
    def name(self) -> str:
        """What its line in the table is called."""
        return self.label or f"{self.tool.name}: {self.function.removeprefix('begins_')}"


def short_line_up() -> list[Contestant]:
    """Give one contestant of each kind, for the placements in which every hit takes long."""
    lea = "begins_lea"
    return [
        Contestant(limit("pokeuser"), lea, LEAST),
        Contestant(limit("getregs"), lea, ONE_STOP),
        Contestant(ours("boost"), lea),
        Contestant(ours("emulate"), "begins_nop5"),
        Contestant(limit("step"), lea, STEPPED),
        Contestant(ours("step"), lea),
        Contestant(LIBDEBUG, lea),
        Contestant(GDB, lea),
    ]


def line_up() -> list[Contestant]:
    """Give the contestants of the table; the limits and peers come first."""
    lea = "begins_lea"
    return [
        Contestant(limit("pokeuser"), lea, LEAST),
        Contestant(limit("getregs"), lea, ONE_STOP),
        Contestant(ours("boost"), lea),
        Contestant(ours("boost"), "begins_push"),
        Contestant(ours("boost"), "begins_rip"),
        Contestant(ours("boost"), "begins_endbr"),
        Contestant(ours("emulate"), "begins_nop5"),
        Contestant(ours("emulate"), "begins_jcc"),
        Contestant(limit("push"), "begins_push", WRITING),
        Contestant(ours("emulate"), "begins_push", writes=True),
        Contestant(ours("emulate"), "begins_call", writes=True),
        Contestant(limit("step"), lea, STEPPED),
        Contestant(ours("step"), lea),
        Contestant(limit("inline"), lea, IN_PLACE),
        Contestant(ours("inline"), lea),
        Contestant(LIBDEBUG, lea),
        Contestant(GDB, lea),
    ]


def compete(
    contestants: Sequence[Contestant], placement: Placement, rounds: int, program: str = "victim"
) -> None:
    """Measure all contestants in turns, and check that every call of each was a hit."""
    with ExitStack() as stack:
        running: list[tuple[Contestant, Victim, Tracing]] = []
        for contestant in contestants:
            try:
                victim = stack.enter_context(Victim(program, placement.victim))
                tracing = Tracing(contestant.tool, victim, contestant.function, placement.tool)
            except Missing as error:
                contestant.missing = str(error)
                continue
            stack.callback(_end, contestant, tracing)
            running.append((contestant, victim, tracing))
            _choose_count(contestant, victim)
        disturbed = 0
        for turn in range(rounds):
            first = turn % len(running)
            for contestant, victim, tracing in running[first:] + running[:first]:
                time.sleep(REST)
                if not placement.by_cpu_time:
                    patience = PATIENCE if disturbed < IN_VAIN else 0
                    quiet = wait_for_quiet(patience)
                    contestant.disturbed += not quiet
                    disturbed = 0 if quiet else disturbed + 1
                # Brings code into the caches, and our tool to what it does while hits are dense.
                _call(contestant, victim, contestant.count // 2)
                took = _spent(contestant, victim, tracing, placement)
                contestant.rounds.append(took / 1000)


def _spent(contestant: Contestant, victim: Victim, tracing: Tracing, placement: Placement) -> float:
    """Measure one turn: nanoseconds per call."""
    if not placement.by_cpu_time:
        return _call(contestant, victim, contestant.count)
    pids = (victim.pid, tracing.process.pid)
    before = sum(map(cpu_ns, pids))
    _call(contestant, victim, contestant.count)
    return (sum(map(cpu_ns, pids)) - before) / contestant.count


def _call(contestant: Contestant, victim: Victim, count: int) -> float:
    contestant.calls += count
    return victim.call(contestant.function, count).ns_per_call


def _choose_count(contestant: Contestant, victim: Victim) -> None:
    for count in (50, 200):
        cost = _call(contestant, victim, count)
    contestant.count = max(100, int(ROUND_NS / cost))


def _end(contestant: Contestant, tracing: Tracing) -> None:
    hits = tracing.close()
    if hits != contestant.calls:
        raise Ended(f"{contestant.name} saw {hits} hits of {contestant.calls} calls")


def hit_costs(placement: Placement, rounds: int) -> Section:
    """Measure the hit cost of every method and tool in one placement."""
    contestants = line_up() if placement.by_cpu_time else short_line_up()
    compete(contestants, placement, rounds)
    by_name = {c.name: c for c in contestants}
    bounds = {
        "uprobes, step": by_name[STEPPED],
        "uprobes, inline": by_name.get(IN_PLACE, by_name[STEPPED]),
    }
    one_stop = by_name[ONE_STOP]
    writing = by_name.get(WRITING, one_stop)
    peers = ((by_name["libdebug: lea"], LIBDEBUG_GOAL), (by_name["gdb: lea"], GDB_GOAL))
    section = Section(
        f"Cost of a hit, {placement.name}",
        "Wall time of the victim per call of a probed function whose first argument the tool reads"
        " at each hit. The C loop to compare with does as much: all registers, as many stops."
        " The least is one that knows where its only breakpoint is, and reads one register."
        " Goals are for what is chosen by itself: nothing that writes memory is emulated, and"
        " nothing stepped, unless that is asked for or nothing else is allowed."
        + (" CPU time of both stands for wall time." if placement.by_cpu_time else ""),
    )
    for c in contestants:
        if c.missing:
            section.figures.append(Figure(c.name, note=f"not measured: {c.missing}"))
            continue
        ratios = []
        if c.tool.name.startswith("uprobes"):
            bound = bounds.get(c.tool.name, writing if c.writes else one_stop)
            held = bound is one_stop
            if bound.rounds:
                goal = LIMIT_GOAL if held else None
                ratios.append(Ratio("over the C loop", ratio(c.rounds, bound.rounds), goal))
                if bound is one_stop:
                    least = by_name[LEAST].rounds
                    ratios.append(Ratio("over the least", ratio(c.rounds, least)))
            ratios += [
                Ratio(
                    f"{peer.tool.name} over it",
                    ratio(peer.rounds, c.rounds),
                    goal if held else None,
                )
                for peer, goal in peers
                if peer.rounds
            ]
        note = f"{c.disturbed} of {rounds} turns on a busy machine" if c.disturbed else ""
        section.figures.append(Figure(c.name, tuple(c.rounds), ratios=tuple(ratios), note=note))
    return section


def slow_down(sections: Sequence[Section]) -> Section:
    """Compare the placements: how much dearer a hit is for each tool than on one CPU."""
    bound, *rest = sections
    result = Section(
        "What placement does to each tool",
        "The medians of the tables above: with everything bound to one CPU, and how many times"
        " that elsewhere.",
    )
    for figure in bound.figures:
        if figure.rounds:
            others = [
                (section.title.partition(", ")[2], other)
                for section in rest
                for other in section.figures
                if other.name == figure.name
            ]
            ratios = tuple(
                Ratio(place, other.median / figure.median)
                for place, other in others
                if other.rounds
            )
            if ratios:
                result.figures.append(Figure(figure.name, figure.rounds, ratios=ratios))
    return result


def crowd_costs(placement: Placement, rounds: int) -> Section:
    """Measure what 10,000 further probes add to a hit."""
    alone = Contestant(ours("boost"), "begins_lea", "1 probe")
    among = Contestant(ours("boost", CROWD), "begins_lea", f"1 of {CROWD + 1:,} probes")
    compete([alone, among], placement, rounds, "crowd")
    return Section(
        f"Cost of a hit among many probes, {placement.name}",
        "The same function probed, with and without 10,000 other probes armed in the process.",
        [
            Figure(alone.name, tuple(alone.rounds)),
            Figure(
                among.name,
                tuple(among.rounds),
                ratios=(Ratio("over 1 probe", ratio(among.rounds, alone.rounds), CROWD_GOAL),),
            ),
        ],
    )
