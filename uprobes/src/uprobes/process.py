"""One address space under trace: its threads, breakpoints, slots and probe points."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import insn
import ssol
import ubp
from insn import Verdict
from uprobes import copying, inject, ptrace
from uprobes.area import AreaMapper
from uprobes.errors import CannotMap, ProbeError
from uprobes.guard.keeper import AREA as GUARD_SIZE
from uprobes.guard.keeper import Guard
from uprobes.machine import Machine
from uprobes.maps import Mapping, mapping_at, read_mappings
from uprobes.memory import ProcessMemory
from uprobes.planning import SLOT_SIZE, Planning
from uprobes.point import ProbePoint
from uprobes.probe import Probe
from uprobes.seccomp import Wish, check_ahead, mode_of
from uprobes.status import program_entry
from uprobes.tracee import FOR_SIGNAL, State, Tracee
from uprobes.way_back import Borrowed, is_stack

if TYPE_CHECKING:
    from uprobes.patch.calls import CallTables
    from uprobes.patch.installed import Installed
    from uprobes.patch.site import Site
    from uprobes.returns import Returns

STEP_RULES = {insn.X86_64.name: ubp.X86_64}


class Process(Planning):
    """The memory that threads share, and everything we put into it.

    `internal` maps addresses at which we stop for ourselves to what is done there.
    """

    def __init__(self, pid: int, machine: Machine) -> None:
        self.pid = pid
        self.machine = machine
        self.memory = ProcessMemory(pid)
        self.tracees: dict[int, Tracee] = {}
        self.points: dict[int, ProbePoint] = {}
        self.internal: dict[int, Callable[[Tracee], bool]] = {}
        self.breakpoints = ubp.Breakpoints(self.memory, machine.arch.breakpoint)
        self.stepper = ubp.Stepper(STEP_RULES[machine.arch.name])
        self.guard: Guard | None = None
        self.unguarded: str | None = None
        """Why there is no guard although one was tried, None before that or when there is one."""
        self.returns: Returns | None = None
        self.unwinders: set[tuple[int, int]] = set()
        """Where code that walks the stack begins and ends: its own return addresses must stay."""
        self.caller: Tracee | None = None
        """The stopped thread that may make system calls for us just now."""
        super().__init__(AreaMapper(self))
        self.no_calls: str | None = None
        """Why no system call may be injected, None when it may."""
        self.sites: dict[int, Site] = {}
        """Where programs of ours run in the process itself."""
        self.gave_way: Counter[int] = Counter()
        """How often a breakpoint took the place of the jump at an address."""
        self.installed: list[Installed] = []
        self.leftover: list[Installed] = []
        """What was taken out while a thread was still inside: mapped, but nothing leads there."""
        self.ended = False
        self.loses_guard = False
        """Whether the program meets breakpoints with their signal blocked: the kernel then takes
        the guard's handler away each time.
        """
        self.inherited: Process | None = None
        """The process whose memory this one began with a copy of."""
        self._borrowed: Borrowed | None = None
        self._mappings: list[Mapping] | None = None

    # -- what is mapped -----------------------------------------------------------------------

    def mappings(self, *, fresh: bool = False) -> list[Mapping]:
        """Return the mappings, as read at most one registration ago."""
        if fresh or self._mappings is None:
            self._mappings = read_mappings(self.pid)
        return self._mappings

    def mapping_at(self, address: int) -> Mapping | None:
        """Return the mapping around an address, looking again when there seems to be none."""
        return mapping_at(self.mappings(), address) or mapping_at(
            self.mappings(fresh=True), address
        )

    # -- instructions -------------------------------------------------------------------------

    def decode(self, address: int) -> insn.Instruction:
        """Decode the instruction at an address as it was before any probe; raises InsnError or
        NotMapped.
        """
        arch = self.machine.arch
        mapping = self.mapping_at(address)
        size = arch.max_length if mapping is None else min(arch.max_length, mapping.end - address)
        return insn.decode(self.breakpoints.read(address, max(size, 1)), address, arch)

    def judge(self, address: int) -> Verdict:
        """Say what may be done with the instruction there; raises InsnError or NotMapped."""
        return insn.judge(self.decode(address))

    # -- system calls -------------------------------------------------------------------------

    def may_call(self, *needed: Wish, survived: tuple[Wish, ...] = ()) -> None:
        """Raise CannotMap when no system call may be made in this process now, or one of those that
        are needed would not be let through; those that may fail must not do worse.
        """
        if self.no_calls is not None:
            raise CannotMap(self.no_calls)
        if self.caller is None:
            raise CannotMap("no thread of the process is stopped where it could map memory")
        check_ahead(self.caller, needed, survived)

    @property
    def filtered(self) -> bool:
        """Whether any thread is under seccomp, or no system call is made for another reason."""
        return self.no_calls is not None or any(mode_of(tid)[0] for tid in self.tracees)

    def call(self, name: str, *arguments: int) -> int:
        """Make a system call in the process by its `caller`; raises OSError, CannotMap or
        TargetGone.
        """
        self.may_call()
        assert self.caller is not None
        return inject.call(self.caller, self.guard or self._borrow(), name, *arguments)

    def _borrow(self) -> Borrowed:
        """Return what a thread makes its calls by without a guard; raises CannotMap."""
        if self._borrowed is None or not self._borrowed.stands():
            self._borrowed = Borrowed(self)
        return self._borrowed

    def keep_guard(self, caller: Tracee) -> None:
        """Make sure that the guard's handler is in place still, in a process that has a guard."""
        if self.guard is not None and not self.guard.handles(caller.pid):
            self.loses_guard = True
            self.reinstate_guard(caller)

    def reinstate_guard(self, caller: Tracee) -> None:
        """Put the guard's handler in again for the thread group of a stopped thread."""
        assert self.guard is not None
        self.caller = caller
        info = ptrace.signal_info(caller.tid)
        try:
            self.guard.reinstate()
        finally:
            self.caller = None
            # Whoever takes this stop looks at why it came.
            with contextlib.suppress(OSError):
                ptrace.set_signal_info(caller.tid, info)

    @contextlib.contextmanager
    def borrowed_stack(self, size: int) -> Iterator[int]:
        """Give the address of `size` bytes on the caller's stack, below what it uses; put back
        after.

        A thread on another stack than one of the kernel's or a C library's gets a mapping for it.
        """
        assert self.caller is not None
        machine = self.machine
        sp = self.caller.peek(machine.sp)
        address = (sp - machine.arch.red_zone - size) & ~0xF
        if not is_stack(self, address, sp, self.caller.peek(machine.thread_pointer)):
            address = self.mapper.map_writable(size)
            try:
                yield address
            finally:
                self.call("munmap", address, size)
            return
        kept = self.memory.read(address, size)
        try:
            yield address
        finally:
            self.memory.write(address, kept)

    def install_guard(self, caller: Tracee) -> None:
        """Put the guard in if it is not; without one the process would not survive our death."""
        if self.guard is not None or self.unguarded is not None:
            return
        self.caller = caller
        try:
            self.guard = Guard.install(self)
        except (ProbeError, OSError) as error:
            self.unguarded = str(error)
        finally:
            self.caller = None

    def open_returns(self, caller: Tracee) -> "Returns":
        """Make the return trampoline if there is none yet; raises CannotMap or ssol's errors."""
        if self.returns is None:
            from uprobes.returns import Returns

            self.returns = Returns(self, self._make_trampoline(caller))
            self.internal[self.returns.trampoline] = self.returns.leave
        return self.returns

    def _make_trampoline(self, caller: Tracee) -> int:
        """Find a place for the breakpoint to which functions return: a slot, best.

        Where no memory can be had, the program's entry serves: nothing calls it. Not beside a
        guard, which would let a thread run on there.
        """
        self.caller = caller
        try:
            address = self.pool.reserve(size=SLOT_SIZE).address
        except (ssol.SsolError, ProbeError):
            entry = program_entry(self.pid)
            mapping = None if entry is None else self.mapping_at(entry)
            if self.guard is not None or entry is None or mapping is None:
                raise
            if not mapping.executable or mapping.writable or mapping.shared:
                raise
            if self.breakpoints.insert_many([entry]):
                raise
            return entry
        finally:
            self.caller = None
        if self.guard is not None:
            self.guard.set_trampoline(address)
            self.guard.set_areas(self.guarded_areas)
        return address

    # -- births and new programs --------------------------------------------------------------

    def owns(self, address: int) -> bool:
        """Tell whether an address lies in memory that we mapped."""
        mine = [*self.areas, *self.installed_mappings()]
        if self.guard is not None:
            mine.append((self.guard.base, self.guard.base + GUARD_SIZE))
        return any(start <= address < end for start, end in mine)

    @property
    def guarded_areas(self) -> list[tuple[int, int]]:
        """Where a thread may be of our doing; what holds programs ends at an odd address."""
        arenas = [area for item in self.installed for area in item.arena.areas]
        return [*self.areas, *((area.start, area.end | 1) for area in arenas)]

    @property
    def every_installed(self) -> "list[Installed]":
        """What was installed and has memory in the process, what was taken out included."""
        return [*self.installed, *self.leftover]

    @property
    def calls(self) -> "CallTables | None":
        """The tables in which programs of returns enter calls, None before there is any."""
        return next((item.calls for item in self.installed if item.calls is not None), None)

    @property
    def every_calls(self) -> "list[CallTables]":
        """Where calls may be under way: the tables that were taken out included."""
        return [item.calls for item in self.every_installed if item.calls is not None]

    def installed_mappings(self) -> Iterator[tuple[int, int]]:
        """Give start and end of what the programs have mapped, those taken out included."""
        for installed in self.every_installed:
            yield from installed.mappings()

    def inherit(self, parent: "Process") -> None:
        """Take over what a copy of the parent's memory holds of ours."""
        self.breakpoints.inherit(parent.breakpoints)
        self.copies = dict(parent.copies)
        self.installed, self.leftover = list(parent.installed), list(parent.leftover)
        self.inherited = parent
        self.no_calls = parent.no_calls

    def follow(self, parent: "Process", tid: int) -> None:
        """Take over for good what a copy of the parent's memory holds of ours, `tid` its thread."""
        copying.follow(self, parent, tid)

    def reset(self) -> list["Probe"]:
        """Start anew after an exec; return the probes that went with the old memory."""
        probes = [probe for point in self.points.values() for probe in point.every]
        self.points.clear()
        self.internal.clear()
        self.copies.clear()
        self._former = []
        self.unwinders.clear()
        self.returns = None
        self.sites.clear()
        self.installed.clear()
        self.leftover.clear()
        self.gave_way.clear()
        self.memory.reopen()
        self.breakpoints.forget()
        self.pool = self._new_pool()
        self.guard = None
        self.unguarded = None
        self._borrowed = None
        self._mappings = None
        return probes

    def abandon(self) -> None:
        """Forget what was undone: the process is about to end. Its pending returns are lost."""
        self.points.clear()
        self.copies.clear()
        self._former.clear()
        self.pool = self._new_pool()
        self.guard = None

    def forget_remains(self) -> None:
        """Start anew after what a dead tracer left was undone, but for areas that are in use."""
        self.copies.clear()
        self.internal.clear()
        self.breakpoints.forget()
        self.returns = None

    def end(self) -> None:
        """Let go of a process that has no threads left."""
        self.ended = True
        self.memory.close()

    # -- end ----------------------------------------------------------------------------------

    def stopped_tracee(self, pid: int | None = None) -> Tracee | None:
        """Return a stopped thread, of any process in this memory or of one, that could make a
        system call: best one that waits for nothing, and one of our own process.

        One that is stopped for a signal would lose it, one at its last stop makes no more calls.
        """
        ready = (State.STOPPED, State.PARKED)
        fit = (t for t in self.threads(pid) if t.state in ready and t.may_call)
        return min(fit, key=self._preference, default=None)

    @property
    def groups(self) -> set[int]:
        """The processes that run in this memory: children of vfork are not in ours."""
        return {tracee.pid for tracee in self.tracees.values()}

    def threads(self, pid: int | None = None) -> list[Tracee]:
        """Return the threads, its own first; or just those of another process in its memory."""
        own = sorted(self.tracees.values(), key=lambda tracee: tracee.pid != self.pid)
        return [tracee for tracee in own if pid in (None, tracee.pid)]

    def _preference(self, tracee: Tracee) -> tuple[bool, bool, int]:
        """Say how well a thread is fit for system calls: signal handlers are a process's own."""
        cause = tracee.stopped_for
        return cause == FOR_SIGNAL, tracee.pid != self.pid, cause
