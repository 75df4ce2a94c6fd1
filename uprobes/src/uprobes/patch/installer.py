"""Put programs into a process and take them out: trampolines first, then the bytes that lead there.

Order of steps, so that we may die after any of them:
1. shared memory and trampolines are mapped and written while the process runs: nothing leads there;
2. the description of all that follows is written into the shared memory;
3. all threads are stopped; where one is, or may come back to, the bytes of a jump, that place is
   tried again a moment later, and at last gets a breakpoint instead;
4. jumps and breakpoints are written, and the threads go on.
"""

import contextlib
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from insn import Method, Reason
from ubp.programs import RingLayout
from uprobes.errors import CannotMap, ProbeError
from uprobes.location import Location
from uprobes.patch import description
from uprobes.patch.arena import Arena
from uprobes.patch.builder import ROOM, Builder
from uprobes.patch.calls import CallTables
from uprobes.patch.choosing import begin_cells, choose_sites, clusters, ends, fit, give_cells
from uprobes.patch.displaced import Displaced, Files, displaced_at
from uprobes.patch.installed import Installed
from uprobes.patch.placing import (
    gave_way,
    in_windows,
    is_led,
    jump_again,
    place_jumps,
    place_traps,
    take_out,
)
from uprobes.patch.removing import attempts, remove
from uprobes.patch.shared import PAGE, SharedMemory
from uprobes.patch.site import Kind, Site, Wanted
from uprobes.patch.stepping_out import step_out
from uprobes.patch.thread_words import ThreadWords, thread_words
from uprobes.patch.threads import blocks_signal

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process
    from uprobes.tracee import Tracee

T = TypeVar("T")

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


