"""Put probes into a process and take them out: many at once, while its threads run.

A breakpoint is one byte, so nobody needs to be stopped to write it. What a probe needs besides (a
slot) is made at its first hit; what may be refused is refused here, before anything is touched.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

import insn
import ssol
import ubp
from insn import Method
from insn.forms import METHODS
from uprobes.errors import (
    ForeignBreakpoint,
    NotExecutable,
    NotMapped,
    ProbeError,
    Refused,
)
from uprobes.location import Location
from uprobes.maps import Mapping
from uprobes.probe import HANDLER_METHODS, Probe, ProbePoint, ProbeState, Uretprobe, choose
from uprobes.process import Process
from uprobes.status import has_shadow_stack

if TYPE_CHECKING:
    from uprobes.engine import Engine

FEW = 32
"""Up to so many new probe points are judged one by one."""


class Arming:
    """Registers and unregisters probes; lives in the tracing thread."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def arm(self, process: Process, wanted: Sequence[tuple[Probe, Location]]) -> list[ProbeError]:
        """Register probes at their locations; return the refused ones' errors, each also in
        `probe.error`.
        """
        refused: list[ProbeError] = []
        points = process.points
        fresh: dict[int, tuple[Probe, ...]] = {}
        guarded = any(probe.returns for probe, _ in wanted) and has_shadow_stack(process.pid)
        for probe, location in wanted:
            probe.location = location
            if probe.returns and location.no_return:
                self._refuse(probe, no_return(location), refused)
                continue
            if probe.returns and guarded:
                self._refuse(probe, _shadowed(location), refused)
                continue
            address = location.address
            if address in points:
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
        if any(probe.returns for probe, _ in wanted):
            self._open_returns(process)
        guard = process.guard
        failed = process.breakpoints.insert_many(made, None if guard is None else guard.cover)
        for address, error in failed.items():
            del points[address]
            for probe in made.pop(address).probes:
                self._refuse(probe, _as_probe_error(error, probe.location), refused)
        for point in made.values():
            for probe in point.probes:
                probe.state = ProbeState.ARMED
        return refused

    def _open_returns(self, process: Process) -> None:
        """Make the return trampoline now, if that works: the program may seal itself later."""
        if process.returns is None:
            with contextlib.suppress(ProbeError, ssol.SsolError):
                self.engine.holding.with_one(process, process.open_returns)

    def _guard(self, process: Process) -> None:
        """Make sure that the process survives us before it depends on us."""
        if process.guard is None and process.unguarded is None:
            self.engine.holding.with_one(process, process.install_guard)

    def _judge(
        self,
        process: Process,
        fresh: dict[int, tuple[Probe, ...]],
        refused: list[ProbeError],
    ) -> dict[int, ProbePoint]:
        """Make the probe points that may be made."""
        process.mappings(fresh=True)
        addresses = sorted(fresh)
        allowed = self._scan(process, addresses) if len(addresses) > FEW else [0] * len(addresses)
        failed = self.engine.failed
        made: dict[int, ProbePoint] = {}
        start = end = 0
        mapping: Mapping | None = None
        for address, methods in zip(addresses, allowed, strict=True):
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
                error = _unprobeable(point, probes)
            if error is not None:
                for probe in probes:
                    self._refuse(probe, error, refused)
                continue
            point.probes, point.home = probes, mapping
            for probe in probes:
                probe.point = point
                probe.failed = failed
            made[address] = point
        return made

    @staticmethod
    def _scan(process: Process, addresses: list[int]) -> list[int]:
        """Give the bits of the methods allowed at many addresses at once; 0 where one must look."""
        arch = process.machine.arch
        result = np.zeros(len(addresses), dtype=np.uint8)
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
            rows = insn.scan(
                code, first, arch, starts=(where[low:high] - np.uint64(first)).astype(np.int64)
            )
            result[low:high] = rows["methods"]
        return result.tolist()

    def _join(self, point: ProbePoint, probe: Probe, refused: list[ProbeError]) -> None:
        """Add a probe to a point that others made."""
        together = (*point.probes, probe)
        if not choose(point.verdict, together):
            self._refuse(probe, _unprobeable(point, (probe,)) or _conflict(probe), refused)
            return
        if (
            probe.wanted is not None
            and point.plan is not None
            and point.plan.method is not probe.wanted
        ):
            point.process.drop_plans([point])
        point.probes = together
        probe.point = point
        probe.failed = self.engine.failed
        probe.state = ProbeState.ARMED

    @staticmethod
    def _refuse(probe: Probe, error: ProbeError, refused: list[ProbeError]) -> None:
        probe.state = ProbeState.REFUSED
        probe.error = error
        refused.append(error)

    def disarm(self, probes: Iterable[Probe]) -> None:
        """Unregister probes; threads that are executing under one are not disturbed."""
        empty: dict[Process, list[ProbePoint]] = {}
        leaving: dict[ProbePoint, set[Probe]] = {}
        for probe in probes:
            for point in self._points_of(probe):
                leaving.setdefault(point, set()).add(probe)
            probe.state = ProbeState.UNREGISTERED
        for point, gone in leaving.items():
            point.probes = tuple(p for p in point.probes if p not in gone)
            if not point.probes:
                empty.setdefault(point.process, []).append(point)
            if point.process.returns is not None:
                for probe in gone:
                    if isinstance(probe, Uretprobe):
                        point.process.returns.forget(probe)
        for process, points in empty.items():
            if process.ended:
                continue
            missing = process.breakpoints.remove_many([point.address for point in points])
            for point in points:
                if point.address in missing:
                    point.overwritten(missing[point.address].why, leaving[point])
                if process.points.get(point.address) is point:
                    del process.points[point.address]
            process.drop_plans(points)

    def _points_of(self, probe: Probe) -> list[ProbePoint]:
        """List the points that carry a probe: forks that are followed have copies of its own."""
        point, processes = probe.point, self.engine.processes.values()
        if point is None:
            return []
        if len(processes) == 1:
            return [point] if probe.state in (ProbeState.ARMED, ProbeState.DISABLED) else []
        copies = (process.points.get(point.address) for process in processes)
        return [copy for copy in copies if copy is not None and probe in copy.probes]


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


