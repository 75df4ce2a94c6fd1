"""Objects that the program unmaps: what was probed there is forgotten, and nothing is written.

Other memory may be mapped at the same addresses by now. A probe point knows the mapping it was made
in; one that lies in another mapping now, or in none, is gone.
"""

from uprobes.errors import NotMapped
from uprobes.maps import Mapping, mapping_at
from uprobes.patch.site import Site
from uprobes.point import ProbePoint
from uprobes.probe import Probe, ProbeState
from uprobes.process import Process


def unload(process: Process) -> list[Probe]:
    """Drop the probe points of a process whose code is not mapped any more; return their probes."""
    lost = _lost_points(process)
    _forget_sites(process)
    if not lost:
        return []
    addresses = [point.address for point in lost]
    process.breakpoints.forget(addresses)
    for address in addresses:
        del process.points[address]
    process.drop_plans(lost)
    if process.guard is not None:
        process.guard.uncover(addresses)
    process.unwinders.clear()
    probes = [p for point in lost for p in point.every if p.belongs_to(process)]
    for probe in probes:
        probe.state = ProbeState.GONE
    return probes


def _lost_points(process: Process) -> list[ProbePoint]:
    mappings = process.mappings(fresh=True)
    known: dict[Mapping, bool] = {}
    lost = []
    for point in process.points.values():
        home = point.home
        if home is None:
            continue
        if home not in known:
            known[home] = home in mappings
        if not known[home] and not same_code(home, mapping_at(mappings, point.address)):
            lost.append(point)
    return lost


def same_code(home: Mapping, now: Mapping | None) -> bool:
    """Tell whether a mapping is (part of) what another one was."""
    if now is None or not now.executable or (now.device, now.inode) != (home.device, home.inode):
        return False
    return not now.inode or now.start - now.offset == home.start - home.offset


def _forget_sites(process: Process) -> None:
    """Forget where programs were installed in code that is not there any more.

    Their trampolines stay: a thread may be inside still.
    """
    mappings = process.mappings(fresh=True) if process.sites else []
    for address, site in list(process.sites.items()):
        mapping = mapping_at(mappings, address)
        if mapping is None or not mapping.path.startswith(site.location.path):
            _forget_site(process, site)


def _forget_site(process: Process, site: Site) -> None:
    del process.sites[site.address]
    process.points.pop(site.address, None)
    process.breakpoints.forget([site.address])
    process.breakpoints.patches.drop([patch.address for patch in site.patches])


def has_program(process: Process, site: Site) -> bool:
    """Tell whether a program is there still; one whose object was unmapped, and mapped again at
    the same place, is forgotten, though nobody may have told us yet.
    """
    address = site.address
    patch = process.breakpoints.patches.covering(address)
    try:
        if patch is not None:
            there = process.memory.read(patch.address, len(patch.code)) == patch.code
        else:
            there = bool(process.breakpoints.stands(address))
    except NotMapped:
        there = False
    if not there:
        _forget_site(process, site)
    return there
