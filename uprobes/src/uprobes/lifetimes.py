"""Births, new programs and ends: threads, forks, vforks, exec and exit.

Rules:
- a thread, and a child that shares memory until it execs (vfork), belongs to the process whose
  memory it runs in;
- a child with a copy of the memory is cleaned of everything of ours and let go, unless forks are
  followed;
- an exec leaves nothing of ours behind: probes named by symbol are resolved anew, others are gone.
"""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from uprobes import ptrace, waits
from uprobes.calls import lose_calls
from uprobes.errors import ProbeError
from uprobes.inject import check_end
from uprobes.process import Process
from uprobes.ptrace import Event
from uprobes.retiring import retire
from uprobes.sharing import same_memory
from uprobes.tracee import State, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine



class Lifetimes:
    """Keeps the engine's tracees and processes in step with the kernel's."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.on_follow: Callable[[Process, Process], None] = lambda _child, _parent: None
        """What is told of each child that is followed, with its parent."""
        self.on_gone: Callable[[Process], None] = lambda _process: None
        """What is told of each process that has no threads left."""
        self._left: dict[int, int] = {}
        """Wait statuses, as known so far, of processes whose leader is left to its parent."""

    # -- births -------------------------------------------------------------------------------

    def add(self, tid: int, pid: int, process: Process) -> Tracee:
        """Take a thread in."""
        tracee = Tracee(tid, pid, process, process.machine)
        self.engine.tracees[tid] = tracee
        process.tracees[tid] = tracee
        return tracee

    def newborn(self, tid: int) -> Tracee | None:
        """Take in a thread or process that reports its first stop; None when it is not ours to
        keep.

        A forked child that is not followed is cleaned and let go here.
        """
        engine = self.engine
        pid = thread_group(tid)
        if pid is None:
            return None
        for process in engine.processes.values():
            if any(t.pid == pid for t in process.tracees.values()):
                return self.add(tid, pid, process)
        parent = self._parent_of(pid)
        if parent is None:
            with contextlib.suppress(OSError):
                ptrace.call(ptrace.Request.DETACH, tid)
            return None
        if same_memory(parent.pid, pid):
            return self.add(tid, pid, parent)
        return self._forked(tid, pid, parent)

    def _parent_of(self, pid: int) -> Process | None:
        number: int | None = pid
        while number:
            number = parent_number(number)
            for process in self.engine.processes.values():
                if any(t.pid == number for t in process.tracees.values()):
                    return process
        processes = list(self.engine.processes.values())
        return processes[0] if len(processes) == 1 else None

    def _forked(self, tid: int, pid: int, parent: Process) -> Tracee | None:
        """Deal with a child that has a copy of the parent's memory, stopped before its first
        instruction.
        """
        child = Process(pid, parent.machine)
        child.inherit(parent)
        tracee = self.add(tid, pid, child)
        tracee.state = State.STOPPED
        try:
            self._leave_birthplace(tracee, parent)
            self.engine.processes[pid] = child
            if self._follows(pid, parent):
                child.follow(parent, tid)
                self.on_follow(child, parent)
                return tracee
        except (OSError, ProbeError):
            child.inherited = parent  # it has died, or can't be followed: then it is let go
        with contextlib.suppress(OSError, ProbeError):
            retire(self.engine, child)
        tracee.detach()
        self._drop(tracee)
        return None

    def _follows(self, pid: int, parent: Process) -> bool:
        return self.engine.follow_forks and self.engine.may_follow(pid, parent.pid)

    def adopt(self, tid: int) -> Tracee | None:
        """Take in a thread that was unknown until it reported a stop."""
        tracee = self.newborn(tid)
        if tracee is None:
            return None
        tracee.state = State.STOPPED
        if tracee.process.inherited is None:
            self._leave_birthplace(tracee, tracee.process)
        return tracee

    def _leave_birthplace(self, tracee: Tracee, home: Process) -> None:
        """Bring a thread that was born of a system call in a slot, behind the copy, to the original
        code.
        """
        registers = tracee.load()
        plan = home.plan_at(registers[home.machine.ip])
        if plan is not None:
            home.stepper.repair_newborn(plan, registers, tracee.process.memory)
            tracee.flush()

    # -- events -------------------------------------------------------------------------------

    def on_event(self, tracee: Tracee, event: Event) -> None:
        """Take an event stop; the thread goes on afterwards."""
        if event is Event.EXEC:
            self._on_exec(tracee)
        elif event is Event.EXIT:
            self._on_exit(tracee)
        elif event in (Event.FORK, Event.VFORK, Event.CLONE):
            self._await_birth(ptrace.event_message(tracee.tid))
        elif event is Event.VFORK_DONE:
            self._guard(tracee)
        if tracee.state is State.STOPPED and tracee.tid in self.engine.tracees:
            tracee.vforking = event is Event.VFORK
            if tracee.vforking and tracee.step is not None:
                # It can't be stopped until the child lets it go on, perhaps when we have left.
                tracee.load()
                self.engine.signals.give_up_step(tracee)
            self.engine.go_on(tracee)
            if event is Event.EXIT:
                # Nothing is reported any more until it has ended, which may take long: a main
                # thread is said to end when all others have.
                tracee.state = State.GONE

    def _on_exec(self, tracee: Tracee) -> None:
        engine, process = self.engine, tracee.process
        tracee.step = None
        self._left.pop(tracee.pid, None)  # it was the main thread that ended, not the process
        former = ptrace.event_message(tracee.tid)
        if former != tracee.tid:
            ghost = engine.tracees.pop(former, None)
            if ghost is not None:
                ghost.process.tracees.pop(former, None)
                ghost.state = State.GONE
        for other in [
            t for t in process.tracees.values() if t.pid == tracee.pid and t is not tracee
        ]:
            self._drop(other)
        # What is put into the new program needs system calls, which nobody can make inside of one.
        check_end(tracee, ptrace.leave_call(tracee.tid))
        if tracee.pid != process.pid:
            self._exec_of_child(tracee)
            return
        if process.returns is not None:
            process.returns.all_gone(tracee)
        lose_calls(process, tracee)
        engine.sleeping.run_unheld(tracee)
        points = list(process.points.values())
        gone = process.reset()
        engine.arming.leave(points)
        engine.on_exec(process, gone)

    @staticmethod
    def _guard(tracee: Tracee) -> None:
        """Give a process its guard's handler whose only thread waited for its vfork child when the
        guard was put in.
        """
        guard = tracee.process.guard
        if guard is not None and not guard.handles(tracee.pid):
            check_end(tracee, ptrace.leave_call(tracee.tid))
            with contextlib.suppress(OSError, ProbeError):
                tracee.process.reinstate_guard(tracee)

    def _exec_of_child(self, tracee: Tracee) -> None:
        """Part a vfork child from the memory it shared until now."""
        engine = self.engine
        tracee.process.tracees.pop(tracee.tid, None)
        if not self._follows(tracee.pid, tracee.process):
            engine.tracees.pop(tracee.tid, None)
            tracee.detach()
            return
        fresh = Process(tracee.pid, tracee.machine)
        tracee.process = fresh
        fresh.tracees[tracee.tid] = tracee
        engine.processes[tracee.pid] = fresh
        engine.on_exec(fresh, [])

    # -- ends ---------------------------------------------------------------------------------

    def on_end(self, tid: int, tracee: Tracee | None, status: int) -> None:
        """Take the end of a thread or of a whole process."""
        if tracee is not None:
            if tracee.process.returns is not None:
                tracee.process.returns.thread_gone(tracee)
                if len(tracee.process.tracees) == 1:
                    tracee.process.returns.all_gone(tracee)
            self.engine.sleeping.run_unheld(tracee)
            self._drop(tracee)
        if tracee is None or tracee.pid == tid:
            self.engine.on_exit(tid, status)
        else:
            self._left_by(tracee)

    def take_ends(self, process: Process) -> None:
        """Take the ends of threads that were seen while these were made to do something for us, in
        case that whoever wanted it was content with its failure.
        """
        for tracee in list(process.tracees.values()):
            status, tracee.ended = tracee.ended, None
            if status is not None:
                self.engine.on_stop(tracee.tid, status)

    def _on_exit(self, tracee: Tracee) -> None:
        """Take the last stop of a thread that is ending.

        A process that another thread of our own program started is left to that thread, which could
        not wait for it any more if we did: the kernel lets a program reap a child only once.
        """
        if tracee.process.returns is not None:
            tracee.process.returns.thread_gone(tracee)
            self.engine.sleeping.run_unheld(tracee)
        pid, status = tracee.pid, ptrace.event_message(tracee.tid)
        if pid in self._left:
            self._left[pid] = status
        elif pid == tracee.tid and child_of_another_thread(pid):
            self._left[pid] = status
            self._await_newborns(pid)
            tracee.detach()
            self._drop(tracee)
            self._left_by(tracee)

    def without_leader(self, pid: int) -> None:
        """Take in that a process's main thread ended before we came: its last thread tells its
        end.
        """
        self._left[pid] = 0

    def leaves_end(self, tid: int) -> bool:
        """Tell whether the end of a thread is the end of all that is traced, and for its parent.

        Usually such a thread was left at its last stop; one that is killed may not come to that.
        Where others are still traced its end must be taken: it would hide theirs.
        """
        return self.engine.tracees.keys() == {tid} and child_of_another_thread(tid)

    def _await_birth(self, tid: int) -> None:
        """Take in a child while the thread that made it is stopped still.

        Later that one may have returned from functions whose return addresses the child's copy of
        the stack does not hold any more.
        """
        if tid not in self.engine.tracees:
            with contextlib.suppress(OSError):
                self.engine.on_stop(tid, waits.peek_one(tid))

    def _await_newborns(self, pid: int) -> None:
        """Take in the threads of a process that have not reported their first stop yet."""
        with contextlib.suppress(FileNotFoundError):
            for tid in map(int, os.listdir(f"/proc/{pid}/task")):
                self._await_birth(tid)

    def _left_by(self, tracee: Tracee) -> None:
        """Report the end of a process left to another thread, when its last thread has ended."""
        pid = tracee.pid
        if pid in self._left and not any(t.pid == pid for t in tracee.process.tracees.values()):
            if tracee.process.returns is not None and tracee.process.ended:
                # Calls on other stacks than the threads' own might have returned until now.
                tracee.process.returns.all_gone(tracee)
                self.engine.sleeping.run_unheld(tracee)
            self.engine.on_exit(pid, self._left.pop(pid))

    def _drop(self, tracee: Tracee) -> None:
        engine, process = self.engine, tracee.process
        tracee.state = State.GONE
        engine.tracees.pop(tracee.tid, None)
        process.tracees.pop(tracee.tid, None)
        if not process.tracees and engine.processes.get(process.pid) is process:
            lose_calls(process, tracee)
            engine.sleeping.run_unheld(tracee)
            del engine.processes[process.pid]
            engine.arming.leave(process.points.values())
            process.end()
            process.points.clear()
            self.on_gone(process)


def thread_group(tid: int) -> int | None:
    """Return the process number of a thread, None when it is gone."""
    return status_number(tid, "Tgid")


def parent_number(pid: int) -> int | None:
    """Return the number of a process's parent, None when it is gone."""
    return status_number(pid, "PPid")


def child_of_another_thread(pid: int) -> bool:
    """Tell whether a thread of our own program, but not this one, started a process."""
    if parent_number(pid) != os.getpid():
        return False
    try:
        with open(f"/proc/self/task/{threading.get_native_id()}/children") as file:
            return str(pid) not in file.read().split()
    except OSError:
        return False  # a kernel built without PROC_CHILDREN


def status_number(pid: int, key: str) -> int | None:
    """Read one number of /proc/PID/status."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
    except (OSError, ProcessLookupError):
        return None
    return None