def unfit(mapping: Mapping | None, address: int, spec: str) -> ProbeError | None:
    """Say why memory can't hold a breakpoint, None when it can."""
    if mapping is None:
        return NotMapped(
            "nothing is mapped there",
            spec=spec,
            address=address,
            hint="`uprobes list` shows what can be probed",
        )
    if not mapping.executable:
        return NotExecutable(
            f"that memory ({mapping.path or 'anonymous'}, {mapping.permissions}) holds no code",
            spec=spec,
            address=address,
            hint="probes go on instructions; name a function",
        )
    if mapping.shared and mapping.inode:
        return NotExecutable(
            "the code is mapped shared: a breakpoint would reach the file and other processes",
            spec=spec,
            address=address,
            code="shared-mapping",
            hint="map the file privately",
        )
    if mapping.writable:
        return NotExecutable(
            "the program itself can write to this code, and would not expect a breakpoint in it",
            spec=spec,
            address=address,
            code="writable-code",
            hint="probe a function in a file's text instead",
        )
    if mapping.path == "[vsyscall]":
        return NotExecutable(
            "the kernel emulates this page and nothing can be written to it",
            spec=spec,
            address=address,
            code="vsyscall",
            hint="probe the caller, or libc's function",
        )
    return None


def _unprobeable(point: ProbePoint, probes: tuple[Probe, ...]) -> ProbeError | None:
    """Say why an instruction can't be probed as these probes want, None when it can."""
    address, spec = point.address, probes[0].location.spec
    try:
        verdict = point.verdict
    except insn.InsnError as error:
        return Refused(error.why, spec=spec, address=address, hint=error.hint, code=str(error.code))
    except ProbeError as error:
        error.spec = spec
        return error
    if choose(verdict, probes):
        return None
    method = next((p.wanted for p in probes if p.wanted is not None), None)
    reason = verdict.why_not(method) if method is not None else verdict.why_not(Method.INLINE)
    if reason is None:
        return _conflict(probes[0])
    way = f"by {method} " if method is not None else ""
    return Refused(
        f"`{verdict.instruction.text}` can't be probed {way}- {reason.why}",
        spec=spec,
        address=address,
        hint=reason.hint,
        code=reason.code,
    )


def _conflict(probe: Probe) -> ProbeError:
    return Refused(
        "every method that the instruction allows is forbidden, or another probe there forces one",
        spec=probe.location.spec,
        address=probe.location.address,
        code="no-method-left",
        hint="allow another method",
    )


def _as_probe_error(error: Exception, location: Location) -> ProbeError:
    if isinstance(error, ubp.ForeignBreakpoint):
        return ForeignBreakpoint(
            error.why, spec=location.spec, address=location.address, hint=error.hint
        )
    if isinstance(error, ProbeError):
        error.spec = location.spec
        return error
    return Refused(str(error), spec=location.spec, address=location.address)


def no_return(location: Location) -> ProbeError:
    """Say why the return of a function can't be probed."""
    return ProbeError(
        f"no return can be probed here: {location.no_return}",
        spec=location.spec,
        address=location.address,
        hint="probe the entry only, or the functions it calls",
        code="no-return",
    )


def _shadowed(location: Location) -> ProbeError:
    return ProbeError(
        "the hardware checks the return addresses of this process: one of ours would end it",
        spec=location.spec,
        address=location.address,
        code="shadow-stack",
        hint="start it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK, or probe entries only",
    )
