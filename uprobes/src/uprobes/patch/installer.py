"""Put programs into a process and take them out: trampolines first, then the bytes that lead there.

Order of steps, so that we may die after any of them:
1. shared memory and trampolines are mapped and written while the process runs: nothing leads there;
2. the description of all that follows is written into the shared memory;
3. all threads are stopped; where one is, or may come back to, the bytes of a jump, that place is
   tried again a moment later, and at last gets a breakpoint instead;
4. jumps and breakpoints are written, and the threads go on.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

import insn
import ssol
import ubp
from insn import Method, Reason
from ubp import Patch
from uprobes.arming import unfit
from uprobes.errors import CannotMap, ProbeError, Refused
from uprobes.patch import description
from uprobes.patch.arena import Arena
from uprobes.patch.displaced import Displaced, Files, displaced_at
from uprobes.patch.installed import Installed
from uprobes.patch.shared import PAGE, SharedMemory
from uprobes.patch.site import Site, Wanted
from uprobes.patch.threads import addresses_in_use, hits
from uprobes.probe import ProbePoint

if TYPE_CHECKING:
    from ubp.programs import RingLayout
    from uprobes.engine import Engine
    from uprobes.process import Process
    from uprobes.tracee import Tracee

TRIES = 8
"""How often threads are stopped again because one is where a jump shall be."""
PAUSE = 0.002
CLUSTER = 1 << 30
"""Code farther apart than this gets trampolines and shared memory of its own."""
ROOM = 4096
"""No trampoline is longer."""
BUSY = Reason(
    "busy",
    "a thread stayed inside the bytes that the jump would take",
    "try again when it has gone on",
)
FORCED = Reason("forbidden", "another method was asked for")


class Installer:
    """Installs programs in the processes of one engine; lives in the tracing thread."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def install(
        self,
        process: "Process",
        wanted: Sequence[Wanted],
        files: Files,
        layout: "RingLayout | None" = None,
        note: object = None,
    ) -> Installed:
        """Install programs; what is refused is in the result's `refused`, never raised.

        `note` is kept in the process with the description, for whoever reads the records later.
        Raises CannotMap where the process gives no memory.
        """
        refused: list[ProbeError] = []
        fit = self._fit(process, wanted, refused)
        arch = process.machine.arch
        displaced = displaced_at([w.location for w in fit], files, arch)
        from ubp.programs import cells

        sites = self._sites(fit, displaced, refused)
        shared = installed = None
        begin = PAGE
        for site in sites:
            site.cells = begin
            begin += cells.size(site.program)
        ring_at = begin + PAGE - 1 & -PAGE if layout is not None else 0
        notes_at = ring_at + layout.size if layout is not None else begin
        size = notes_at + description.room(sites, note)
        made: list[Installed] = []

        def prepare(tracee: "Tracee") -> None:
            process.install_guard(tracee)
            process.caller = tracee
            try:
                made.append(
                    self._prepare(process, sites, displaced, layout, ring_at, size, refused)
                )
            finally:
                process.caller = None

        self.engine.holding.with_one(process, prepare)
        if not made:
            raise CannotMap("no thread of the process could be stopped", code="no-thread")
        installed = made[0]
        shared = installed.shared
        installed.refused = refused
        for site in installed.sites:
            at = site.cells
            initial = cells.initial(site.program)
            shared.view[at : at + len(initial)] = initial
        description.write(installed, notes_at, note)
        process.installed.append(installed)
        if process.guard is not None:
            process.guard.set_areas(process.guarded_areas)
        self._place(process, installed)
        description.write(installed, notes_at, note)
        return installed

    # -- what may be done -----------------------------------------------------------------------

    @staticmethod
    def _fit(
        process: "Process", wanted: Sequence[Wanted], refused: list[ProbeError]
    ) -> list[Wanted]:
        """Leave out what can hold no probe, or has one already."""
        process.mappings(fresh=True)
        seen: set[int] = set()
        fit = []
        for item in wanted:
            address, spec = item.address, item.location.spec
            error = unfit(process.mapping_at(address), address, spec)
            if error is None and (address in seen or address in process.sites):
                error = Refused(
                    "a program is installed there already",
                    spec=spec,
                    address=address,
                    code="occupied",
                    hint="remove that one first, or put both actions into one program",
                )
            if error is None and address in process.points:
                error = Refused(
                    "a probe with a handler stands there",
                    spec=spec,
                    address=address,
                    code="occupied",
                    hint="unregister it first, or record from its handler",
                )
            if error is not None:
                refused.append(error)
                continue
            seen.add(address)
            fit.append(item)
        return fit

    @staticmethod
    def _sites(
        fit: Sequence[Wanted], displaced: dict[int, Displaced], refused: list[ProbeError]
    ) -> list[Site]:
        """Choose between jump and trap at each place."""
        sites: list[Site] = []
        for item in fit:
            reason = displaced[item.address].reason
            if item.method is Method.TRAP:
                reason = FORCED
            if item.method is Method.JUMP and reason is not None:
                refused.append(_refused(item, reason))
                continue
            method = Method.JUMP if reason is None else Method.TRAP
            why_not = {} if reason is None else {Method.JUMP: reason}
            sites.append(Site(len(sites), item.location, item.program, method, 0, why_not))
        return sites

    # -- trampolines ----------------------------------------------------------------------------

    def _prepare(
        self,
        process: "Process",
        sites: list[Site],
        displaced: dict[int, Displaced],
        layout: "RingLayout | None",
        ring_at: int,
        size: int,
        refused: list[ProbeError],
    ) -> Installed:
        clusters = list(_clusters(sites))
        first = clusters[0] if clusters else []
        shared = SharedMemory.create(process, size, _ends(first))
        if layout is not None:
            header = layout.header()
            shared.view[ring_at : ring_at + len(header)] = header
        arena = Arena(process, 256 * len(sites))
        installed = Installed(process, shared, arena, [], layout, ring_at)
        for cluster in clusters:
            base = shared.places[0]
            if cluster is not first:
                base = shared.map_near(process, _ends(cluster))
            for site in cluster:
                try:
                    self._build(process, installed, site, displaced[site.address], base)
                except (insn.InsnError, ssol.SsolError, ProbeError) as error:
                    refused.append(_refused(site, Reason(str(error.code), error.why)))
                else:
                    installed.sites.append(site)
        return installed

    def _build(
        self, process: "Process", installed: Installed, site: Site, window: Displaced, base: int
    ) -> None:
        """Write the trampoline of one site."""
        from ubp.programs import Placement, assemble

        address, arch = site.address, process.machine.arch
        room = installed.arena.room(address, ROOM)
        placement = Placement(
            cells=base + site.cells,
            ring=base + installed.ring_at if installed.layout is not None else None,
            layout=installed.layout,
            probe=site.number,
            dead=window.dead,
        )
        program = assemble(site.program, room, placement).code
        if site.method is Method.JUMP:
            try:
                moved = window.code(arch, room + len(program))
            except insn.InsnError as error:
                site.method = Method.TRAP
                site.why_not[Method.JUMP] = Reason(str(error.code), error.why)
        if site.method is Method.TRAP:
            instruction = process.decode(address)
            moved = insn.relocate(
                instruction, room + len(program), back=instruction.end, expand_calls=True
            ).code
        installed.arena.take(room, program + moved)
        site.trampoline, site.size = room, len(program) + len(moved)
        if site.method is Method.JUMP:
            jump = arch.jump(address, room)
            site.patch = Patch(address, window.original, jump)

    # -- placing --------------------------------------------------------------------------------

    def _place(self, process: "Process", installed: Installed) -> None:
        """Write the jumps and breakpoints while every thread is held."""
        waiting = [site for site in installed.sites if site.method is Method.JUMP]
        for attempt in range(TRIES):
            if not waiting:
                break
            if attempt:
                time.sleep(PAUSE)
            with self.engine.holding.held(process) as held:
                waiting = self._jump(process, installed, waiting, held)
        for site in waiting:
            # Its trampoline goes on behind all that it displaces: a breakpoint can lead there too.
            site.why_not[Method.JUMP] = BUSY
            site.method, site.patch = Method.TRAP, None
        self._trap(process, installed)
        for site in installed.sites:
            process.sites[site.address] = site

    @staticmethod
    def _jump(
        process: "Process", installed: Installed, sites: list[Site], held: Iterable["Tracee"]
    ) -> list[Site]:
        """Write the jumps into which no thread will come back; return the sites of the others."""
        patches = [site.patch for site in sites if site.patch is not None]
        starts = np.array([patch.address for patch in patches], np.uint64)
        ends = np.array([patch.end for patch in patches], np.uint64)
        order = np.argsort(starts)
        busy = np.zeros(len(sites), np.bool_)
        busy[order] = hits(addresses_in_use(process, held), starts[order], ends[order])
        free = [patch for patch, inside in zip(patches, busy, strict=True) if not inside]
        failed = process.breakpoints.patches.insert_many(free)
        for site in [site for site in sites if site.address in failed]:
            installed.drop(site, _failure(site, failed[site.address]))
        return [site for site, inside in zip(sites, busy, strict=True) if inside]

    @staticmethod
    def _trap(process: "Process", installed: Installed) -> None:
        """Write the breakpoints; every thread that meets one is sent to its trampoline."""
        sites = {site.address: site for site in installed.sites if site.method is Method.TRAP}
        if not sites:
            return
        for address, site in sites.items():
            point = ProbePoint(process, address)
            point.plan = ubp.Plan(process.decode(address), Method.TRAP, resume=site.trampoline)
            process.points[address] = point
        guard = process.guard

        def announce(originals: dict[int, bytes]) -> None:
            if guard is not None:
                guard.cover(originals)
                guard.lead({address: sites[address].trampoline for address in originals})

        failed = process.breakpoints.insert_many(sites, announce)
        for address, error in failed.items():
            process.points.pop(address, None)
            installed.drop(sites[address], _failure(sites[address], error))

    # -- taking out -----------------------------------------------------------------------------

    def remove(self, process: "Process", installed: Installed) -> None:
        """Put the original bytes back, and unmap what nobody is inside of any more.

        Where a thread stays inside for long its trampolines stay mapped, and nothing leads there.
        """
        if installed not in process.installed:
            return
        process.installed.remove(installed)
        if process.ended:
            return
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE)
            with self.engine.holding.held(process) as held:
                if not attempt:
                    take_out(process, installed)
                if self._unmap(process, installed, held):
                    return
        process.leftover.append(installed)

    @staticmethod
    def _unmap(process: "Process", installed: Installed, held: Iterable["Tracee"]) -> bool:
        used = addresses_in_use(process, held)
        if any(installed.arena.holds(address) for address in used.tolist()):
            return False
        process.caller = process.stopped_tracee()
        if process.caller is None:
            return False
        try:
            for start, end in installed.mappings():
                process.call("munmap", start, end - start)
        except (OSError, ProbeError):
            return False
        finally:
            process.caller = None
        return True


