"""A fork that is followed: what its copy of the memory holds of ours becomes its own."""

from bisect import bisect_right
from typing import TYPE_CHECKING

import ubp
from uprobes.errors import ProbeError
from uprobes.guard.action import handler_of, swap_action
from uprobes.guard.keeper import AREA
from uprobes.guard.rescue import stands_at
from uprobes.maps import mapping_at
from uprobes.patch.arena import Area
from uprobes.patch.placing import take_out

if TYPE_CHECKING:
    from uprobes.process import Process


def follow(child: "Process", parent: "Process", tid: int) -> None:
    """Take over for good what the memory of a child holds of ours, `tid` its only thread.

    The copy was made a while ago: what the parent got since is put in, what it lost is taken out.
    """
    child.inherited = None
    take_out_leftover(child, parent)
    standing = (a for a in parent.points if parent.breakpoints.at(a) is not None)
    kept = {*standing, *parent.internal}
    child.breakpoints.remove_many([b.address for b in child.breakpoints if b.address not in kept])
    lacking = _lacking(child, parent)
    unled = {address for address in lacking if not parent.points[address].every}
    child.breakpoints.forget(unled)
    child.unguarded = parent.unguarded
    _take_guard(child, parent, tid)
    child.breakpoints.complete()
    child.points = {
        address: point.copied(child)
        for address, point in parent.points.items()
        if address not in unled
        and (address not in kept or child.breakpoints.at(address) is not None)
    }
    for address, point in child.points.items():
        if address in lacking:
            point.plan, point.trampoline = None, 0
        elif point.plan is not None and not _has_copy(child, point.plan):
            point.plan = None
    child.unwinders = set(parent.unwinders)
    child.sites = {a: site for a, site in parent.sites.items() if a not in lacking}
    child.take_areas([area for area in parent.areas if _has(child, area[0])])
    if parent.returns is not None and _returns_to(child, parent.returns.trampoline):
        child.returns = parent.returns.copied(child, tid)
        child.internal[child.returns.trampoline] = child.returns.leave
        if child.guard is not None:
            child.guard.set_trampoline(child.returns.trampoline)


def _lacking(child: "Process", parent: "Process") -> set[int]:
    """Return where breakpoints of the parent lead to trampolines that the copy has not got yet."""
    led = {point.address: point.trampoline for point in parent.points.values() if point.trampoline}
    items = parent.every_installed if led else ()
    areas = [a for item in items for a in item.arena.areas if _is_alike(child, parent, a)]
    areas.sort(key=lambda area: area.start)
    starts = [area.start for area in areas]

    def lacks(trampoline: int) -> bool:
        index = bisect_right(starts, trampoline) - 1
        return index < 0 or trampoline >= areas[index].end

    return {address for address, trampoline in led.items() if lacks(trampoline)}


def _is_alike(child: "Process", parent: "Process", area: Area) -> bool:
    size = area.end - area.start
    try:
        return child.memory.read(area.start, size) == parent.memory.read(area.start, size)
    except ProbeError:
        return False


def _take_guard(child: "Process", parent: "Process", tid: int) -> None:
    """See to it that the child's guard knows every breakpoint that the child will have."""
    if parent.guard is None:
        return
    base = parent.guard.base
    child.caller = child.tracees[tid]
    try:
        if stands_at(child.memory, base):
            child.guard = parent.guard.copied(child)
            if not (parent.guard.covers_default() and child.guard.handles(child.pid)):
                # The copy may be from just before the handler was put in.
                present = swap_action(child, None)
                if handler_of(present) != child.guard.made.handler:
                    child.guard.stand_before(present)
            return
        if _has(child, base):
            child.mapper.unmap(base, AREA)  # the copy was made before there was anything in it
    finally:
        child.caller = None
    child.install_guard(child.tracees[tid])  # the parent got its own after the copy was made
    if child.guard is not None:
        child.guard.cover_as(parent.guard)


def take_out_leftover(child: "Process", parent: "Process") -> None:
    """Put the original bytes back that the parent was about to get back."""
    sites = [site for item in child.leftover for site in item.every]
    take_out(child, [site for site in sites if parent.sites.get(site.address) is site])


def _returns_to(child: "Process", trampoline: int) -> bool:
    """Tell whether the copy has its parent's trampoline; forget the entry where it has not."""
    if _has(child, trampoline):
        # It may be mapped, and nothing be in it yet.
        child.memory.write(trampoline, child.machine.arch.breakpoint)
        return True
    if child.breakpoints.stands(trampoline):  # else mapped in the parent after the copy was made
        return child.breakpoints.at(trampoline) is not None
    child.breakpoints.forget([trampoline])
    return False


def _has(child: "Process", address: int) -> bool:
    mapping = mapping_at(child.mappings(), address)
    return mapping is not None and mapping.executable and not mapping.path


def _has_copy(child: "Process", plan: ubp.Plan) -> bool:
    copy = plan.copy
    if copy is None:
        return True
    try:
        return child.memory.read(copy.address, len(copy.code)) == copy.code
    except ProbeError:
        return False
