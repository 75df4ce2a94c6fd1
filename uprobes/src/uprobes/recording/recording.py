"""A recording: programs that run in a process, what they count, and the records they write."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ubp.programs import Program
from uprobes.errors import ProbeError, TargetGone
from uprobes.recording.clock import Clock
from uprobes.recording.part import Counts, Installation, Link, Part, Site, SiteResult
from uprobes.recording.plan import Plan
from uprobes.recording.recorded import Place, Recorded
from uprobes.recording.ring import Records
from uprobes.recording.store import in_order


class Recording:
    """Programs in a process that count, measure and record without anybody's help.

    Leaving the `with` block takes them out; what they counted and recorded can be read still, also
    when the process has ended. After `detach` they go on when we have gone.
    """

    def __init__(
        self,
        plan: Plan,
        registers: Iterable[str],
        *,
        pid: int,
        command: Sequence[str] = (),
        keep: bool = False,
    ) -> None:
        self.plan = plan
        self.pid = pid
        self.command = tuple(command)
        self.columns = plan.columns(registers) if plan.fields else ()
        self.own_refused: list[ProbeError] = []
        """What never came as far as a process."""
        self._unfit: list[tuple[tuple[str, ...], ProbeError]] = []
        self.pending: list[str] = []
        """Specs whose object is not mapped yet."""
        self.detached = False
        self.removed = False
        self.parts: list[Part] = []
        self._registers = frozenset(registers)
        self._program = plan.program(self._registers)
        self._clock = Clock(plan.beginning) if plan.needs_clock else None
        self._keep = keep
        self._forget: Callable[[], object] = lambda: None
        self._added: Callable[[], object] = lambda: None

    @property
    def program(self) -> Program:
        """What runs at each site."""
        return self._program

    def add(self, installed: Installation, link: Link | None = None) -> None:
        """Take in what was installed; its memory is a copy where there is a link.

        Raises ProbeError where the memory is not what it should be.
        """
        first = sum(part.numbers for part in self.parts)
        part = Part(
            installed,
            self.plan,
            self._program,
            self._registers,
            self._clock,
            first=first,
            keep=self._keep,
            link=link,
        )
        self.parts.append(part)
        if self.detached:
            installed.detach()
        self._added()

    def refuse(self, specs: Sequence[str], error: ProbeError) -> None:
        """Note that nothing could be installed on what these specs name."""
        self.own_refused.append(error)
        self._unfit.append((tuple(specs), error))
        self._added()

    def take_unfit(self) -> list[str]:
        """Return the specs on which nothing could be installed, whose refusals are forgotten:
        somebody else sees to them.
        """
        specs = [spec for unfit, _ in self._unfit for spec in unfit]
        for _, error in self._unfit:
            self.own_refused.remove(error)
        self._unfit.clear()
        return specs

    @property
    def refused(self) -> list[ProbeError]:
        """The errors of all places where no program could be put."""
        return self.own_refused + [error for p in self.parts for error in p.installed.refused]

    # -- what was recorded ----------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype[Any]:
        """The fields of a record: `probe` (see `names`), those asked for, and `faults`."""
        if not self.plan.fields:
            return np.dtype([("probe", "<u4")])
        return self.plan.dtype(self._registers)

    def read(self, *, final: bool = False) -> Records:
        """Take out all records so far, in the order of `time` where that is a field.

        `final` says that nobody writes any more, so that what is unfinished is lost. Never waits.
        """
        final = final or self.removed
        each = (part.read(final=final) for part in list(self.parts))
        taken = [records for records in each if records is not None]
        if len(taken) == 1:
            return taken[0]
        # numpy's own concatenate would leave out the gaps between fields.
        together = np.empty(sum(map(len, taken)), self.dtype)
        at = 0
        for records in taken:
            together[at : at + len(records)] = records
            at += len(records)
        order = next((column.name for column in self.columns if column.kind == "time"), None)
        return in_order(together, order)

    @contextmanager
    def borrow(self) -> Iterator[list[Records]]:
        """Lend the records where they stand, in several arrays, until the body ends.

        Times are raw ticks, `probe` counts from each array's own first site, and the target may
        change them meanwhile. Raises ProbeError in the mode `overwrite`.
        """
        with contextlib.ExitStack() as stack:
            rings = [part.ring for part in self.parts if part.ring is not None]
            yield [array for ring in rings for array in stack.enter_context(ring.borrow())]

    @property
    def lost(self) -> int:
        """Records that were due and will never be read."""
        return sum(part.ring.lost for part in self.parts if part.ring is not None)

    @property
    def damaged(self) -> int:
        """How often the memory held what no program of ours writes: above 0, trust no figure."""
        return sum(part.ring.damaged for part in self.parts if part.ring is not None)

    # -- what was counted -----------------------------------------------------------------------

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where programs are installed, in the order of `hits` and `counts`."""
        return tuple(site for part in self.parts for site in part.sites)

    @property
    def hits(self) -> Counts:
        """How often each site was reached."""
        return _joined([part.hits for part in self.parts])

    @property
    def counts(self) -> Counts:
        """How often each site met the condition, the sampling and the limit."""
        return _joined([part.passed for part in self.parts])

    @property
    def unhooked(self) -> Counts:
        """How many calls of each site could not be followed to their return."""
        return _joined([part.unhooked for part in self.parts])

    def results(self) -> tuple[SiteResult, ...]:
        """Return all that was counted and measured, site by site."""
        return tuple(r for part in self.parts for r in part.results(self.plan.measures))

    def histogram(self, measure: str | None = None) -> NDArray[np.uint64]:
        """Return the bins of a histogram, those of all sites together.

        `measure` is one of those asked for, by default the first histogram; raises KeyError.
        """
        chosen = [text for text in self.plan.measures if measure in (None, text)]
        chosen = [text for text in chosen if text.lstrip().startswith(("log2", "linear"))]
        if not chosen:
            raise KeyError(measure or "no histogram was asked for")
        bins = [np.array(result.measures[chosen[0]], np.uint64) for result in self.results()]
        return np.sum(bins, axis=0, dtype=np.uint64) if bins else np.zeros(0, np.uint64)

    @property
    def names(self) -> NDArray[np.str_]:
        """The names of the sites, to be indexed by the field `probe` of records."""
        return np.array([place.label for place in self.places], np.str_)

    @property
    def places(self) -> tuple[Place, ...]:
        """The sites as files and reports know them, to be indexed by the field `probe`."""
        return tuple(place for part in self.parts for place in part.places(self.plan.measures))

    def recorded(self, records: Records) -> Recorded:
        """Put records that were read together with all that explains them."""
        return Recorded(
            records,
            self.columns,
            self.places,
            pid=self.pid,
            command=self.command,
            began_ns=self.plan.began[1] if self.plan.began else 0,
            ended_ns=time.monotonic_ns(),
            wall_ns=self.plan.wall_ns,
            error_ns=self._clock.error_ns if self._clock is not None else 0,
            lost=self.lost,
            damaged=self.damaged,
            refused=tuple(error.as_record() for error in self.refused),
        )

    # -- its end --------------------------------------------------------------------------------

    def when_added(self, added: Callable[[], object]) -> None:
        """Say what is to be done when more of it was installed, in the thread that did it."""
        self._added = added

    def when_over(self, forget: Callable[[], object]) -> None:
        """Say what is to be done when it is removed or detached."""
        self._forget = forget

    def detach(self) -> None:
        """Leave the programs in the process when the target is detached from."""
        self.detached = True
        self._forget()
        for part in self.parts:
            part.installed.detach()

    def remove(self) -> None:
        """Take the programs out of the process; what is in the memory can be read still."""
        self._forget()
        for part in self.parts:
            with contextlib.suppress(TargetGone):
                part.installed.remove()
        self.removed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.detached:
            self.remove()


def _joined(parts: Sequence[Counts]) -> Counts:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
