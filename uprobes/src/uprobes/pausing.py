"""Take probes out for a while and put them back; they stay registered, with plans and slots.

Rules:
- a probe that is paused sees no hit; its breakpoint is out unless another probe needs it;
- calls that were entered before still return to their return probe; those that would be seen at
  return instructions, which are paused as well, are forgotten;
- code that changed meanwhile is analysed anew.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from uprobes.errors import Overwritten, ProbeError
from uprobes.exits import exits_of
from uprobes.maps import has_memory
from uprobes.point import ProbePoint
from uprobes.probe import Probe, ProbeState, Uretprobe, in_order
from uprobes.process import Process

if TYPE_CHECKING:
    from uprobes.engine import Engine

Grouped = dict[Process, dict[int, ProbePoint]]


def pause(engine: "Engine", probes: Iterable[Probe]) -> None:
    """Take the breakpoints of armed probes out; other probes are left as they are."""
    idle: Grouped = {}
    for probe in with_exits(probes):
        if probe.state is not ProbeState.ARMED:
            continue
        if isinstance(probe, Uretprobe):
            probe.calls.forget()
        probe.state = ProbeState.PAUSED
        for point in engine.arming.points_of(probe):
            point.probes = tuple(p for p in point.probes if p is not probe)
            point.paused = (*point.paused, probe)
            if not point.probes and not point.trampoline:
                idle.setdefault(point.process, {})[point.address] = point
    for process, points in idle.items():
        if process.ended:
            continue
        missing = process.breakpoints.remove_many(points)
        if missing and not has_memory(process.pid):
            continue
        for address, error in missing.items():
            points[address].overwritten(error.why, points[address].every)


def resume(engine: "Engine", probes: Iterable[Probe]) -> list[ProbeError]:
    """Put the breakpoints of paused probes back; return the errors of those where that failed.

    Such a probe is disabled, as one whose handler raised.
    """
    waking: Grouped = {}
    resumed = []
    for probe in with_exits(probes):
        if probe.state is not ProbeState.PAUSED:
            continue
        probe.state = ProbeState.ARMED
        resumed.append(probe)
        for point in engine.arming.points_of(probe):
            point.paused = tuple(p for p in point.paused if p is not probe)
            point.probes = in_order((*point.probes, probe))
            if point.process.breakpoints.at(point.address) is None:
                waking.setdefault(point.process, {})[point.address] = point
    failed: list[ProbeError] = []
    for process, points in waking.items():
        try:
            failed += [] if process.ended else _wake(process, points)
        except ProbeError:
            if has_memory(process.pid):
                raise
    return failed


def with_exits(probes: Iterable[Probe]) -> list[Probe]:
    """List probes with those on return instructions that belong to them."""
    listed = list(probes)
    return [*listed, *(each for probe in listed for each in exits_of(probe))]


def _wake(process: Process, points: dict[int, ProbePoint]) -> list[ProbeError]:
    before = process.breakpoints.removed

    def announce(originals: dict[int, bytes]) -> None:
        """Tell the guard of code that is new; it knows the rest, copies in slots included."""
        fresh = {a: code for a, code in originals.items() if before.get(a) != code}
        if fresh:
            process.drop_plans([points[address] for address in fresh])
            for address in fresh:
                points[address].forget_verdict()
            if process.guard is not None:
                process.guard.cover(fresh)

    failed: list[ProbeError] = []
    for address, why in process.breakpoints.insert_many(points, announce).items():
        for probe in points[address].probes if has_memory(process.pid) else ():
            error = Overwritten(
                f"its breakpoint could not be put back: {why}",
                spec=probe.location.spec,
                address=address,
                hint="register it again",
            )
            failed.append(error)
            if probe.belongs_to(process):
                probe.state, probe.error = ProbeState.DISABLED, error
    return failed
