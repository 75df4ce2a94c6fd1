"""Hold threads: all of them for a step in place, or to leave them for good.

Rules:
- what a thread reports while it is being held is kept in `Tracee.pending` until it is released;
- stops for a signal are only looked at meanwhile: the loop finds them afterwards, and should we be
  killed before, the signal is still there.
"""

import contextlib
import errno
import functools
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from uprobes import lifetimes, ptrace, waits
from uprobes.alarm import Alarm
from uprobes.errors import NotMapped
from uprobes.ptrace import Event, Request, TrapCode
from uprobes.signals import trap_waits
from uprobes.tracee import BREAK_STATUS, State, Tracee
from uprobes.tracer import BELL

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process

AT_REST = frozenset({State.STOPPED, State.PARKED, State.GONE})
"""What a thread does that needs no asking to stop."""
LOOK_AROUND_S = 0.02
"""How long a thread that was asked to stop is waited for without a look at the others."""
ATTEND_S = 0.0005
"""How often it is looked for signals while we wait for threads to go on."""
LOOKS = 25
"""After so many of these looks a thread that does not come to its next instruction is given up."""
TRIES = 100
"""How often a thread is asked to stop that stops for signals instead."""
BIRTHS = frozenset({Event.CLONE, Event.FORK, Event.VFORK})