def take_out(process: "Process", installed: Installed) -> None:
    """Put the original bytes back at every site; all threads are held."""
    sites = installed.sites
    jumps = [site.address for site in sites if site.method is Method.JUMP]
    traps = [site.address for site in sites if site.method is Method.TRAP]
    process.breakpoints.patches.remove_many(jumps)
    process.breakpoints.remove_many(traps)
    if process.guard is not None and traps:
        process.guard.lead(dict.fromkeys(traps, 0))
    for site in sites:
        process.sites.pop(site.address, None)
    for address in traps:
        process.points.pop(address, None)


def _clusters(sites: Iterable[Site]) -> Iterator[list[Site]]:
    """Split sites where they lie too far apart to share what must be near."""
    cluster: list[Site] = []
    for site in sorted(sites, key=lambda site: site.address):
        if cluster and site.address - cluster[0].address > CLUSTER:
            yield cluster
            cluster = []
        cluster.append(site)
    if cluster:
        yield cluster


def _ends(cluster: Sequence[Site]) -> tuple[int, ...]:
    return (cluster[0].address, cluster[-1].address) if cluster else ()


def _refused(item: Wanted | Site, reason: Reason) -> ProbeError:
    return Refused(
        f"no program can be installed: {reason.why}",
        spec=item.location.spec,
        address=item.address,
        code=reason.code,
        hint=reason.hint,
    )


def _failure(site: Site, error: Exception) -> ProbeError:
    code = str(getattr(error, "code", "not-writable"))
    why = str(getattr(error, "why", error))
    return _refused(site, Reason(code, why, "another tool may have changed the code"))
