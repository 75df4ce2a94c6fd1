"""What was installed at one time in one process: its cells and rings, and how they are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from insn import Method, Reason
from ubp.programs import Program
from ubp.programs import ring as ring_words
from ubp.programs.cells import cells_of, read
from uprobes.errors import ProbeError
from uprobes.location import Location
from uprobes.recording.clock import Clock
from uprobes.recording.plan import Plan
from uprobes.recording.reader import Memory
from uprobes.recording.recorded import Measured, Place
from uprobes.recording.ring import Records, Ring

MOST_SITES = 1 << 20
Counts = NDArray[np.uint64]


class Site(Protocol):
    """A place at which a program is installed."""

    number: int
    location: Location
    method: Method
    cells: int
    why_not: dict[Method, Reason]


class Installation(Protocol):
    """Programs in a process, and the memory that they share with us."""

    pid: int
    sites: list[Any]
    refused: list[ProbeError]
    ring_at: int

    @property
    def memory(self) -> Memory:
        """The shared memory."""
        ...

    def remove(self) -> None:
        """Take the programs out of the process."""
        ...

    def detach(self) -> None:
        """Leave them in the process when its tracer goes."""
        ...


class Link(Protocol):
    """Between memory that is only a copy, and the process that it is a copy of."""

    def fetch(self) -> None:
        """Copy it again."""
        ...

    def tell(self, offset: int) -> None:
        """Write the word at an offset back."""
        ...


@dataclass(frozen=True, slots=True)
class SiteResult:
    """What one site has counted so far.

    `hits` is how often it was reached, `passed` how often that met the condition, the sampling and
    the limit. `faults` counts values that could not be had, `unhooked` calls whose return could
    not be awaited. `measures` has a number, or the bins of a histogram, for each measure.
    """

    site: Site
    hits: int
    passed: int
    faults: int
    unhooked: int
    measures: Mapping[str, Measured]


class Part:
    """What was installed at one time: its cells and rings. Objects mapped later make more parts."""

    def __init__(
        self,
        installed: Installation,
        plan: Plan,
        program: Program,
        registers: Iterable[str],
        clock: Clock | None,
        *,
        first: int,
        keep: bool,
        link: Link | None = None,
    ) -> None:
        self.installed = installed
        self.first = first
        self.sites: Sequence[Site] = tuple(installed.sites)
        self.numbers = 1 + max((site.number for site in self.sites), default=-1)
        if self.numbers > MOST_SITES:
            raise ProbeError("there can't be so many sites", code="bad-recording")
        self._link = link
        self._tails: list[int] = []
        """Where the readers' own words are, if they have to be written back."""
        self._program = program
        self._returns = plan.returns
        self._layout = cells_of(program, returns=plan.returns)
        memory = installed.memory
        words = len(memory) // 8
        self._words: Counts = np.frombuffer(memory, np.uint64, words)
        if any(site.cells // 8 + self._layout.size // 8 > words for site in self.sites):
            raise ProbeError("its cells lie outside of its memory", code="bad-recording")
        self._at = np.array([site.cells // 8 for site in self.sites], np.int64)
        self.ring: Ring | None = None
        layout = plan.layout(registers)
        if layout is not None:
            columns = plan.columns(registers)
            if link is not None and not keep and not plan.overwrite:
                tails = (layout.control(ring) + ring_words.TAIL for ring in range(layout.rings))
                self._tails = [installed.ring_at + tail for tail in tails]
            view = memoryview(memory)[installed.ring_at : installed.ring_at + layout.size]
            self.ring = Ring(
                view,
                layout,
                plan.dtype(registers),
                probes=self.numbers,
                clock=clock,
                times=tuple(c.name for c in columns if c.kind == "time"),
                durations=tuple(c.name for c in columns if c.kind == "duration"),
                order=next((c.name for c in columns if c.kind == "time"), None),
                keep=keep,
            )

    def read(self, *, final: bool) -> Records | None:
        """Take out the records, None where none are written."""
        if self._link is not None:
            self._link.fetch()
        if self.ring is None:
            return None
        records = self.ring.read(final=final)
        if self._link is not None:
            for tail in self._tails:
                self._link.tell(tail)
        if self.first:
            records["probe"] += np.uint32(self.first)
        return records

    def cell(self, offset: int | None) -> Counts:
        """Return one cell of every site."""
        if offset is None:
            return np.zeros(len(self.sites), np.uint64)
        return self._words[self._at + offset // 8]

    @property
    def hits(self) -> Counts:
        """How often each site was reached."""
        return self.cell(self._layout.hits)

    @property
    def passed(self) -> Counts:
        """How often each site acted."""
        passed = self.cell(self._layout.passed)
        limit = self._program.limit
        return passed if limit is None else np.minimum(passed, np.uint64(limit))

    @property
    def unhooked(self) -> Counts:
        """How many calls of each could not be followed to their return."""
        return self.cell(self._layout.unhooked)

    def taken(self, index: int) -> int:
        """Return how often a site acted, or where nothing chooses, was reached."""
        program = self._program
        chosen = program.when is not None or program.sample > 1 or program.limit is not None
        number = int(self._words[self._at[index] + (self._layout.passed if chosen else 0) // 8])
        return number if program.limit is None else min(number, program.limit)

    def missed(self, index: int) -> int:
        """Return how many calls of a site could not be followed to their return."""
        at = self._layout.unhooked
        return 0 if at is None else int(self._words[self._at[index] + at // 8])

    def results(self, measures: Sequence[str]) -> Iterator[SiteResult]:
        """Read all cells."""
        size = self._layout.size // 8
        for site, at in zip(self.sites, self._at.tolist(), strict=True):
            content = self._words[at : at + size].tobytes()
            found = read(self._program, content, returns=self._returns)
            named = dict(zip(measures, found.actions, strict=False))
            yield SiteResult(site, found.hits, found.passed, found.faults, found.unhooked, named)

    def places(self, measures: Sequence[str]) -> list[Place]:
        """Return the sites as files and reports know them, to be indexed by their numbers."""
        found = [Place("", "", None, 0, "")] * self.numbers
        numbers = zip(self.sites, self.hits.tolist(), self.passed.tolist(), strict=True)
        for site, hits, passed in numbers:
            found[site.number] = _place(site, self._returns, hits, passed)
        if measures:
            for result in self.results(measures):
                number = result.site.number
                found[number] = replace(found[number], measures=result.measures)
        return found


def _place(site: Site, returns: bool, hits: int, passed: int) -> Place:
    location = site.location
    function = location.function
    if function is not None and location.offset:
        function += f"+{location.offset:#x}"
    return Place(
        location.spec,
        location.object,
        function,
        location.address,
        str(site.method),
        returns,
        hits,
        passed,
    )
