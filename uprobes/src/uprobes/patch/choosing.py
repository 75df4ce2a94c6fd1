"""What of that which is wanted can be installed, and how: places, methods, cells."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from insn import Method, Reason
from ubp.programs import cells
from uprobes.errors import ProbeError
from uprobes.patch.displaced import Displaced, pops_arguments
from uprobes.patch.installed import Installed
from uprobes.patch.shared import PAGE
from uprobes.patch.site import Kind, Site, Wanted, program_of, refusal
from uprobes.refusals import no_return, unfit

if TYPE_CHECKING:
    from uprobes.process import Process

CLUSTER = 1 << 30
"""Code farther apart than this gets trampolines and shared memory of its own."""
LINE = 64
FORCED = Reason("forbidden", "another method was asked for")
POPS = Reason(
    "pops-arguments",
    "the function takes its arguments off the stack when it returns, so its place there is lost",
    "use a handler: target.uretprobe",
)
EXITS_ONLY = Reason(
    "needs-exits",
    "Go moves the stacks of its goroutines, and ends programs whose return addresses it can't name",
    "use a handler: target.uretprobe, which sees the return instructions",
)
TIGHT = Reason(
    "no-room",
    "a function of Go that does not check its stack may have too little of it left for a program",
    "use a handler: target.uprobe",
)
OCCUPIED = Reason(
    "occupied",
    "one is installed there already",
    "remove that one first, or put both actions into one program",
)
HANDLED = Reason(
    "occupied",
    "a probe with a handler stands there",
    "unregister it first, or record from its handler",
)


def give_cells(sites: Iterable[Site]) -> int:
    """Say where each program counts; return the end of all. No two share a cache line."""
    end = PAGE
    sizes: dict[tuple[int, bool], int] = {}
    for site in sites:
        site.cells = end
        if site.program is not None:
            key = (id(site.program), site.returns)
            if key not in sizes:
                sizes[key] = cells.size(site.program, returns=site.returns) + LINE - 1 & -LINE
            end += sizes[key]
    return end


def begin_cells(installed: Installed) -> None:
    """Write what the programs' cells begin with, where that is not zeros."""
    known: dict[tuple[int, bool], bytes] = {}
    for site in installed.sites:
        key = (id(site.program), site.returns)
        if key not in known:
            known[key] = cells.initial(program_of(site), returns=site.returns)
        initial = known[key]
        if any(initial):
            installed.shared.view[site.cells : site.cells + len(initial)] = initial


def fit(process: "Process", wanted: Sequence[Wanted], refused: list[ProbeError]) -> list[Wanted]:
    """Leave out what can hold no probe, or has one already."""
    process.mappings(fresh=True)
    seen: set[int] = set()
    fit = []
    for item in wanted:
        address, location = item.address, item.location
        error = unfit(process.mapping_at(address), address, location.spec)
        if error is None and (address in seen or address in process.sites):
            error = refusal(location, OCCUPIED)
        if error is None and address in process.points and item.kind is not Kind.UNWINDER:
            error = refusal(location, HANDLED)
        if error is None and item.kind is Kind.RETURN and location.no_return:
            error = no_return(location)
        if error is None and item.kind is Kind.RETURN and location.exits_only:
            error = refusal(location, EXITS_ONLY)
        if error is None and location.tight:
            error = refusal(location, TIGHT)
        if error is not None:
            refused.append(error)
            continue
        seen.add(address)
        fit.append(item)
    return fit


def choose_sites(
    fit: Sequence[Wanted], displaced: dict[int, Displaced], refused: list[ProbeError]
) -> list[Site]:
    """Choose between jump and trap at each place."""
    sites: list[Site] = []
    for item in fit:
        window = displaced[item.address]
        reason = window.reason
        if item.kind is Kind.RETURN and pops_arguments(window):
            refused.append(refusal(item.location, POPS))
            continue
        if item.method is Method.TRAP:
            reason = FORCED
        if item.method is Method.JUMP and reason is not None:
            refused.append(refusal(item.location, reason))
            continue
        method = Method.JUMP if reason is None else Method.TRAP
        why_not = {} if reason is None else {Method.JUMP: reason}
        sites.append(Site(len(sites), item.location, item.program, item.kind, method, why_not))
    return sites


def clusters(sites: Iterable[Site]) -> Iterator[list[Site]]:
    """Split sites where they lie too far apart to share what must be near."""
    cluster: list[Site] = []
    for site in sorted(sites, key=lambda site: site.address):
        if cluster and site.address - cluster[0].address > CLUSTER:
            yield cluster
            cluster = []
        cluster.append(site)
    if cluster:
        yield cluster


def ends(cluster: Sequence[Site]) -> tuple[int, ...]:
    """Return the first and the last address of a cluster, none for an empty one."""
    return (cluster[0].address, cluster[-1].address) if cluster else ()
