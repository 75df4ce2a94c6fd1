"""One traced target from attach or spawn to its end: the tracing thread, the run, the detach."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from uprobes import attaching
from uprobes.engine import Engine
from uprobes.errors import ProbeError, TargetGone
from uprobes.guard.rescue import Remains, find_guard
from uprobes.machine import machine_of_host
from uprobes.memory import ProcessMemory
from uprobes.patch.adopting import adopt_installed
from uprobes.patch.installed import Installed
from uprobes.policies import Policy, Request, ask, policy_of_environment
from uprobes.probe import Probe
from uprobes.process import Process
from uprobes.sharing import take_in_sharing
from uprobes.tracee import State
from uprobes.tracer import Tracer


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: `code` if it exited, `signal` if one killed it."""

    code: int | None
    signal: int | None


class Session:
    """A traced process and the thread that traces it; `Target` adds the probes.

    `policy` is asked before anything is attached, started, registered or followed, and refuses by
    raising or by giving False; so is the one that the environment names (`policies`).
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.machine = machine_of_host()
        self.pid = 0
        self.command: tuple[str, ...] = ()
        self.exit_status: ExitStatus | None = None
        self.detached = False
        self.remains: Remains | None = None
        """What a dead tracer had left in the process; it was undone when we attached."""
        self._policies = [policy, policy_of_environment()]
        self._wake = threading.Event()
        self._stopping = False
        self._held = False
        self._begin: Callable[[], object] = lambda: None
        self._tracer = Tracer(self._trace, "uprobes tracer")
        self._engine = Engine(
            self.machine,
            self._tracer.obey,
            self._tracer.commands,
            self._failed,
            self._exited,
            self._execed,
            self._tracer.call,
        )
        self._engine.may_follow = self._may_follow

    # -- beginning ----------------------------------------------------------------------------

    def attach(self, pid: int, *, follow_forks: bool = False) -> Self:
        """Become the tracer of a running process; none of its threads is stopped for that."""
        attaching.check_target(pid)
        self._ask(Request("attach", pid))
        self.pid = pid
        self._engine.follow_forks = follow_forks
        self._start(lambda: self._take_in(attaching.seize_all(pid)))
        return self

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        follow_forks: bool = False,
    ) -> Self:
        """Start a command, stopped before its first instruction until `run`; SpawnFailed."""
        self.command = tuple(argv)
        self._ask(Request("spawn", os.getpid(), self.command))
        self._engine.follow_forks = follow_forks

        def begin() -> None:
            self.pid = attaching.start(argv, env)
            self._take_in([self.pid])
            self._engine.tracees[self.pid].state = State.STOPPED
            self._held = True
            self._begin_program(self._process(), [])

        self._start(begin)
        return self

    def _start(self, begin: Callable[[], object]) -> None:
        failure: list[BaseException] = []
        ready = threading.Event()

        def guarded() -> None:
            try:
                begin()
            except BaseException as error:
                failure.append(error)
                self._engine.finished = True
            finally:
                ready.set()

        self._begin = guarded
        self._tracer.start()
        ready.wait()
        if failure:
            self._tracer.thread.join()
            raise failure[0]

    def _trace(self) -> None:
        self._begin()
        try:
            if not self._engine.finished:
                self._engine.run()
        finally:
            self._engine.placement.close()
            self._engine.sleeping.close()
            self._engine.holding.close()
            self._wake.set()

    def _take_in(self, tids: list[int]) -> None:
        process = Process(self.pid, self.machine)
        self._engine.processes[self.pid] = process
        for tid in tids:
            self._engine.lifetimes.add(tid, self.pid, process)
        if self.pid not in tids:
            self._engine.lifetimes.without_leader(self.pid)
        take_in_sharing(self._engine, process)
        base = find_guard(self.pid, process.memory)
        if base is not None:
            self.remains = self._engine.leaving.clean_up(process, base)
        self._engine.leaving.undo_unfinished(process)
        installer = self._engine.installer
        for installed in adopt_installed(process):
            if not installed.stays:
                installer.remove(process, installed)
            self._bind(installed)

    def _ask(self, request: Request) -> None:
        for policy in self._policies:
            ask(policy, request)

    def _may_follow(self, pid: int, parent: int) -> bool:
        """Tell whether a child may be followed; one that may not is let go, clean."""
        try:
            self._ask(Request("follow", pid, parent=parent))
        except ProbeError:
            return False
        return True

    # -- running ------------------------------------------------------------------------------

    def run(self, timeout: float | None = None) -> ExitStatus | None:
        """Let the target run until it ends, `stop` is called or `timeout` seconds are over.

        Return how it ended, None while it still runs. Raises what broke the tracing thread.
        """
        if self._held:
            self._held = False
            holding = self._engine.holding
            self._quietly(lambda: holding.release(list(self._engine.tracees.values())))
        self._wake.wait(timeout)
        if self.exit_status is None and not self._stopping and self._tracer.ended.is_set():
            self._raise_failure()
        if self._stopping:
            self._stopping = False
            if not self._tracer.ended.is_set():
                self._wake.clear()
        return self.exit_status

    def stop(self) -> None:
        """Make `run` return; hits are still taken until `detach`."""
        self._stopping = True
        self._wake.set()

    def _raise_failure(self) -> None:
        failure = self._tracer.failure
        if failure is not None:
            raise ProbeError(f"tracing broke: {failure!r}", code="internal") from failure

    def _quietly(self, work: Callable[[], object]) -> None:
        """Do something in the tracing thread that is not worth doing when the target is gone."""
        try:
            self._tracer.call(work)
        except TargetGone:
            self._raise_failure()

    def detach(self) -> None:
        """Take every probe out and let the target run on as if we had never been there."""
        if not self.detached:
            self.detached = True
            self._held = False
            self._quietly(self._engine.leaving.let_go)
        # A handler, or another thread, may have begun it: whoever comes next waits for its end.
        if not self.in_handler:
            self._tracer.thread.join()
        self._wake.set()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the target a signal, by default the one that ends it."""
        os.kill(self.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    # -- looking ------------------------------------------------------------------------------

    @property
    def memory(self) -> ProcessMemory:
        """The target's memory."""
        return self._process().memory

    def read(self, address: int, size: int) -> bytes:
        """Read the target's memory as it is without our breakpoints."""
        return self._process().breakpoints.read(address, size)

    @property
    def in_handler(self) -> bool:
        """Whether the caller runs in the tracing thread, as handlers do."""
        return self._tracer.here

    @property
    def threads(self) -> tuple[int, ...]:
        """The numbers of the threads that are traced now."""
        return tuple(self._engine.tracees)

    @property
    def processes(self) -> tuple[int, ...]:
        """The numbers of the processes that are traced now."""
        return tuple(self._engine.processes)

    def _process(self) -> Process:
        process = self._engine.processes.get(self.pid)
        if process is None:
            raise TargetGone(f"process {self.pid} has ended, or was detached")
        return process

    def _bind(self, installed: Installed) -> Installed:
        """Let what is installed be removed from, or stay in, every process that has it."""
        installer = self._engine.installer

        def everywhere(what: Callable[[Process, Installed], object]) -> None:
            def work() -> None:
                for process in list(self._engine.processes.values()):
                    with contextlib.suppress(TargetGone):  # the others have it still
                        what(process, installed)

            self._quietly(work)

        return installed.bind(
            partial(everywhere, installer.remove), partial(everywhere, installer.stay)
        )

    # -- what the engine reports (in the tracing thread) --------------------------------------

    def _failed(self, probe: Probe, error: Exception) -> None:
        """Take what a handler raised."""
        raise NotImplementedError

    def _begin_program(self, process: Process, lost: list[Probe]) -> None:
        """Put probes into a program that has not begun yet; `lost` are those of the one before."""
        raise NotImplementedError

    def _execed(self, process: Process, lost: list[Probe]) -> None:
        """Take a process that became another program, with the probes it lost by that."""
        raise NotImplementedError

    def _exited(self, pid: int, status: int) -> None:
        if pid == self.pid:
            if os.WIFSIGNALED(status):
                self.exit_status = ExitStatus(None, os.WTERMSIG(status))
            else:
                self.exit_status = ExitStatus(os.WEXITSTATUS(status), None)
            if not self._engine.tracees:
                self._wake.set()
