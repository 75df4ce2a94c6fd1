"""Put probes into a process and take them out: many at once, while its threads run.

A breakpoint is one byte, so nobody needs to be stopped to write it. What a probe needs besides (a
slot) is made at its first hit; what may be refused is refused here, before anything is touched.
"""

import contextlib
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

import insn
import ssol
from insn.forms import METHODS
from uprobes.dispositions import Dispositions
from uprobes.errors import NotExecutable, ProbeError
from uprobes.exits import exits_of, place_exits
from uprobes.location import Location
from uprobes.maps import Mapping, has_memory
from uprobes.methods import HANDLER_METHODS, choose
from uprobes.patch.placing import make_room, tell_guard
from uprobes.patch.site import Kind
from uprobes.point import ProbePoint
from uprobes.probe import Probe, ProbeState, Uretprobe, in_order
from uprobes.process import Process
from uprobes.refusals import (
    as_probe_error,
    conflict,
    no_return,
    occupied,
    shadowed,
    unfit,
    unprobeable,
)
from uprobes.status import has_shadow_stack
from uprobes.unloading import has_program

if TYPE_CHECKING:
    from uprobes.engine import Engine

PLACED = frozenset((ProbeState.ARMED, ProbeState.PAUSED, ProbeState.DISABLED))
FEW = 32
"""Up to so many new probe points are judged one by one."""


