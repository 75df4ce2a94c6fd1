"""Put programs into a process and take them out: trampolines first, then the bytes that lead there.

Order of steps, so that we may die after any of them:
1. shared memory and trampolines are mapped and written while the process runs: nothing leads there;
2. the description of all that follows is written into the shared memory;
3. all threads are stopped; where one is, or may come back to, the bytes of a jump, that place is
   tried again a moment later, and at last gets a breakpoint instead;
4. jumps and breakpoints are written, and the threads go on.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

import insn
import ssol
import ubp
from insn import Method, Reason
from ubp.programs import Placement, RingLayout, assemble, cells
from uprobes.arming import unfit
from uprobes.errors import CannotMap, ProbeError, Refused
from uprobes.patch import description
from uprobes.patch.arena import Arena
from uprobes.patch.displaced import Displaced, Files, displaced_at
from uprobes.patch.installed import Installed
from uprobes.patch.shared import PAGE, SharedMemory
from uprobes.patch.site import Site, Wanted, program_of
from uprobes.patch.thread_words import ThreadWords, cpu_flags, thread_words
from uprobes.patch.threads import addresses_in_use, blocks_signal, hits
from uprobes.probe import ProbePoint

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process
    from uprobes.tracee import Tracee

T = TypeVar("T")

TRIES = 10
"""How often threads are stopped again because one is where a jump shall be."""
PAUSE = 0.001
"""Seconds before the second try, twice that before the next, and so on."""
CLUSTER = 1 << 30
"""Code farther apart than this gets trampolines and shared memory of its own."""
LINE = 64
MOST_DISPLACED = 256
"""The displaced instructions of one place are no longer, relocated."""
ROOM = 4096
"""No trampoline is longer."""
BUSY = Reason(
    "busy",
    "a thread stayed inside the bytes that the jump would take",
    "try again when it has gone on",
)
UNSAFE = Reason(
    "signals-blocked",
    "it is a breakpoint, which kills a process that nobody traces where its signal is blocked",
    "record only what takes a jump, or stay attached",
)
LIBRARIES_OF_C = ("libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "ld.so")
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
        layout: RingLayout | None = None,
        note: object = None,
    ) -> Installed:
        """Install programs; what is refused is in the result's `refused`, never raised.

        `note` is kept in the process with the description, for whoever reads the records later.
        Raises CannotMap where the process gives no memory.
        """
        refused: list[ProbeError] = []
        fit = self._fit(process, wanted, refused)
        taken = [(p.address, p.end) for p in process.breakpoints.patches]
        taken += [(b.address, b.address + len(b.original)) for b in process.breakpoints]
        displaced = displaced_at(
            [w.location for w in fit], files, process.machine.arch, taken
        )
        sites = self._sites(fit, displaced, refused)
        end = PAGE
        for site in sites:
            site.cells = end
            # Two programs never count in one cache line.
            end += cells.size(program_of(site), returns=site.returns) + LINE - 1 & -LINE
        ring_at = end + PAGE - 1 & -PAGE if layout is not None else 0
        notes_at = ring_at + layout.size if layout is not None else end
        size = notes_at + description.room(sites, note)
        installed = self._prepare(process, sites, layout, ring_at, size, note)
        installed.refused = refused
        self._build_all(process, installed, sites, displaced)
        installed.notes_at = notes_at
        description.write(installed)
        process.installed.append(installed)
        if process.guard is not None:
            process.guard.set_areas(process.guarded_areas)
        self._place(process, installed)
        description.write(installed)
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
            sites.append(
                Site(len(sites), item.location, item.program, method, 0, item.returns, why_not)
            )
        return sites

    # -- trampolines ----------------------------------------------------------------------------

    def _prepare(
        self,
        process: "Process",
        sites: list[Site],
        layout: RingLayout | None,
        ring_at: int,
        size: int,
        note: object,
    ) -> Installed:
        """Map what the process and we share; one of its threads is stopped for a moment."""
        near = _ends(next(_clusters(sites), []))

        def prepare(tracee: "Tracee") -> tuple[SharedMemory, ThreadWords]:
            return SharedMemory.create(process, size, near), thread_words(tracee)

        self.engine.holding.with_one(process, process.install_guard)
        shared, words = self._borrow(process, prepare)
        if layout is not None:
            header = layout.header()
            shared.view[ring_at : ring_at + len(header)] = header
        arena = Arena(
            process.memory,
            lambda near, size: self._borrow(process, lambda _: process.mapper.map((near,), size)),
            lambda at, size: self._borrow(process, lambda _: process.mapper.map_at(at, size)),
            256 * len(sites),
        )
        installed = Installed(process.pid, shared, arena, [], layout, ring_at, note)
        installed.words = words
        return installed

    def _borrow(self, process: "Process", work: Callable[["Tracee"], T]) -> T:
        """Do something that needs system calls in the process, by a thread stopped for that."""
        done: list[T] = []

        def borrowed(tracee: "Tracee") -> None:
            process.caller = tracee
            try:
                done.append(work(tracee))
            finally:
                process.caller = None

        self.engine.holding.with_one(process, borrowed)
        if not done:
            raise CannotMap("no thread of the process could be stopped", code="no-thread")
        return done[0]

    def _build_all(
        self,
        process: "Process",
        installed: Installed,
        sites: list[Site],
        displaced: dict[int, Displaced],
    ) -> None:
        """Write the trampolines, and what the programs' cells begin with."""
        shared = installed.shared
        for number, cluster in enumerate(_clusters(sites)):
            if number:
                self._borrow(process, partial(_map_near, shared, _ends(cluster)))
            base = shared.places[-1]
            for site in cluster:
                try:
                    self._build(process, installed, site, displaced[site.address], base)
                except (insn.InsnError, ssol.SsolError, ubp.UbpError, ProbeError) as error:
                    reason = Reason(str(error.code), error.why, error.hint)
                    installed.refused.append(_refused(site, reason))
                    continue
                initial = cells.initial(program_of(site), returns=site.returns)
                shared.view[site.cells : site.cells + len(initial)] = initial
                installed.sites.append(site)

    def _build(
        self, process: "Process", installed: Installed, site: Site, window: Displaced, base: int
    ) -> None:
        """Write the trampoline of one site."""
        words, layout = installed.words, installed.layout
        place = Placement(
            cells=base + site.cells,
            ring=None if layout is None else base + installed.ring_at,
            layout=layout,
            probe=site.number,
            dead=window.dead,
            at_entry=not site.location.offset and site.location.function is not None,
            tid_offset=words.tid,
            cpu_offset=words.cpu,
            has_rdpid="rdpid" in cpu_flags(),
            may_call=process.no_calls is None,
        )
        if site.method is Method.JUMP:
            try:
                self._build_jump(process, installed, site, window, place)
            except (insn.InsnError, ubp.UbpError, ssol.SsolError, CannotMap) as error:
                site.method = Method.TRAP
                site.why_not[Method.JUMP] = Reason(str(error.code), error.why, error.hint)
        if site.method is Method.TRAP:
            self._build_trap(process, installed, site, place)

    @staticmethod
    def _build_jump(
        process: "Process", installed: Installed, site: Site, window: Displaced, place: Placement
    ) -> None:
        arch, arena = process.machine.arch, installed.arena
        origin = arena.near(site.address, ROOM)
        generated = assemble(program_of(site), origin, place)
        before = generated.entry - origin
        if not window.low <= generated.entry < window.high:
            size = len(generated.code) + MOST_DISPLACED
            origin = arena.within(window.low - before, window.high - before, size)
            generated = assemble(program_of(site), origin, place)
        moved = window.code(arch, origin + len(generated.code))
        site.patches, site.form = window.patches(generated.entry), window.form
        arena.take(origin, generated.code + moved)
        site.trampoline, site.size = generated.entry, len(generated.code) - before + len(moved)

    @staticmethod
    def _build_trap(
        process: "Process", installed: Installed, site: Site, place: Placement
    ) -> None:
        origin = installed.arena.near(site.address, ROOM)
        generated = assemble(program_of(site), origin, place)
        instruction, to = process.decode(site.address), origin + len(generated.code)
        moved = insn.relocate(instruction, to, back=instruction.end, expand_calls=True).code
        installed.arena.take(origin, generated.code + moved)
        before = generated.entry - origin
        site.trampoline, site.size = generated.entry, len(generated.code) - before + len(moved)

    # -- placing --------------------------------------------------------------------------------

    def _place(self, process: "Process", installed: Installed) -> None:
        """Write the jumps and breakpoints while every thread is held."""
        waiting = [site for site in installed.sites if site.method is Method.JUMP]
        for attempt in range(TRIES):
            if not waiting:
                break
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            with self.engine.holding.held(process) as held:
                waiting = self._jump(process, installed, waiting, held)
        for site in waiting:
            # Its trampoline goes on behind all that it displaces: a breakpoint can lead there too.
            site.why_not[Method.JUMP] = BUSY
            site.method, site.patches = Method.TRAP, ()
        self._trap(process, installed)
        for site in installed.sites:
            process.sites[site.address] = site

    @staticmethod
    def _jump(
        process: "Process", installed: Installed, sites: list[Site], held: Iterable["Tracee"]
    ) -> list[Site]:
        """Write the jumps into which no thread will come back; return the sites of the others."""
        # The last patch of a site is the one at its address: the other stands in padding.
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
                installed.drop(site, _failure(site, errors[0]))
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

    def stay(self, process: "Process", installed: Installed) -> None:
        """Prepare what is installed for a time without a tracer.

        A breakpoint met with its signal blocked kills a process that nobody traces. So none stays
        where a thread blocks it now, nor in the C library, which blocks all signals in places.
        """
        if process.ended or installed not in process.installed:
            return
        blocking = blocks_signal(process.pid, signal.SIGTRAP)
        risky = [
            site
            for site in installed.sites
            if site.method is Method.TRAP
            and (blocking or process.guard is None or _is_library_of_c(site.location.object))
        ]
        take_out(process, risky)
        for site in risky:
            installed.drop(site, _refused(site, UNSAFE))
        installed.stays = True
        description.write(installed)

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
                time.sleep(PAUSE * 2 ** (attempt - 1))
            with self.engine.holding.held(process) as held:
                if not attempt:
                    take_out(process, installed.sites)
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


def take_out(process: "Process", sites: Sequence[Site]) -> None:
    """Put the original bytes back at sites; where there are jumps all threads are held."""
    jumps = [patch.address for site in sites for patch in site.patches]
    traps = [site.address for site in sites if site.method is Method.TRAP]
    process.breakpoints.patches.remove_many(jumps)
    process.breakpoints.remove_many(traps)
    if process.guard is not None and traps:
        process.guard.lead(dict.fromkeys(traps, 0))
    for site in sites:
        process.sites.pop(site.address, None)
        process.points.pop(site.address, None)


def _is_library_of_c(name: str) -> bool:
    return name.startswith(LIBRARIES_OF_C)


def _map_near(shared: SharedMemory, near: tuple[int, ...], tracee: "Tracee") -> int:
    return shared.map_near(tracee.process, near)


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