class Holding:
    """Stops and releases an engine's threads."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._alarm = Alarm(BELL, LOOK_AROUND_S)

    def close(self) -> None:
        """Give back what it holds; called in the tracing thread when it is done."""
        self._alarm.close()

    def quiesce(self, tracees: Iterable[Tracee]) -> list[Tracee]:
        """Stop all of these threads, and those that they give birth to meanwhile; return all.

        What they report instead of stopping for us is kept for `release`.
        """
        held = list(tracees)
        waiting = set()
        for tracee in held:
            if tracee is self.engine.current:
                tracee.state, tracee.pending = State.STOPPED, BREAK_STATUS
                tracee.remember()
            elif tracee.state not in AT_REST and not tracee.vforking:
                # Asked to stop when it stands already, it would stop again as soon as it goes on.
                if not waits.stands(tracee.tid):
                    tracee.interrupt()
                tracee.interrupted = True
                waiting.add(tracee.tid)
        with self._alarm.ringing() if waiting else contextlib.nullcontext():
            self._await_stops(waiting, held)
        return held

    def step(self, tracee: Tracee) -> bool:
        """Let a held thread that reported nothing execute one instruction; tell whether it has.

        One that waits for other threads (for memory that they give it, say) is called back. The
        caller follows with `stop_again`.
        """
        looks = 0

        def look_around() -> None:
            nonlocal looks
            looks += 1
            if looks >= LOOKS:
                tracee.interrupt()
            self._let_end(tracee.tid)

        tracee.pending = None
        try:
            ptrace.call(Request.SINGLESTEP, tracee.tid)
            with self._alarm.ringing():
                status = waits.peek_one(tracee.tid, meanwhile=look_around)
                if status >> 16 == Event.STOP and trap_waits(tracee.tid):
                    # The step is done: what we called it back for, or its program, came first.
                    ptrace.call(Request.CONT, tracee.tid)
                    status = waits.peek_one(tracee.tid, meanwhile=look_around)
        except OSError:
            return False  # it ended, and that was seen already
        if not os.WIFSTOPPED(status) or status >> 16 == Event.EXIT:
            self.engine.on_stop(tracee.tid, status)
            return False
        if status == BREAK_STATUS and ptrace.signal_code(tracee.tid) == TrapCode.TRACE:
            return True
        tracee.pending = status
        return False

    def stop_again(self, tracee: Tracee, held: list[Tracee]) -> None:
        """Make a held thread that was stepped stop as one that reports nothing, where it stands."""
        if tracee.state is not State.STOPPED or tracee.pending is not None:
            return
        tracee.interrupt()
        with contextlib.suppress(ProcessLookupError):
            ptrace.call(Request.CONT, tracee.tid)
        with self._alarm.ringing():
            self._await_stops({tracee.tid}, held)

    def attend(self, process: "Process", seconds: float) -> None:
        """Wait a while, and let the threads of a process have the signals that come meanwhile.

        A trap is left to the loop: handlers may run only there.
        """
        end = time.monotonic() + seconds
        while True:
            for tracee in list(process.tracees.values()):
                if tracee.state in (State.RUNNING, State.STEPPING) and not tracee.vforking:
                    self._attend_one(tracee.tid)
            rest = end - time.monotonic()
            if rest <= 0:
                return
            time.sleep(min(rest, ATTEND_S))

    def _attend_one(self, tid: int) -> None:
        report = waits.report_of(tid)
        if report is None or report == (waits.CLD_TRAPPED, signal.SIGTRAP):
            return
        leave_end = report[0] in waits.ENDS and self.engine.lifetimes.leaves_end(tid)
        with contextlib.suppress(ProcessLookupError):
            self.engine.on_stop(tid, waits.take(tid, *report, leave_end=leave_end))

    def _await_stops(self, waiting: set[int], held: list[Tracee]) -> None:
        """Wait for the stops of threads that were asked; whom they gave birth to joins them."""
        while waiting:
            tid = waiting.pop()
            try:
                leave_end = self.engine.lifetimes.leaves_end(tid)
                status = waits.peek_one(
                    tid, leave_end=leave_end, meanwhile=functools.partial(self._let_end, tid)
                )
            except OSError:
                continue  # it ended, and that was seen already
            if not os.WIFSTOPPED(status) or status >> 16 == Event.EXIT:
                known = set(self.engine.tracees)
                self.engine.on_stop(tid, status)
                waiting -= known - self.engine.tracees.keys()  # not those who are just being born
                continue
            stopped = self.engine.tracees.get(tid)
            if stopped is None and (stopped := self.engine.lifetimes.adopt(tid)) is not None:
                held.append(stopped)
            if stopped is not None:
                stopped.state = State.STOPPED
                stopped.pending = status
                if status >> 16 in BIRTHS:
                    child = ptrace.event_message(tid)
                    if (
                        child not in self.engine.tracees
                        and lifetimes.thread_group(child) is not None
                    ):
                        waiting.add(child)

    def _let_end(self, waiting_for: int) -> None:
        """Let threads end that were killed while we hold them: somebody may be waiting for that.

        A thread in execve kills all others and waits for their ends (de_thread in fs/exec.c), one
        that dumps core for their last stops (fs/coredump.c); neither stops before.
        """
        waited = self.engine.tracees.get(waiting_for)
        for tracee in list(waited.process.tracees.values()) if waited else ():
            if tracee is waited or (end := waits.ending(tracee.tid)) is None:
                continue
            tracee.pending = None
            with contextlib.suppress(ProcessLookupError):
                self.engine.on_stop(tracee.tid, waits.take(tracee.tid, *end))

    @contextlib.contextmanager
    def held(self, process: "Process") -> Iterator[list[Tracee]]:
        """Keep all threads of a process stopped for a while; those that were stay so."""
        stopped = {t.tid for t in process.tracees.values() if t.state is State.STOPPED}
        held = self.quiesce(list(process.tracees.values()))
        try:
            yield held
        finally:
            self.release([tracee for tracee in held if tracee.tid not in stopped])

    def install_guard(self, process: "Process") -> None:
        """Put the guard in if there is none: with a handler for each process in that memory."""
        if process.guard is not None or process.unguarded is not None:
            return
        self.with_one(process, process.install_guard)
        for pid in process.groups:
            if process.guard is not None and not process.guard.handles(pid):
                self.with_one(process, process.reinstate_guard, pid)

    def with_one(
        self, process: "Process", work: Callable[[Tracee], object], pid: int | None = None
    ) -> None:
        """Do something with one stopped thread of a process, or just of `pid` in its memory; it
        goes on afterwards if it was running.

        Nothing is done when no thread can be stopped.
        """
        ready = process.stopped_tracee(pid)
        current = self.engine.current
        if current is not None and current.process is process and pid in (None, current.pid):
            ready = current
        if ready is not None:
            work(ready)
            return
        for _ in range(TRIES):
            for tracee in process.threads(pid):
                held = self.quiesce([tracee])
                status = tracee.pending if tracee.state is State.STOPPED else None
                event = None if status is None else status >> 16
                fit = event == Event.STOP
                try:
                    if fit:
                        work(tracee)
                finally:
                    self.release(held)
                if fit:
                    return
                if status is not None and not event and self.engine.current is None:
                    # A signal's own stop, which no system call of ours may use up.
                    self.engine.on_stop(tracee.tid, status)

    def release(self, tracees: Iterable[Tracee]) -> None:
        """Let threads that were held go on, each with what it had reported."""
        for tracee in list(tracees):
            if tracee is self.engine.current and tracee.state is State.STOPPED:
                # Whoever took its stop lets it go.
                tracee.state, tracee.pending = State.RUNNING, None
            elif tracee.state is State.STOPPED and tracee.tid in self.engine.tracees:
                status = tracee.pending
                if status is None:
                    self.engine.go_on(tracee)
                elif status >> 16:
                    tracee.pending = None
                    self.engine.on_stop(tracee.tid, status)
                else:
                    # Its stop was only looked at: the loop finds it there.
                    tracee.state, tracee.pending = State.RUNNING, None

    def reclaim(self, process: "Process", present: Tracee) -> None:
        """Make the slots of removed probes usable again in which no thread is.

        `present` is stopped and its registers are loaded. Saved signal contexts and return
        addresses need no look: signals are delivered outside of slots, and copies push originals.
        """
        others = self.quiesce([t for t in process.tracees.values() if t is not present])
        busy = {present.registers[process.machine.ip]}
        try:
            for tracee in others:
                if tracee.state is State.STOPPED:
                    busy.add(tracee.load()[process.machine.ip])
                elif tracee.step is not None and tracee.step.plan.copy is not None:
                    busy.add(tracee.step.plan.copy.address)
            process.reclaim(busy)
        except NotMapped:
            return  # the program took the slots away
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        finally:
            self.release(others)