class Arming:
    """Registers and unregisters probes; lives in the tracing thread."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.dispositions = Dispositions(engine)

    def arm(self, process: Process, wanted: Sequence[tuple[Probe, Location]]) -> list[ProbeError]:
        """Register probes at their locations; return the refused ones' errors, each also in
        `probe.error`.
        """
        left, refused = place_exits(process, list(wanted), self._arm, self.disarm)
        refused += self._arm(process, left)
        self.disarm(each for p, _ in left if not p.armed for each in exits_of(p))
        return refused

    def _arm(self, process: Process, wanted: Sequence[tuple[Probe, Location]]) -> list[ProbeError]:
        """Register probes whose exits, where they need any, are in."""
        refused: list[ProbeError] = []
        points = process.points
        make_room(self.engine, process, [location.address for _, location in wanted])
        fresh: dict[int, tuple[Probe, ...]] = {}
        exchanging = {probe for probe, _ in wanted if probe.returns and not exits_of(probe)}
        guarded = bool(exchanging) and has_shadow_stack(process.pid)
        for probe, location in wanted:
            if probe.point is not None and probe.point.address != location.address:
                probe.former = self._standing(probe)  # children may have it there still
            probe.location = location
            if probe in exchanging and location.no_return:
                self._refuse(probe, no_return(location), refused)
                continue
            if probe in exchanging and guarded:
                self._refuse(probe, shadowed(location), refused)
                continue
            address = location.address
            site = process.sites.get(address)
            if site is not None and site.kind is not Kind.UNWINDER and has_program(process, site):
                self._refuse(probe, occupied(location), refused)
            elif address in points:
                self._join(points[address], probe, refused)
            elif address in fresh:
                fresh[address] += (probe,)
            else:
                fresh[address] = (probe,)
        made = self._judge(process, fresh, refused)
        # Known before the first thread can hit it: a hit that nobody knows would be the program's
        # own trap.
        points.update(made)
        self._guard(process)
        if exchanging:
            self._open_returns(process)
        guard = process.guard
        failed = process.breakpoints.insert_many(made, None if guard is None else guard.cover)
        for address, error in failed.items():
            del points[address]
            for probe in made.pop(address).probes:
                self._refuse(probe, as_probe_error(error, probe.location), refused)
        for point in made.values():
            for probe in point.probes:
                probe.state = ProbeState.ARMED
        return refused

    def copy(self, process: Process, probes: Sequence[Probe]) -> list[ProbeError]:
        """Put probes that are in a process into another one that has the same code; return the
        errors of those that could not be.
        """
        failed: list[ProbeError] = []
        fresh: dict[int, ProbePoint] = {}
        for probe in probes:
            home = probe.point
            assert home is not None
            point = process.points.get(home.address) or fresh.get(home.address)
            if point is None:
                point = fresh[home.address] = home.copied(process)
                point.plan, point.probes, point.paused = None, (probe,), ()
            elif probe in point.every:
                continue
            elif not choose(point.verdict, (*point.every, probe)):
                failed.append(conflict(probe))
            elif (error := self.wake(point)) is not None:
                failed.append(as_probe_error(error, probe.location))
            else:
                point.probes = in_order((*point.probes, probe))
                tell_guard(process, [point.address])
        process.points.update(fresh)
        self._guard(process)
        if any(probe.returns and not exits_of(probe) for probe in probes):
            self._open_returns(process)
        guard = process.guard
        make_room(self.engine, process, fresh)
        errors = process.breakpoints.insert_many(fresh, None if guard is None else guard.cover)
        for address, error in errors.items():
            del process.points[address]
            failed += [as_probe_error(error, probe.location) for probe in fresh[address].probes]
        return failed

    def _open_returns(self, process: Process) -> None:
        """Make the return trampoline now, if that works: the program may seal itself later."""
        if process.returns is None:
            with contextlib.suppress(ProbeError, ssol.SsolError):
                self.engine.holding.with_one(process, process.open_returns)

    def _guard(self, process: Process) -> None:
        """Make sure that the process survives us before it depends on us."""
        self.engine.holding.install_guard(process)
        self.dispositions.watch(process)

    def _judge(
        self,
        process: Process,
        fresh: dict[int, tuple[Probe, ...]],
        refused: list[ProbeError],
    ) -> dict[int, ProbePoint]:
        """Make the probe points that may be made."""
        process.mappings(fresh=True)
        addresses = sorted(fresh)
        scanned = self._scan(process, addresses) if len(addresses) > FEW else repeat((0, b""))
        failed = self.engine.failed
        made: dict[int, ProbePoint] = {}
        start = end = 0
        mapping: Mapping | None = None
        for address, (methods, code) in zip(addresses, scanned, strict=False):
            probes = fresh[address]
            point = ProbePoint(process, address)
            error = None
            if not start <= address < end:
                mapping = process.mapping_at(address)
                error = unfit(mapping, address, probes[0].location.spec)
                if mapping is not None and error is None:
                    start, end = mapping.start, mapping.end
            if error is None and process.owns(address):
                error = NotExecutable(
                    "that memory is ours: it holds slots, or the guard",
                    spec=probes[0].location.spec,
                    address=address,
                    code="own-memory",
                    hint="probe the program's own code",
                )
            if error is None and not methods & _acceptable(probes):
                error = unprobeable(point, probes)
            if error is not None:
                for probe in probes:
                    self._refuse(probe, error, refused)
                continue
            point.probes, point.home, point.code = probes, mapping, code
            for probe in probes:
                point.take_times(probe.point)
                probe.point = point
                probe.failed = failed
            made[address] = point
        return made

    @staticmethod
    def _scan(process: Process, addresses: list[int]) -> list[tuple[int, bytes]]:
        """Give the bits of the methods allowed at many addresses at once, 0 where one must look,
        and what stands there.
        """
        arch = process.machine.arch
        result = np.zeros(len(addresses), dtype=np.uint8)
        codes = [b""] * len(addresses)
        where = np.array(addresses, dtype=np.uint64)
        for mapping in process.mappings():
            if not mapping.executable:
                continue
            low, high = np.searchsorted(where, [mapping.start, mapping.end])
            if low == high:
                continue
            first, last = int(where[low]), int(where[high - 1])
            end = min(last + arch.max_length, mapping.end)
            try:
                code = process.breakpoints.read(first, end - first)
            except ProbeError:
                continue
            starts = (where[low:high] - np.uint64(first)).astype(np.int64)
            result[low:high] = insn.scan(code, first, arch, starts=starts)["methods"]
            codes[low:high] = [code[at : at + arch.max_length] for at in starts.tolist()]
        return list(zip(result.tolist(), codes, strict=True))

    def _join(self, point: ProbePoint, probe: Probe, refused: list[ProbeError]) -> None:
        """Add a probe to a point that others made."""
        together = (*point.every, probe)
        if not choose(point.verdict, together):
            self._refuse(probe, unprobeable(point, (probe,)) or conflict(probe), refused)
            return
        if (
            probe.wanted is not None
            and point.plan is not None
            and point.plan.method is not probe.wanted
        ):
            point.process.drop_plans([point])
        error = self.wake(point)
        if error is not None:
            self._refuse(probe, as_probe_error(error, probe.location), refused)
            return
        point.probes = in_order((*point.probes, probe))
        tell_guard(point.process, [point.address])
        probe.point = point
        probe.failed = self.engine.failed
        probe.state = ProbeState.ARMED

    @staticmethod
    def wake(point: ProbePoint) -> Exception | None:
        """Put the breakpoint of a point in again whose probes were all paused; return why not."""
        breakpoints = point.process.breakpoints
        if breakpoints.at(point.address) is not None:
            return None
        return breakpoints.insert_many([point.address]).get(point.address)

    @staticmethod
    def _refuse(probe: Probe, error: ProbeError, refused: list[ProbeError]) -> None:
        probe.state = ProbeState.REFUSED
        probe.error = error
        refused.append(error)

    def disarm(self, probes: Iterable[Probe]) -> None:
        """Unregister probes; threads that are executing under one are not disturbed."""
        empty: dict[Process, list[ProbePoint]] = {}
        leaving: dict[ProbePoint, set[Probe]] = {}
        listed = list(probes)
        listed += [each for probe in listed for each in exits_of(probe)]
        for probe in listed:
            for point in self.points_of(probe):
                leaving.setdefault(point, set()).add(probe)
            probe.state = ProbeState.UNREGISTERED
            if isinstance(probe, Uretprobe):
                probe.calls.forget()
        for point, gone in leaving.items():
            point.probes = tuple(p for p in point.probes if p not in gone)
            point.paused = tuple(p for p in point.paused if p not in gone)
            if not point.probes and point.trampoline:
                tell_guard(point.process, [point.address])
            elif not point.probes:
                empty.setdefault(point.process, []).append(point)
            if point.process.returns is not None:
                for probe in gone:
                    if isinstance(probe, Uretprobe):
                        point.process.returns.forget(probe)
        for process, points in empty.items():
            if process.ended:
                continue
            standing = [p.address for p in points if process.breakpoints.at(p.address) is not None]
            missing = process.breakpoints.remove_many(standing)
            if missing and not has_memory(process.pid):
                continue
            for point in points:
                if point.address in missing:
                    point.overwritten(missing[point.address].why, leaving[point])
                if not point.paused and process.points.get(point.address) is point:
                    del process.points[point.address]
            try:
                process.drop_plans([point for point in points if not point.paused])
            except ProbeError:
                if has_memory(process.pid):
                    raise

    def points_of(self, probe: Probe) -> list[ProbePoint]:
        """List the points that carry a probe: forks that are followed have copies of its own."""
        point, processes = probe.point, self.engine.processes.values()
        if point is None:
            return []
        if len(processes) == 1 and point.process in processes and not probe.former:
            return [point] if probe in point.every and probe.state in PLACED else []
        places = {point.address, *probe.former}
        copies = (process.points.get(place) for process in processes for place in places)
        return [copy for copy in copies if copy is not None and probe in copy.every]

    def _standing(self, probe: Probe) -> frozenset[int]:
        """List the addresses at which a process still has a probe that goes to another place."""
        return frozenset(point.address for point in self.points_of(probe))

    def leave(self, points: Iterable[ProbePoint]) -> None:
        """Take in that the memory of a process is gone: probes that came from there stay with the
        forks that have them, the others are gone with it.
        """
        for point in points:
            for probe in point.every:
                if probe.point is not point:
                    continue
                copies = [copy for copy in self.points_of(probe) if copy is not point]
                if copies:
                    probe.point = copies[0]
                elif probe.registered and probe.state is not ProbeState.DISABLED:
                    probe.state = ProbeState.GONE


BITS = {method: 1 << METHODS.index(method) for method in HANDLER_METHODS}
ALL_BITS = sum(BITS.values())


def _acceptable(probes: tuple[Probe, ...]) -> int:
    """Give the bits of the methods that probes at one address agree to; 0 where one must look."""
    bits = ALL_BITS
    for probe in probes:
        if probe.wanted is not None:
            bits &= BITS.get(probe.wanted, 0)
        for method in probe.forbidden:
            bits &= ~BITS.get(method, 0)
    return bits
