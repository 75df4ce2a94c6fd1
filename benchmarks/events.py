"""What an event costs the program that it happens in, by tool: all tools at work, in turns.

Nanoseconds of the victim's CPU time, its system calls included; what an unprobed function of the
same instructions takes in the same process and moment is taken off. What a tool's other threads and
processes do meanwhile is not counted, for none of them.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from benchmarks.report import Figure, Goal, Ratio, Section, ratio
from benchmarks.victims import Ended, Missing, Victim

PAIR_NS = 6_000_000
"""How long one victim calls its function, and the unprobed one, at a time."""
PAIRS = 3
"""How often it does in one turn. The least counts: the rest is what others did to the caches."""
OURS = "uprobes"
"""What the names of ours begin with."""
LEAST_NS = 0.01
"""What costs less than this cannot be told from nothing."""


@dataclass
class Running:
    """A tool at work on a victim's function; `twin` is the same function, unprobed.

    `hits` is asked once, at the end, when so many calls were made: it tells how many the tool saw.
    """

    victim: Victim
    function: str
    twin: str
    hits: Callable[[int], int]


@dataclass
class Contestant:
    """One tool and what it does at an event; afterwards what that took, or why there is nothing."""

    name: str
    start: Callable[[], AbstractContextManager[Running]]
    """Raises Missing."""
    against: tuple[tuple[str, str, Goal | None], ...] = ()
    """What its cost is divided by: the column, the other's name, and how that must be."""
    rounds: list[float] = field(default_factory=list)
    missing: str = ""
    calls: int = 0
    count: int = 0


def compete(contestants: Sequence[Contestant], rounds: int) -> None:
    """Measure all contestants in turns; raises Ended when one of ours did not see every call.

    A peer that did not has no figure.
    """
    with ExitStack() as stack:
        running: list[tuple[Contestant, Running]] = []
        for contestant in contestants:
            try:
                started = stack.enter_context(contestant.start())
            except Missing as error:
                contestant.missing = str(error)
                continue
            running.append((contestant, started))
            _choose_count(contestant, started)
        for turn in range(rounds if running else 0):
            first = turn % len(running)
            for contestant, started in running[first:] + running[:first]:
                contestant.rounds.append(_turn(contestant, started))
        for contestant, started in running:
            if wrong := _missed(contestant, started):
                contestant.missing, contestant.rounds = wrong, []
                if contestant.name.startswith(OURS):
                    raise Ended(f"{contestant.name}: {wrong}")


def _missed(contestant: Contestant, running: Running) -> str:
    """Say what a tool did not see, "" when it saw every call."""
    try:
        hits = running.hits(contestant.calls)
    except (Ended, subprocess.TimeoutExpired) as error:
        return f"it could not be asked what it saw: {error}"
    return "" if hits == contestant.calls else f"it saw {hits} events of {contestant.calls}"


def _call(contestant: Contestant, running: Running, count: int) -> float:
    contestant.calls += count
    return running.victim.call(running.function, count).cpu_ns_per_call


def _choose_count(contestant: Contestant, running: Running) -> None:
    count = 100
    while (cost := _call(contestant, running, count)) * count < PAIR_NS / 20:
        count *= 8
    contestant.count = max(100, int(PAIR_NS / cost))


def _turn(contestant: Contestant, running: Running) -> float:
    """Measure one turn: nanoseconds that the probe adds to a call."""
    plain, probed = [], []
    for _ in range(PAIRS):
        bare = max(contestant.count, 100_000)
        plain.append(running.victim.call(running.twin, bare).cpu_ns_per_call)
        probed.append(_call(contestant, running, contestant.count))
    return max(min(probed) - min(plain), LEAST_NS)


def figures(contestants: Sequence[Contestant]) -> Iterator[Figure]:
    """Make the lines of the table."""
    by_name = {contestant.name: contestant for contestant in contestants}
    for contestant in contestants:
        if contestant.missing:
            yield Figure(contestant.name, note=f"not measured: {contestant.missing}")
            continue
        ratios = (
            Ratio(column, ratio(contestant.rounds, by_name[name].rounds), goal)
            for column, name, goal in contestant.against
            if by_name[name].rounds
        )
        yield Figure(contestant.name, tuple(contestant.rounds), "ns", tuple(ratios))


def event_costs(title: str, about: str, contestants: Sequence[Contestant], rounds: int) -> Section:
    """Measure one table."""
    compete(contestants, rounds)
    return Section(title, about, list(figures(contestants)))