class Installer:
    """Installs programs in the processes of one engine; lives in the tracing thread."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def install(
        self,
        process: "Process",
        wanted: Sequence[Wanted],
        files: Files,
        unwinders: Sequence[Location] = (),
        layout: RingLayout | None = None,
        note: object = None,
    ) -> Installed:
        """Install programs; what is refused is in the result's `refused`, never raised.

        `unwinders` are the functions that unwind the stack, for programs of returns. `note` is kept
        in the process with the description, for whoever reads the records later. Raises CannotMap
        where the process gives no memory.
        """
        if process.calls is None and any(item.kind is Kind.RETURN for item in wanted):
            # The tables of calls, and what puts return addresses back before any unwinding.
            base = [Wanted(location, None, Kind.UNWINDER) for location in unwinders]
            self._install(process, base, files, None, None, CallTables())
        installed = None
        try:
            installed = self._install(process, wanted, files, layout, note, None)
        finally:
            if installed is None or not installed.sites:
                for item in list(process.installed):
                    if item is installed or item.calls is not None:
                        self.remove(process, item)  # the tables only where nobody needs them
        return installed

    def _install(
        self,
        process: "Process",
        wanted: Sequence[Wanted],
        files: Files,
        layout: RingLayout | None,
        note: object,
        calls: CallTables | None,
    ) -> Installed:
        refused: list[ProbeError] = []
        kept = fit(process, wanted, refused)
        taken = [(p.address, p.reach) for p in process.breakpoints.patches]
        taken += [(b.address, b.address + len(b.original)) for b in process.breakpoints]
        taken += [(address, address + 1) for address in process.points]
        locations = [item.location for item in kept]
        displaced = displaced_at(locations, files, process.machine.arch, taken)
        sites = choose_sites(kept, displaced, refused)
        end = give_cells(sites)
        ring_at = end + PAGE - 1 & -PAGE if layout is not None else 0
        notes_at = ring_at + layout.size if layout is not None else end
        size = notes_at + description.room(sites, note)

        def begun(shared: SharedMemory, words: ThreadWords) -> Installed:
            if layout is not None:
                header = layout.header()
                shared.view[ring_at : ring_at + len(header)] = header
            installed = Installed(process.pid, shared, self._arena(process), layout, ring_at, note)
            installed.words, installed.refused = words, refused
            installed.calls, installed.notes_at = calls, notes_at
            return installed

        if not sites and calls is None:
            return begun(SharedMemory.alone(size), ThreadWords())
        installed = self._begin(process, sites, size, begun)
        try:
            description.write(installed)
            self._build(process, installed, sites, displaced)
            description.write(installed)
            if process.guard is not None:
                process.guard.set_areas(process.guarded_areas)
            if self._place(process, installed):
                description.write(installed)
        except BaseException:
            self.remove(process, installed)
            raise
        return installed

    # -- memory and trampolines -----------------------------------------------------------------

    def _begin(
        self,
        process: "Process",
        sites: list[Site],
        size: int,
        begun: Callable[[SharedMemory, ThreadWords], Installed],
    ) -> Installed:
        """Map what the process and we share, and room for trampolines, by one thread stopped for a
        moment.
        """
        near = ends(next(clusters(sites), []))

        def begin(tracee: "Tracee") -> Installed:
            shared = SharedMemory.create(process, size, near)
            installed = begun(shared, thread_words(tracee))
            # Whatever is mapped from here on, our successor finds: we may be killed.
            installed.arena.announce = partial(description.write, installed)
            process.installed.append(installed)
            if installed.calls is not None:
                installed.calls.map(process, installed.arena.announce)
            if near:
                with contextlib.suppress(ProbeError):  # what has no room is refused one by one
                    installed.arena.near(near[0], ROOM)
            return installed

        self.engine.holding.install_guard(process)
        return self._borrow(process, begin)

    def _arena(self, process: "Process") -> Arena:
        mapper = process.mapper
        return Arena(
            process.memory,
            lambda near, size: mapper.place((near,), size) or mapper.place((near,), size, guard=0),
            lambda at, size: self._borrow(process, lambda _: mapper.map_at(at, size)),
        )

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

    def _build(
        self,
        process: "Process",
        installed: Installed,
        sites: list[Site],
        displaced: dict[int, Displaced],
    ) -> None:
        """Write the trampolines, and what the programs' cells begin with."""
        shared = installed.shared
        for number, cluster in enumerate(clusters(sites)):
            if number:
                self._borrow(process, partial(_map_near, shared, ends(cluster)))
            builder = Builder(process, installed, shared.places[-1])
            for site in cluster:
                try:
                    builder.build(site, displaced[site.address])
                except ProbeError as error:
                    installed.refused.append(error)
                    continue
                kept = installed.unwinders if site.kind is Kind.UNWINDER else installed.sites
                kept.append(site)
        installed.arena.flush()
        begin_cells(installed)

    def _place(self, process: "Process", installed: Installed) -> bool:
        """Let the code lead to the trampolines; tell whether it became other than planned."""
        holding, planned = self.engine.holding, len(installed.every)
        waiting = [site for site in installed.every if site.method is Method.JUMP]

        def are_waiting() -> bool:
            return bool(waiting)

        for _ in attempts(self.engine, process, are_waiting):
            with holding.held(process) as held:
                step_out(self.engine, process, held, in_windows(waiting))
                waiting = place_jumps(process, installed, waiting, held)
        for site in waiting:
            # Its trampoline goes on behind all that it displaces: a breakpoint can lead there too.
            site.why_not[Method.JUMP] = BUSY
            site.method, site.patches = Method.TRAP, ()
        place_traps(self.engine, process, installed)
        for site in installed.every:
            process.sites[site.address] = site
        return bool(waiting) or len(installed.every) != planned

    # -- staying and going ----------------------------------------------------------------------

    def stay(self, process: "Process", installed: Installed) -> None:
        """Prepare what is installed for a time without a tracer.

        A breakpoint met with its signal blocked kills a process that nobody traces. So none stays
        where a thread blocks it now, nor in the C library, which blocks all signals in places.
        """
        if process.ended or installed not in process.installed:
            return

        def is_lacking() -> bool:
            return any(gave_way(process, site) for site in installed.every)

        for _ in attempts(self.engine, process, is_lacking):
            with self.engine.holding.held(process) as held:
                jump_again(process, installed, held)
        blocking = blocks_signal(process.pid, signal.SIGTRAP)
        risky = [
            site
            for site in installed.every
            if is_led(process, site)
            and (
                blocking or process.guard is None or site.location.object.startswith(LIBRARIES_OF_C)
            )
        ]
        take_out(process, risky)
        for site in risky:
            installed.drop(site, site.refusal(UNSAFE))
        for item in process.installed:
            if item is installed or item.calls is not None:
                item.stays = True
                description.write(item)

    def remove(self, process: "Process", installed: Installed) -> None:
        """Take programs out, as `removing` says."""
        remove(self.engine, process, installed)


def _map_near(shared: SharedMemory, near: tuple[int, ...], tracee: "Tracee") -> int:
    return shared.map_near(tracee.process, near)
