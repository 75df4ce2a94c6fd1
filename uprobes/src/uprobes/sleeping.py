"""Handlers that may sleep: each runs in a thread of its own and holds only the thread that hit.

Rules:
- only the tracing thread may use ptrace: such a handler sees a copy of the registers, and what it
  writes there is taken over when it is done;
- a parked thread stands at the program's own code, and its stop was taken: should we die, it goes
  on from there;
- the thread goes on once, when its handlers are done or when we leave the process, whichever comes
  first; what became of probe, process and tracer meanwhile is looked at then.
"""

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uprobes.errors import TargetGone
from uprobes.hit import Hit
from uprobes.ptrace import WALL
from uprobes.tracee import BREAK_STATUS, CHANGED, Registers, State, Tracee

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.point import ProbePoint
    from uprobes.probe import Probe

Failures = list[tuple["Probe", Exception]]


@dataclass(eq=False, slots=True)
class Parked:
    """One stopped thread whose handlers are still running."""

    tracee: Tracee
    at_probe: bool
    """Whether an instruction is to be executed yet; a function that returned has none."""
    address: int
    buffer: bytearray
    registers: Registers
    deferred: list[tuple[Hit, Callable[[Hit], object]]]


class Sleeping:
    """Parks an engine's threads and lets them go on; all but `_run` in the tracing thread.

    `call` does something in the tracing thread, from any other.
    """

    def __init__(self, engine: "Engine", call: Callable[[Callable[[], None]], None]) -> None:
        self.engine = engine
        self._call = call
        self._workers = Workers("uprobes handler")

    def park(self, tracee: Tracee, point: "ProbePoint | None" = None) -> None:
        """Hold a stopped thread, its registers loaded, until its deferred handlers are done."""
        parked = self._begin(tracee, point)
        words, machine = tracee.words, tracee.machine
        words[tracee.flags_word] |= machine.done_flag  # the guard then knows that it was taken
        tracee.registers.changed = CHANGED
        try:
            tracee.flush()
            if self._take_stop(tracee):
                tracee.state, tracee.parked = State.PARKED, parked
        finally:
            self._workers.start(lambda: self._run(parked))

    def run_unheld(self, tracee: Tracee) -> None:
        """Run the deferred handlers of a thread that can't be held: it ended, or we leave it."""
        if tracee.deferred:
            parked = self._begin(tracee, None)
            self._workers.start(lambda: self._run(parked))

    def unpark(self, tracee: Tracee) -> None:
        """Make a parked thread a stopped one, for whoever is about to let it go on."""
        if tracee.state is State.PARKED:
            tracee.state, tracee.parked, tracee.pending = State.STOPPED, None, None

    def close(self) -> None:
        """Let the threads end that run no handler now, the others when theirs is done."""
        self._workers.close()

    def _begin(self, tracee: Tracee, point: "ProbePoint | None") -> Parked:
        buffer = bytearray(tracee.buffer)
        registers = Registers(tracee.machine, memoryview(buffer).cast("Q"))
        deferred, tracee.deferred = tracee.deferred, []
        for hit, _ in deferred:
            hit.work_on(registers)
        address = tracee.words[tracee.ip_word]
        return Parked(tracee, point is not None, address, buffer, registers, deferred)

    def _take_stop(self, tracee: Tracee) -> bool:
        """Take the stop that was only looked at; False when the thread was killed meanwhile."""
        taken, status = os.waitpid(tracee.tid, WALL | os.WNOHANG)
        if not taken:
            tracee.peek(tracee.machine.ip)  # raises when it is not stopped any more
        elif status != BREAK_STATUS:
            self.engine.on_stop(tracee.tid, status)
            return False
        return True

    def _run(self, parked: Parked) -> None:
        """Run what was deferred, one after the other, in a thread of its own."""
        failures: Failures = []
        for hit, work in parked.deferred:
            try:
                work(hit)
            except Exception as error:
                failures.append((hit.probe, error))
            except BaseException as error:  # one that would end our thread, and hold theirs
                failures.append((hit.probe, RuntimeError(f"the handler raised {error!r}")))
        try:
            self._call(lambda: self._end(parked, failures))
        except TargetGone:
            self._report(failures)

    def _report(self, failures: Failures) -> None:
        for probe, error in failures:
            self.engine.failed(probe, error)

    def _end(self, parked: Parked, failures: Failures) -> None:
        """Let a thread go on whose handlers are done, if it still waits for that."""
        tracee = parked.tracee
        self._report(failures)
        if tracee.parked is not parked or tracee.state is not State.PARKED:
            return
        self.unpark(tracee)
        tracee.buffer[:] = parked.buffer
        tracee.registers.changed = CHANGED
        process = tracee.process
        point = process.points.get(parked.address) if parked.at_probe else None
        with contextlib.suppress(ProcessLookupError, TargetGone):  # killed: its end is reported
            if point is None:
                tracee.resume()
            else:
                self.engine.execute(tracee, point, point.plan or process.plan(point, tracee))


class Workers:
    """As many threads as there is work at the same time; those that are done wait for more."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0
        self._threads = 0
        self._closed = False

    def start(self, work: Callable[[], None]) -> None:
        """Run something at once, in a thread that runs nothing else meanwhile."""
        with self._lock:
            if self._free:
                self._free -= 1
            else:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
            self._work.put(work)

    def close(self) -> None:
        """End each thread as soon as it is free."""
        with self._lock:
            self._closed = True
            for _ in range(self._free):
                self._work.put(None)
            self._free = 0

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            with self._lock:
                if self._closed:
                    return
                self._free += 1
