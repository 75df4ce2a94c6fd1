"""All probes of one target: what is in, what was refused, what waits for its object."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from insn import InsnError, Verdict
from uprobes.collector import resting_collector
from uprobes.errors import AlreadyRegistered, ProbeError
from uprobes.location import Location, Resolution, Resolver
from uprobes.maps import has_memory
from uprobes.probe import Probe, ProbeState
from uprobes.process import Process
from uprobes.refusals import judge_at
from uprobes.wishes import Pending, Wish, taken_out
from uprobes.wording import ProbeOptions

Wanted = list[tuple[Probe, Location]]
NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
OUT = frozenset((ProbeState.UNREGISTERED, ProbeState.REFUSED))
LOOKS = 3  # another thread may have looked just before an object was mapped


@dataclass(slots=True)
class Registration:
    """What came of registering.

    `probes` are in, `refused` holds the errors of those that are not, `pending` the specs that wait
    for their object.
    """

    owner: "Registrations"
    probes: list[Probe] = field(default_factory=list)
    refused: list[ProbeError] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)

    def refuse(self, errors: Iterable[ProbeError]) -> None:
        """Take in what was refused later: once what is refused in every process that comes."""
        known = set(map(_subject, self.refused))
        for error in errors:
            if (subject := _subject(error)) not in known:
                known.add(subject)
                self.refused.append(error)

    def unregister(self) -> None:
        """Take all of its probes out, and stop waiting for the pending ones."""
        self.owner.forget_pending(self)  # first: what is pending may be armed meanwhile
        self.owner.unregister(self.probes)


def _subject(error: ProbeError) -> tuple[str, str | None, str]:
    """Say what an error is about, without addresses and process numbers."""
    return error.code, error.spec, NUMBER.sub("", error.why)


class Registrations:
    """The probes of one target.

    `process` gives the target's process or raises TargetGone; `arm` and `disarm` do the work where
    it has to be done; `ask` lets the policy see what is about to be registered; `follows` says
    whether other processes may come.
    """

    def __init__(
        self,
        resolver: Resolver,
        process: Callable[[], Process],
        arm: Callable[[Process, Wanted], list[ProbeError]],
        disarm: Callable[[list[Probe]], None],
        ask: Callable[[tuple[Location, ...]], None],
        follows: Callable[[], bool],
    ) -> None:
        self.probes: list[Probe] = []
        self.resolver = resolver
        self._process = process
        self._do_arm = arm
        self._do_disarm = disarm
        self._ask = ask
        self._follows = follows
        self._pending: list[Pending] = []
        self._wishes: list[Wish] = []
        self._lock = threading.RLock()

    @property
    def pending(self) -> tuple[str, ...]:
        """The specs that wait for their object to be mapped."""
        waiting = (item.spec for item in self._pending if not item.given_up)
        return tuple(dict.fromkeys(waiting))

    @resting_collector()
    def register(self, specs: str | Iterable[str], options: ProbeOptions) -> Registration:
        """Register probes on everything that the specs name, in one go."""
        registration = Registration(self)
        wanted: Wanted = []
        process = self._process()
        make: Callable[[Location], Probe] = partial(options.make, process.pid)
        for spec in [specs] if isinstance(specs, str) else specs:
            if self._follows():
                wish = Wish(spec, options, registration)
                with self._lock:
                    self._wishes.append(wish)
                make = partial(wish.make, process.pid)
            try:
                resolution = self.resolve(spec, process.pid)
            except ProbeError as error:
                registration.refused.append(error)
                continue
            registration.refused += resolution.refused
            if resolution.pending:
                registration.pending.append(spec)
                with self._lock:
                    self._pending.append(Pending(spec, make, registration, process.pid))
            wanted += [(make(location), location) for location in resolution.locations]
        registration.refused += self._arm(registration, wanted, process)
        return registration

    @resting_collector()
    def register_probes(self, probes: Iterable[Probe]) -> Registration:
        """Register probe objects, none of which may be registered now; raises AlreadyRegistered."""
        registration = Registration(self)
        wanted: Wanted = []
        process = self._process()
        for probe in probes:
            if probe.registered:
                raise AlreadyRegistered(
                    "the probe object is registered", spec=probe.spec, hint="unregister it first"
                )
            try:
                resolution = self.resolve(probe.vaddr, process.pid)
                if resolution.refused and not resolution.locations:
                    raise resolution.refused[0]
            except ProbeError as error:
                probe.state, probe.error = ProbeState.REFUSED, error
                registration.refused.append(error)
                continue
            if resolution.pending:
                self._wait_for(probe, registration, process.pid)
            elif resolution.locations:
                wanted.append((probe, resolution.locations[0]))
        registration.refused += self._arm(registration, wanted, process)
        return registration

    def _wait_for(self, probe: Probe, registration: Registration, pid: int) -> None:
        probe.state = ProbeState.PENDING
        registration.pending.append(probe.spec)
        item = Pending(probe.spec, lambda _location: probe, registration, pid, probe)
        with self._lock:
            self._pending.append(item)

    def resolve(self, spec: str | int, pid: int) -> Resolution:
        """Resolve a spec or a run-time address; raises ProbeError."""
        try:
            if isinstance(spec, int):
                return Resolution((self.resolver.at(spec, pid),))
            return self.resolver.resolve(spec, pid)
        except InsnError as error:
            raise ProbeError(
                error.why,
                spec=spec if isinstance(spec, str) else f"va:{spec:#x}",
                code=str(error.code),
                hint=error.hint,
            ) from None

    def _arm(
        self, registration: Registration, wanted: Wanted, process: Process
    ) -> list[ProbeError]:
        """Put probes in for a registration; return the errors of those that were refused."""
        if not wanted:
            return []
        self._ask(tuple(location for _, location in wanted))
        waited = any(probe.state is ProbeState.PENDING for probe, _ in wanted)
        refused = self._do_arm(process, wanted)
        # What came in may be out by now: its object is unmapped again, or its handler has raised.
        out = OUT | {ProbeState.PENDING} if waited else OUT
        armed = [probe for probe, _ in wanted if probe.state not in out]
        with self._lock:
            for listed in (registration.probes, self.probes):
                known = set(map(id, listed))
                listed += [probe for probe in armed if id(probe) not in known]
        return refused

    @resting_collector()
    def unregister(self, probes: Iterable[Probe]) -> None:
        """Take probes out, in one go; those that are not in are left alone. Their counts stay."""
        leaving = list(probes)
        with self._lock:
            for probe in leaving:
                if probe.state is ProbeState.PENDING:
                    probe.state = ProbeState.UNREGISTERED
        self._do_disarm(leaving)
        for registration in {id(w.registration): w.registration for w in self._wishes}.values():
            if taken_out(registration.probes) and not registration.pending:
                self.forget_pending(registration)

    def forget_pending(self, registration: Registration) -> None:
        """Stop waiting for the objects that a registration waits for."""
        with self._lock:
            self._pending = [p for p in self._pending if p.registration is not registration]
            self._wishes = [wish for wish in self._wishes if wish.registration is not registration]
            registration.pending.clear()

    def wait_again(self, lost: Iterable[Probe], process: Process) -> None:
        """Let probes whose code is gone (exec, dlclose) wait for their objects in a process."""
        for probe in lost:
            self._wait_for(probe, Registration(self), process.pid)

    def refuse(self, pid: int, lost: Iterable[Probe], error: ProbeError) -> None:
        """Give up what a process lost, and what still waits in it."""
        for probe in lost:
            probe.error = error
        with self._lock:
            for item in [item for item in self._pending if item.pid == pid]:
                self._pending.remove(item)
                item.registration.refuse([error])

    def follow(self, process: Process) -> None:
        """Wish for a process that is followed everything that was registered by a name."""
        with self._lock:
            self._pending = [item for item in self._pending if item.pid != process.pid]
            self._pending += [wish.for_process(process) for wish in self._wishes if wish.named]

    def inherit(self, child: Process, parent: Process) -> None:
        """Let a fork wait for what its parent waits for; probe objects wait in one process only."""
        with self._lock:
            waiting = [item for item in self._pending if item.pid == parent.pid]
            self._pending += [replace(item, pid=child.pid) for item in waiting if not item.probe]

    def wish_in(self, process: Process, registration: Registration, *, anew: bool) -> None:
        """Wish for a process that is followed what was registered just now: with `anew` all of it
        that has a name, else what waits for its object.
        """
        wishes = [wish for wish in self._wishes if wish.registration is registration and wish.named]
        waiting = [w for w in wishes if anew or w.spec in registration.pending]
        if waiting:
            with self._lock:
                self._pending += [wish.for_process(process) for wish in waiting]
            self.arm_pending(process)

    def awaited(self, process: Process) -> set[int]:
        """Return where probes are about to be put that wait for an object: it is mapped already."""
        with self._lock:
            specs = {i.spec for i in self._pending if i.pid == process.pid and not i.given_up}
        found: list[Location] = []
        for spec in specs:
            with contextlib.suppress(ProbeError):
                found += self.resolve(spec, process.pid).locations
        return {location.address for location in found}

    def arm_pending(self, process: Process) -> None:
        """Try everything that waits in a process once more: objects were mapped."""
        with self._lock:
            self._arm_pending(process)

    def _arm_pending(self, process: Process) -> None:
        waiting = [item for item in self._pending if item.pid == process.pid]
        self._pending = [item for item in self._pending if item.pid != process.pid]
        still, found = list[Pending](), list[Pending]()
        ready: dict[int, tuple[Registration, list[tuple[Probe, Location]]]] = {}
        for item in waiting:
            if item.given_up:
                continue
            registration = item.registration
            try:
                resolution = self._resolve_now(item.spec, process)
                if resolution.pending:
                    still.append(item)
                    continue
                self._refuse(process, registration, resolution.refused)
                locations = self._uncovered(process, registration, resolution.locations)
                made = [(item.make(location), location) for location in locations]
                ready.setdefault(id(registration), (registration, []))[1].extend(
                    (probe, at) for probe, at in made if probe is not None and not probe.armed
                )
            except ProbeError as error:
                self._refuse(process, registration, [error])
            found.append(item)
        for registration, wanted in ready.values():
            why: ProbeError | None = None
            try:
                self._refuse(process, registration, self._arm(registration, wanted, process))
            except ProbeError as error:
                why = error
                self._refuse(process, registration, [error])
            finally:
                for probe, _ in wanted:
                    if probe.state is ProbeState.PENDING:  # or the process has died of something
                        probe.state = ProbeState.REFUSED if why else ProbeState.GONE
                        probe.error = why or probe.error
        for item in found:  # only now: whoever looks meanwhile finds it as what it was
            if item.spec in item.registration.pending:
                item.registration.pending.remove(item.spec)
        self._pending += still

    def _resolve_now(self, spec: str | int, process: Process) -> Resolution:
        """Resolve by what is mapped now: another thread may have looked just before."""
        for _ in range(LOOKS):
            resolution = self.resolve(spec, process.pid)
            homes = [(at, process.mapping_at(at.address)) for at in resolution.locations]
            if all(home is not None and home.path.startswith(at.path) for at, home in homes):
                break
            self.resolver.forget(process.pid)
        return resolution

    @staticmethod
    def _refuse(process: Process, registration: Registration, errors: Sequence[ProbeError]) -> None:
        """Take in what a process refused, unless it was just dying."""
        if errors and has_memory(process.pid):
            registration.refuse(errors)

    @staticmethod
    def _uncovered(
        process: Process, registration: Registration, locations: Iterable[Location]
    ) -> list[Location]:
        """Leave out the places that have a probe of a registration already."""
        known = {id(probe) for probe in registration.probes}
        at = ((place, process.points.get(place.address)) for place in locations)
        return [
            place
            for place, point in at
            if point is None or known.isdisjoint(id(probe) for probe in point.every)
        ]

    def ended(self, process: Process) -> None:
        """Stop waiting in a process that has ended."""
        self.resolver.forget(process.pid)
        with self._lock:
            waiting = [item for item in self._pending if item.pid == process.pid]
            self._pending = [item for item in self._pending if item.pid != process.pid]
        for item in waiting:
            if item.probe is not None and not item.given_up:
                item.probe.state = ProbeState.GONE

    def gone(self) -> None:
        """Mark every probe that is in as gone, but for those that a process still has."""
        for probe in self.probes:
            if probe.registered and (probe.point is None or probe.point.process.ended):
                probe.state = ProbeState.GONE

    def check(self, specs: str | Iterable[str]) -> list[tuple[Location, Verdict | ProbeError]]:
        """Say what may be done at every place that the specs name; raises for a bad spec."""
        results: list[tuple[Location, Verdict | ProbeError]] = []
        process = self._process()
        for spec in [specs] if isinstance(specs, str) else specs:
            resolution = self.resolve(spec, process.pid)
            results += [(Location(error.address or 0, spec), error) for error in resolution.refused]
            results += [(place, judge_at(process, place)) for place in resolution.locations]
        return results
