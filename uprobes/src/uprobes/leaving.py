"""Take a process over from a dead tracer, and leave one for good: all threads run on without us."""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from uprobes import ptrace, waits
from uprobes.errors import ProbeError, TargetGone
from uprobes.guard.keeper import AREA
from uprobes.guard.rescue import Remains, adopt, unfinished_guards
from uprobes.patch.removing import unmap_leftover
from uprobes.patch.shared import left_open
from uprobes.ptrace import ALL_SIGNALS, WALL, Event, Request
from uprobes.retiring import end_steps, retire
from uprobes.status import signal_sets
from uprobes.tracee import BREAK_STATUS, CALL_STOP, FOR_SIGNAL, State, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process

LONGEST_HANDLER = 1_000_000
"""More instructions than the guard's handler ever executes."""


class Leaving:
    """Ends what a tracer does in the processes of an engine, this one or one before it."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine

    def clean_up(self, process: "Process", base: int) -> Remains:
        """Undo what a dead tracer left in a process that we have just attached to."""
        held = self.engine.holding.quiesce(process.tracees.values())
        for tracee in held:
            self._leave_guard(tracee, base)
        remains = adopt(process, base)
        retire(self.engine, process)
        process.forget_remains()
        self.engine.holding.release(held)
        return remains

    def undo_unfinished(self, process: "Process") -> None:
        """Unmap guards and close descriptors that a tracer did not live to make use of."""

        def undo(tracee: Tracee) -> None:
            process.caller = tracee
            try:
                for start in unfinished:
                    process.call("munmap", start, AREA)
                for number in opened:
                    process.call("close", number)
            except (OSError, ProbeError):
                return
            finally:
                process.caller = None

        unfinished = unfinished_guards(process.pid, process.memory)
        opened = left_open(process.pid)
        if unfinished or opened:
            self.engine.holding.with_one(process, undo)

    def _leave_guard(self, tracee: Tracee, base: int) -> None:
        """Step a thread that is in the guard's handler until it is out.

        SIGTRAP is blocked in there, and a step with it blocked makes the kernel forget the handler
        (force_sig_info in kernel/signal.c); the return from the handler blocks again what was.
        """
        if tracee.state is not State.STOPPED or tracee.pending is None:
            return
        tid, machine, status = tracee.tid, tracee.machine, tracee.pending
        restorer = machine.assemble_guard(base).restorer
        mask, ip = None, 0
        for _ in range(LONGEST_HANDLER):
            before, ip = ip, tracee.load()[machine.ip]
            if not base <= ip < base + AREA:
                if mask is not None:
                    if before < restorer:
                        ptrace.set_signal_mask(tid, mask)  # on to the program's own handler
                    end_steps(tracee)
                return
            if mask is None:
                if not status >> 16 and status != BREAK_STATUS:
                    # Its signal comes again when the handler is left.
                    ptrace.send_again(tracee.pid, tid, ptrace.signal_info(tid))
                mask = ptrace.signal_mask(tid)
                ptrace.set_signal_mask(tid, ALL_SIGNALS & ~(1 << (signal.SIGTRAP - 1)))
            ptrace.call(Request.SINGLESTEP, tid)
            _, status = os.waitpid(tid, WALL)
            if not os.WIFSTOPPED(status):
                self.engine.on_stop(tid, status)
                return

    def _took_signal(self, tracee: Tracee) -> bool:
        """Let a thread have the signal for which it stopped before it could stop for us.

        A system call that it made for us at such a stop would take the signal from it.
        """
        status = tracee.pending
        if tracee.state is not State.STOPPED or status is None or status >> 16:
            return False
        tracee.pending = None
        self.engine.on_stop(tracee.tid, status)
        return tracee.tid in self.engine.tracees

    def _settle(self, tracee: Tracee) -> None:
        """Let a thread report the breakpoint that it has hit, if it stopped for us first.

        The trap is pending then, and would end a program that has no breakpoint any more.
        """
        while tracee.state is State.STOPPED and (tracee.pending or 0) >> 16 == Event.STOP:
            if not signal_sets(tracee.tid).get("SigPnd", 0) >> (signal.SIGTRAP - 1) & 1:
                return
            ptrace.call(Request.CONT, tracee.tid)
            tracee.pending = waits.peek_one(tracee.tid)
            if not os.WIFSTOPPED(tracee.pending):
                self.engine.on_stop(tracee.tid, tracee.pending)

    def free_caller(self, process: "Process") -> None:
        """See to it that a held thread can make system calls without losing a signal."""
        while (tracee := process.stopped_tracee()) and tracee.stopped_for == FOR_SIGNAL:
            if tracee.pending == BREAK_STATUS or not self._took_signal(tracee):
                return
            for held in self.engine.holding.quiesce([tracee]):
                self._settle(held)

    def let_go(self) -> None:
        """Leave every process and let all threads run on without us; the loop ends."""
        try:
            self._for_each(self._remove_programs)
            for tracee in self.engine.holding.quiesce(list(self.engine.tracees.values())):
                self.engine.sleeping.unpark(tracee)
                self._settle(tracee)
            self._for_each(self.free_caller)
            self._for_each(lambda process: retire(self.engine, process))
            for tracee in list(self.engine.tracees.values()):
                self._release(tracee)
            self.engine.tracees.clear()
            for process in list(self.engine.processes.values()):
                process.end()
            self.engine.processes.clear()
        finally:
            self.engine.finished = True

    def _for_each(self, work: Callable[["Process"], object]) -> None:
        """Do something with every process, whether one of them ends meanwhile or not."""
        for process in list(self.engine.processes.values()):
            with contextlib.suppress(TargetGone):
                work(process)

    def _remove_programs(self, process: "Process") -> None:
        for installed in list(process.installed):
            if not installed.stays:
                self.engine.installer.remove(process, installed)
        unmap_leftover(self.engine, process)

    def _release(self, tracee: Tracee) -> None:
        if tracee is not self.engine.current:
            self.engine.sleeping.run_unheld(tracee)
        status = tracee.pending or 0
        number = 0 if status >> 16 else os.WSTOPSIG(status)
        with contextlib.suppress(OSError):
            self.engine.signals.leave_call(tracee, status)
        tracee.detach(0 if number == CALL_STOP else number)
