"""Write what leads to trampolines into the code, and take it out again."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from insn import Method, Reason
from uprobes.patch.installed import Installed
from uprobes.patch.site import Kind, Site
from uprobes.patch.threads import addresses_in_use, hits
from uprobes.point import ProbePoint

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process
    from uprobes.tracee import Tracee


OFTEN = 16
"""A jump that gave way so often stays a breakpoint: all threads are stopped for each change."""


def in_windows(sites: Iterable[Site]) -> Callable[[int], bool]:
    """Return what tells whether an address is in the bytes that the jumps of sites will take."""
    windows = sorted((p.address, p.end) for p in (site.patches[-1] for site in sites))
    starts = [start for start, _ in windows]

    def holds(address: int) -> bool:
        index = bisect_right(starts, address) - 1
        return index >= 0 and address < windows[index][1]

    return holds


def place_jumps(
    process: "Process", installed: Installed, sites: list[Site], held: Iterable["Tracee"]
) -> list[Site]:
    """Write the jumps into whose bytes no thread will come back; return the sites of the others.

    All threads are held. A site that can't be written is dropped, with its reason.
    """
    # The last patch of a site is the one at its address: another one stands in padding.
    patches = [site.patches[-1] for site in sites]
    starts = np.array([patch.address for patch in patches], np.uint64)
    ends = np.array([patch.end for patch in patches], np.uint64)
    order = np.argsort(starts)
    busy = np.zeros(len(sites), np.bool_)
    busy[order] = hits(addresses_in_use(process, held), starts[order], ends[order])
    free = [site for site, inside in zip(sites, busy, strict=True) if not inside]
    failed = process.breakpoints.patches.insert_many([p for s in free for p in s.patches])
    for site in free:
        errors = [failed[p.address] for p in site.patches if p.address in failed]
        if errors:
            done = [p.address for p in site.patches if p.address not in failed]
            process.breakpoints.patches.remove_many(done)
            installed.drop(site, site.refusal(_reason(errors[0])))
    return [site for site, inside in zip(sites, busy, strict=True) if inside]


def place_traps(engine: "Engine", process: "Process", installed: Installed) -> None:
    """Write the breakpoints, while threads run; whoever meets one is sent to its trampoline."""
    sites = [site for site in installed.every if site.method is Method.TRAP]
    make_room(engine, process, [site.address for site in sites])
    failed = _place_breakpoints(process, sites)
    for site in sites:
        if site.address in failed:
            installed.drop(site, site.refusal(_reason(failed[site.address])))


def _place_breakpoints(process: "Process", wanted: Iterable[Site]) -> dict[int, Exception]:
    sites = {site.address: site for site in wanted}
    if not sites:
        return {}
    for site in sites.values():
        lead_point(process, site)
    guard = process.guard

    def announce(originals: dict[int, bytes]) -> None:
        if guard is not None:
            guard.cover(originals)
            tell_guard(process, originals)

    standing = [address for address in sites if process.breakpoints.at(address) is not None]
    tell_guard(process, standing)
    failed = process.breakpoints.insert_many(sites.keys() - set(standing), announce)
    for address in failed:
        process.points.pop(address, None)
    return failed


def tell_guard(process: "Process", addresses: Iterable[int]) -> None:
    """Have the guard know where the breakpoints at addresses lead, if they lead anywhere."""
    points = [process.points[address] for address in addresses]
    leads = {point.address: point.trampoline for point in points if point.trampoline}
    if process.guard is not None and leads:
        process.guard.lead(leads, [point.address for point in points if point.every])


def make_room(engine: "Engine", process: "Process", addresses: Iterable[int]) -> None:
    """Have the jumps give way that depend on bytes where breakpoints are to stand, and those in
    front of unwinders: a breakpoint there can lead to the trampoline as well.
    """
    patches = process.breakpoints.patches
    if not len(patches):
        return
    crossed = {patch.address for a in addresses if (patch := patches.keeping(a)) is not None}
    for address in process.sites.keys() & set(addresses):
        if process.sites[address].kind is Kind.UNWINDER and patches.covering(address) is not None:
            crossed.add(address)
    if not crossed:
        return
    with engine.holding.held(process):
        for address in crossed & process.sites.keys():
            process.gave_way[address] = OFTEN
            give_way(process, process.sites[address])


def give_way(process: "Process", site: Site) -> None:
    """Have a breakpoint lead where a jump did: of the jump's bytes it takes the first alone.

    All threads are held. Where the code was changed by others, it stays as they left it.
    """
    if process.breakpoints.patches.remove_many(patch.address for patch in site.patches):
        return
    process.gave_way[site.address] += 1
    failed = _place_breakpoints(process, [site])
    if not failed and process.gave_way[site.address] < OFTEN:
        # So that whoever meets it has it looked at again.
        process.points[site.address].onward = None


def jump_again(process: "Process", installed: Installed, held: Sequence["Tracee"]) -> None:
    """Write jumps again where they gave way, but for those whose bytes are in use; all are held."""
    sites = [s for s in installed.every if gave_way(process, s) and not _crowded(process, s)]
    take_out(process, sites)
    for site in place_jumps(process, installed, sites, held):
        _place_breakpoints(process, [site])
    process.sites.update({site.address: site for site in installed.every})


def _crowded(process: "Process", site: Site) -> bool:
    """Tell whether a probe point is where there must be none for the jump of a site."""
    point = process.points.get(site.address)
    if point is not None and point.every:
        return True
    behind = range(site.address + 1, site.patches[-1].reach)
    return any(a in process.points or process.breakpoints.at(a) is not None for a in behind)


def is_led(process: "Process", site: Site) -> bool:
    """Tell whether a breakpoint leads to the trampoline of a site, by plan or instead of a jump."""
    return site.method is Method.TRAP or gave_way(process, site)


def gave_way(process: "Process", site: Site) -> bool:
    """Tell whether a breakpoint leads to a trampoline where there was a jump."""
    breakpoints = process.breakpoints
    return (
        site.method is Method.JUMP
        and breakpoints.patches.covering(site.address) is None
        and breakpoints.at(site.address) is not None
    )


def lead_point(process: "Process", site: Site) -> None:
    """Have whoever hits the breakpoint of a site sent to its trampoline."""
    point = process.points.get(site.address)
    if point is None:
        point = process.points[site.address] = ProbePoint(process, site.address)
    process.drop_plans([point])
    point.trampoline = site.trampoline
    point.lead()


def take_out(process: "Process", sites: Sequence[Site]) -> None:
    """Put the original bytes back at sites; where there are jumps all threads are held."""
    jumps = [patch.address for site in sites for patch in site.patches]
    traps = [site.address for site in sites if is_led(process, site)]
    points = [process.points[a] for a in traps if a in process.points]
    shared = {point.address for point in points if point.probes}
    process.breakpoints.patches.remove_many(jumps)
    process.breakpoints.remove_many(address for address in traps if address not in shared)
    if process.guard is not None and traps:
        process.guard.lead(dict.fromkeys(traps, 0))
    for point in points:
        point.plan, point.trampoline = None, 0
        if not point.every:
            del process.points[point.address]
    for site in sites:
        process.sites.pop(site.address, None)


def _reason(error: Exception) -> Reason:
    code = str(getattr(error, "code", "not-writable"))
    return Reason(code, str(getattr(error, "why", error)), "another tool may have changed the code")
