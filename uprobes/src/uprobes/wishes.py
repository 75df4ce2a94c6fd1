"""What waits: specs for their objects to be mapped, and for processes that come later.

Rules:
- what was registered by a name is wished for in each new program that is followed;
- a probe whose process has ended goes into the next program that has its place, and counts on:
  there are never more of them than processes at once;
- where its handler has raised, in whatever program, no other gets it;
- what was taken out, in each program that had it, does not come back in a later one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from uprobes.errors import HANDLER_RAISED
from uprobes.location import Location
from uprobes.probe import Probe, ProbeState
from uprobes.process import Process
from uprobes.wording import ProbeOptions

if TYPE_CHECKING:
    from uprobes.registration import Registration


@dataclass(frozen=True, slots=True)
class Pending:
    """A spec that waits for its object, and how its probes will be made."""

    spec: str
    make: Callable[[Location], Probe | None]
    """Gives the probe for a location, None where none is wanted."""
    registration: "Registration"
    pid: int
    probe: Probe | None = None
    """The probe that waits, where there is one already."""

    @property
    def given_up(self) -> bool:
        """Whether nobody wants it any more."""
        return self.probe is not None and self.probe.state is not ProbeState.PENDING


@dataclass(frozen=True, slots=True)
class Wish:
    """A spec that was registered, for processes that come later and are followed."""

    spec: str
    options: ProbeOptions
    registration: "Registration"
    made: dict[tuple[object, ...], list[Probe]] = field(default_factory=dict, compare=False)
    """Its probes by what they are on; there are as many on one as there were processes at once."""

    @property
    def named(self) -> bool:
        """Whether it names something: an address alone means nothing in another program."""
        return not self.spec.startswith("va:")

    def for_process(self, process: Process) -> Pending:
        """Make what waits in a process for the object."""
        make = partial(self._make, process.pid)
        return Pending(self.spec, make, self.registration, process.pid)

    def make(self, pid: int, location: Location) -> Probe:
        """Make a probe for a location, and keep in mind that it is there."""
        probe = self.options.make(pid, location)
        self._on(location).append(probe)
        return probe

    def _on(self, location: Location) -> list[Probe]:
        key = (location.spec, location.path, location.elf_address)
        return self.made.setdefault(key, [])

    def _make(self, pid: int, location: Location) -> Probe | None:
        """Give the probe for a location: one whose process has ended counts on, else a new one;
        none where its handler has raised, or where all were taken out.
        """
        made = self._on(location)
        if any(map(_has_raised, made)) or taken_out(made):
            return None
        probe = next((probe for probe in made if not probe.registered), None)
        if probe is None:
            probe = self.make(pid, location)
        probe.pid, probe.state = pid, ProbeState.PENDING
        return probe


def taken_out(probes: Sequence[Probe]) -> bool:
    """Tell whether there were probes, and each was unregistered."""
    return bool(probes) and all(p.state is ProbeState.UNREGISTERED for p in probes)


def _has_raised(probe: Probe) -> bool:
    """Tell whether a probe was disarmed because its handler raised."""
    error = probe.error
    return probe.state is ProbeState.DISABLED and error is not None and error.code == HANDLER_RAISED
