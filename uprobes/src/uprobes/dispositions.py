"""Answer the program when it sets or asks its handler of SIGTRAP: the guard's stays in.

The C library's system call for that is probed. What the program sets is kept as what the guard
hands on, what it asks for is what it set last: it sees what it would see unprobed, and breakpoints
have a handler that knows them at any moment. After our death the breakpoint there has all others
put back before the program's own call is made.

Not seen are calls that the program makes by itself (`syscall(2)`, its own instruction), and one
that sets a handler for one time only is let through: the guard is out then.
"""

import errno
import os
from typing import TYPE_CHECKING
from weakref import WeakSet

from uprobes import ptrace
from uprobes.errors import NotMapped, ProbeError, TargetGone
from uprobes.guard import layout
from uprobes.guard.action import SIGNAL_SET_SIZE, SIGTRAP
from uprobes.guard.keeper import IGNORE, SA_RESETHAND
from uprobes.hit import Hit
from uprobes.location import Location
from uprobes.probe import Probe, Uprobe

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.guard.keeper import Guard
    from uprobes.process import Process
    from uprobes.tracee import Tracee

LIBRARIES_OF_C = ("libc.so", "libc-", "ld-musl")
MOST_TEXT = 1 << 24
"""More of a program's text than this is not looked through."""
KNOWN_FLAGS = 0xDC00_0807
"""The others are taken away by the kernel (UAPI_SA_FLAGS in kernel/signal.c)."""
UNBLOCKABLE = 1 << 8 | 1 << 18
"""SIGKILL and SIGSTOP, which the kernel takes out of any mask."""
WORD = (1 << 64) - 1


class Dispositions:
    """Watches over the disposition of SIGTRAP in an engine's processes."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.hooks: list[Probe] = []
        """The probes that this needs, those of ended processes included."""
        self._seen: WeakSet[Guard] = WeakSet()
        """The guards of processes that have the probes, or can't have any."""

    def watch(self, process: "Process") -> None:
        """Put the probe in, once, into a process that has a guard."""
        if process.guard is None or process.guard in self._seen:
            return
        # First of all: to arm the probes asks for this very method.
        self._seen.add(process.guard)
        arming = self.engine.arming
        self.hooks = [hook for hook in self.hooks if arming.points_of(hook)]
        if any(point.process is process for h in self.hooks for point in arming.points_of(h)):
            return  # they came with the memory of its parent
        for address in call_sites(process):
            spec = f"va:{address:#x}"
            hook = Uprobe(process.pid, spec, self._called)
            self.hooks.append(hook)
            arming.arm(process, [(hook, Location(address, spec))])

    def forget(self) -> None:
        """Take the probes out: nothing else is probed any more."""
        hooks, self.hooks = self.hooks, []
        self._seen.clear()
        self.engine.arming.disarm(hooks)

    def _called(self, hit: Hit) -> None:
        """Answer a call that is about SIGTRAP; every other one is made as it stands."""
        tracee, process = hit.tracee, hit.tracee.process
        machine, registers = tracee.machine, tracee.registers
        number, action, former, size = (registers[name] for name in machine.call_arguments[:4])
        if (
            registers[machine.call_number] != machine.calls["rt_sigaction"]
            or number & 0xFFFF_FFFF != SIGTRAP
            or size != SIGNAL_SET_SIZE
            or process.guard is None
        ):
            return
        try:
            result = self._answer(tracee, action, former)
        except TargetGone:
            status, tracee.ended = tracee.ended, None
            if status is not None:
                self.engine.on_stop(tracee.tid, status)
            return
        except (ProbeError, OSError):
            return  # it makes the call itself, as it would if we could not see it
        if result is None:
            return
        onward = registers[machine.ip] + len(machine.call_instruction)
        address_in, flags_in = machine.call_changes
        registers[address_in], registers[flags_in] = onward, registers[machine.flags]
        registers[machine.result] = result & WORD
        registers[machine.ip] = onward

    def _answer(self, tracee: "Tracee", action: int, former: int) -> int | None:
        """Return the result of a call, None where the kernel shall have it."""
        process = tracee.process
        guard = process.guard
        assert guard is not None
        before = guard.programs_action
        if action:
            try:
                wanted = tracee.operands.read(action, layout.ACTION_SIZE)
            except NotMapped:
                return -errno.EFAULT
            handler, flags, restorer, mask = layout.ACTION.unpack(wanted)
            # A child of vfork has handlers of its own, and none after its exec: until then it meets
            # our breakpoints.
            own = tracee.pid == process.pid
            if (handler > IGNORE and flags & SA_RESETHAND) or (handler and not own):
                return None
            mask &= ~UNBLOCKABLE
            if own:
                self._set(tracee, layout.ACTION.pack(handler, flags & KNOWN_FLAGS, restorer, mask))
        if former:
            try:
                tracee.operands.write(former, before)
            except NotMapped:
                return -errno.EFAULT
        return 0

    @staticmethod
    def _set(tracee: "Tracee", action: bytes) -> None:
        process = tracee.process
        assert process.guard is not None
        info = ptrace.signal_info(tracee.tid)
        process.caller = tracee
        try:
            process.guard.stand_before(action)
        finally:
            process.caller = None
        # Whoever takes this stop looks at why it came.
        ptrace.set_signal_info(tracee.tid, info)


def call_sites(process: "Process") -> list[int]:
    """Return where the C library of a process, or a program without one, sets handlers."""
    machine = process.machine
    files = [m for m in process.mappings() if m.inode and m.executable and not m.writable]
    texts = [m for m in files if os.path.basename(m.path).startswith(LIBRARIES_OF_C)]
    if not texts:
        try:
            program = os.readlink(f"/proc/{process.pid}/exe")
        except OSError:
            return []
        texts = [m for m in files if m.path == program]
    found = []
    for text in texts:
        try:
            code = process.breakpoints.read(text.start, min(text.end - text.start, MOST_TEXT))
        except ProbeError:
            continue
        at = code.find(machine.action_call)
        while at >= 0:
            end = text.start + at + len(machine.action_call)
            found.append(end - len(machine.call_instruction))
            at = code.find(machine.action_call, at + 1)
    return found
