"""A process under probes: what users hold. Works from any thread; handlers run in the tracing thread."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from insn import InsnError, Method, Verdict
from uprobes import attaching
from uprobes.engine import Engine
from uprobes.errors import AlreadyRegistered, NotPermitted, ProbeError, TargetGone
from uprobes.hit import Hit
from uprobes.location import Location, Resolution, Resolver
from uprobes.machine import machine_of_host
from uprobes.memory import ProcessMemory
from uprobes.predicate import compile_condition
from uprobes.probe import Handler, Probe, ProbeState, Uprobe, Uretprobe
from uprobes.process import Process
from uprobes.tracee import State
from uprobes.tracer import Tracer

F = TypeVar("F", bound=Callable[..., object])
Condition = Callable[[Hit], object] | str
Policy = Callable[["Request"], object]

log = logging.getLogger("uprobes")


@dataclass(frozen=True, slots=True)
class Request:
    """What a policy is asked to allow: `what` is `attach`, `spawn` or `register`."""

    what: str
    pid: int
    command: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: `code` if it exited, `signal` if one killed it."""

    code: int | None
    signal: int | None


@dataclass(slots=True)
class Registration:
    """What came of registering: probes that are in, refused ones with their errors, specs that wait for their object."""

    target: "Target"
    probes: list[Probe] = field(default_factory=list)
    refused: list[ProbeError] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)

    def unregister(self) -> None:
        """Take all of its probes out, and stop waiting for the pending ones."""
        self.target.unregister(self.probes)
        self.target.forget_pending(self)


@dataclass(frozen=True, slots=True)
class _Pending:
    spec: str
    make: Callable[[Location], Probe]
    registration: Registration


class Target:
    """A traced process and its probes; `attach` and `spawn` make one.

    `policy` is asked before anything is attached or registered and refuses by raising or by giving False.
    """

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        self.machine = machine_of_host()
        self.pid = 0
        self.command: tuple[str, ...] = ()
        self.exit_status: ExitStatus | None = None
        self.probes: list[Probe] = []
        self.failures: list[tuple[Probe, Exception]] = []
        """What handlers raised; a probe whose handler raised is disarmed."""
        self.detached = False
        self._resolver = resolver
        self._policy = policy
        self._pending: list[_Pending] = []
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._begin: Callable[[], object] = lambda: None
        self._held = False
        self._linker: Uprobe | None = None
        self._tracer = Tracer(self._trace, "uprobes tracer")
        self._engine = Engine(
            self._tracer.obey, self._tracer.commands, self._failed, self._exited, self._execed
        )

    # -- beginning ------------------------------------------------------------------------------

    def attach(self, pid: int, *, follow_forks: bool = False) -> Self:
        """Become the tracer of a running process; none of its threads is stopped for that."""
        attaching.check_target(pid)
        self._ask(Request("attach", pid))
        self.pid = pid
        self._engine.follow_forks = follow_forks
        self._start(lambda: self._take_in(attaching.seize_all(pid)))
        return self

    def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, follow_forks: bool = False
    ) -> Self:
        """Start a command, stopped before its first instruction until `run`; raises SpawnFailed."""
        self.command = tuple(argv)
        self._ask(Request("spawn", os.getpid(), self.command))
        self._engine.follow_forks = follow_forks

        def begin() -> None:
            self.pid = attaching.start(argv, self.machine, env)
            self._take_in([self.pid])
            self._engine.tracees[self.pid].state = State.STOPPED
            self._held = True
            self._watch_linker()

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
            self._wake.set()

    def _take_in(self, tids: list[int]) -> None:
        process = Process(self.pid, self.machine)
        status = attaching.read_status(self.pid)
        if status.seccomp:
            process.no_calls = "the process runs under seccomp, which may forbid the system calls that we need"
        self._engine.processes[self.pid] = process
        for tid in tids:
            self._engine.lifetimes.add(tid, self.pid, process)

    def _ask(self, request: Request) -> None:
        if self._policy is not None and self._policy(request) is False:
            raise NotPermitted(
                f"the policy does not allow to {request.what} process {request.pid}", code="policy",
                hint="ask whoever set it",
            )

    # -- running --------------------------------------------------------------------------------

    def run(self, timeout: float | None = None) -> ExitStatus | None:
        """Let the target run until it ends, `stop` is called or `timeout` seconds are over.

        Return how it ended, None while it still runs. Raises what broke the tracing thread.
        """
        self._release()
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

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._quietly(lambda: self._engine.release(list(self._engine.tracees.values())))

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            self._tracer.call(work)
        except TargetGone:
            if self._tracer.failure is not None:
                self._raise_failure()

    def detach(self) -> None:
        """Take every probe out and let the target run on as if we had never been there; idempotent."""
        if self.detached:
            return
        self.detached = True
        self._held = False
        self._quietly(self._engine.let_go)
        self._tracer.thread.join()
        for probe in self.probes:
            if probe.registered:
                probe.state = ProbeState.GONE
        self._wake.set()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the target a signal, by default the one that ends it."""
        os.kill(self.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

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

    @property
    def pending(self) -> tuple[str, ...]:
        """The specs that wait for their object to be mapped."""
        return tuple(item.spec for item in self._pending)

    def _process(self) -> Process:
        process = self._engine.processes.get(self.pid)
        if process is None:
            raise TargetGone(f"process {self.pid} has ended, or was detached")
        return process

    # -- probes ---------------------------------------------------------------------------------

    def uprobe(
        self, spec: str | int, handler: Handler | None = None, *, where: Condition | None = None,
        method: Method | str | None = None, forbid: Collection[Method | str] = (),
    ) -> Any:
        """Probe what a spec names; with a handler return the Registration, without one a decorator for it.

        Raises ProbeError when nothing could be registered and nothing is pending.
        """
        return self._sugar(
            spec, handler, returns=False, where=where, save=None, method=method, forbid=forbid
        )

    def uretprobe(
        self, spec: str | int, handler: Handler | None = None, *, save: Callable[[Hit], object] | None = None,
        where: Condition | None = None, method: Method | str | None = None,
        forbid: Collection[Method | str] = (),
    ) -> Any:
        """Probe the returns of the functions a spec names; as `uprobe`, and `save` runs at each entry."""
        return self._sugar(
            spec, handler, returns=True, where=where, save=save, method=method, forbid=forbid
        )

    def _sugar(self, spec: str | int, handler: Handler | None, **options: Any) -> Any:
        def put(handler: F) -> F:
            self._register_strictly(spec, handler, options)
            return handler

        if handler is None:
            return put
        return self._register_strictly(spec, handler, options)

    def _register_strictly(
        self, spec: str | int, handler: Handler, options: dict[str, Any]
    ) -> Registration:
        text = spec if isinstance(spec, str) else f"va:{spec:#x}"
        registration = self.register([text], handler, **options)
        if not registration.probes and not registration.pending and registration.refused:
            raise registration.refused[0]
        return registration

    def register(
        self, specs: str | Iterable[str], handler: Handler | None = None, *, returns: bool = False,
        where: Condition | None = None, save: Callable[[Hit], object] | None = None,
        method: Method | str | None = None, forbid: Collection[Method | str] = (),
    ) -> Registration:
        """Register probes on everything that the specs name, in one go.

        Without a handler hits are counted. What is refused is in the result, never raised; a spec whose object is
        not mapped yet is pending and armed when it is.
        """
        condition = self._condition(where)

        def make(location: Location) -> Probe:
            if returns:
                probe: Probe = Uretprobe(
                    self.pid, location.spec, handler, save=save, where=condition, method=method, forbid=forbid
                )
            else:
                probe = Uprobe(
                    self.pid, location.spec, handler, where=condition, method=method, forbid=forbid
                )
            probe.location = location
            return probe

        registration = Registration(self)
        wanted: list[tuple[Probe, Location]] = []
        for spec in [specs] if isinstance(specs, str) else specs:
            try:
                resolution = self._resolve(spec)
            except ProbeError as error:
                registration.refused.append(error)
                continue
            registration.refused += resolution.refused
            if resolution.pending:
                registration.pending.append(spec)
                self._pending.append(_Pending(spec, make, registration))
            wanted += [(make(location), location) for location in resolution.locations]
        self._arm(registration, wanted)
        return registration

    def register_probes(self, probes: Iterable[Probe]) -> Registration:
        """Register probe objects; each may have been registered before, none may be now.

        Raises AlreadyRegistered; an object whose place can't be probed is refused in the result.
        """
        registration = Registration(self)
        wanted: list[tuple[Probe, Location]] = []
        for probe in probes:
            if probe.registered:
                raise AlreadyRegistered(
                    "the probe object is registered", spec=probe.spec, hint="unregister it first"
                )
            try:
                resolution = self._resolve(probe.spec)
                if resolution.refused and not resolution.locations:
                    raise resolution.refused[0]
            except ProbeError as error:
                probe.state, probe.error = ProbeState.REFUSED, error
                registration.refused.append(error)
                continue
            if resolution.pending:
                probe.state = ProbeState.PENDING
                registration.pending.append(probe.spec)
                self._pending.append(_Pending(probe.spec, _same(probe), registration))
            elif resolution.locations:
                wanted.append((probe, resolution.locations[0]))
        self._arm(registration, wanted)
        return registration

    def _resolve(self, spec: str) -> Resolution:
        try:
            return self._resolver.resolve(spec, self.pid)
        except InsnError as error:
            raise ProbeError(error.why, spec=spec, code=str(error.code), hint=error.hint) from None

    def _arm(self, registration: Registration, wanted: list[tuple[Probe, Location]]) -> None:
        if not wanted:
            return
        self._ask(Request("register", self.pid, self.command, tuple(where for _, where in wanted)))
        process = self._process()
        refused = self._tracer.call(lambda: self._engine.arming.arm(process, wanted))
        registration.refused += refused
        armed = [probe for probe, _ in wanted if probe.state is ProbeState.ARMED]
        registration.probes += armed
        with self._lock:
            known = {id(probe) for probe in self.probes}
            self.probes += [probe for probe in armed if id(probe) not in known]

    def unregister(self, probes: Iterable[Probe]) -> None:
        """Take probes out, in one go; those that are not in are left alone. Their counts stay."""
        leaving = list(probes)
        with self._lock:
            gone = {id(probe) for probe in leaving if probe.state is ProbeState.PENDING}
            for probe in leaving:
                if id(probe) in gone:
                    probe.state = ProbeState.UNREGISTERED
        self._quietly(lambda: self._engine.arming.disarm(leaving))

    def forget_pending(self, registration: Registration) -> None:
        """Stop waiting for the objects that a registration waits for."""
        with self._lock:
            self._pending = [item for item in self._pending if item.registration is not registration]
            registration.pending.clear()

    def check(self, specs: str | Iterable[str]) -> list[tuple[Location, Verdict | ProbeError]]:
        """Say what may be done at every place that the specs name, touching nothing; raises for a bad spec."""
        results: list[tuple[Location, Verdict | ProbeError]] = []
        process = self._process()
        for spec in [specs] if isinstance(specs, str) else specs:
            resolution = self._resolve(spec)
            results += [(Location(error.address or 0, spec), error) for error in resolution.refused]
            for location in resolution.locations:
                try:
                    results.append((location, process.judge(location.address)))
                except InsnError as error:
                    refusal = ProbeError(
                        error.why, spec=location.spec, address=location.address, code=str(error.code)
                    )
                    results.append((location, refusal))
                except ProbeError as error:
                    results.append((location, error))
        return results

    def _condition(self, where: Condition | None) -> Callable[[Hit], object] | None:
        if isinstance(where, str):
            return compile_condition(where, frozenset(self.machine.names))
        return where

    # -- what the engine reports (in the tracing thread) -----------------------------------------

    def _failed(self, probe: Probe, error: Exception) -> None:
        log.error("the handler of %s raised; the probe is disarmed", probe.spec, exc_info=error)
        self.failures.append((probe, error))
        self._engine.arming.disarm([probe])
        probe.state = ProbeState.DISABLED
        probe.error = ProbeError(f"its handler raised {error!r}", spec=probe.spec, code="handler-raised")

    def _exited(self, pid: int, status: int) -> None:
        if pid == self.pid:
            if os.WIFSIGNALED(status):
                self.exit_status = ExitStatus(None, os.WTERMSIG(status))
            else:
                self.exit_status = ExitStatus(os.WEXITSTATUS(status), None)
            for probe in self.probes:
                if probe.registered:
                    probe.state = ProbeState.GONE
            if not self._engine.tracees:
                self._wake.set()

    def _execed(self, process: Process, lost: list[Probe]) -> None:
        self._resolver.forget(process.pid)
        if process.pid == self.pid:
            by_name = [p for p in lost if not p.location.spec.startswith("va:") and p is not self._linker]
            self._pending += [
                _Pending(probe.location.spec, _same(probe), Registration(self)) for probe in by_name
            ]
            self._watch_linker()
            self._arm_pending()

    def _watch_linker(self) -> None:
        """Be told when the dynamic linker has mapped or unmapped objects."""
        process = self._process()
        address = self._resolver.linker_hook(self.pid)
        if address is None:
            return
        self._linker = Uprobe(self.pid, address, lambda _hit: self._objects_changed())
        self._engine.arming.arm(process, [(self._linker, Location(address, "linker"))])

    def _objects_changed(self) -> None:
        self._resolver.forget(self.pid)
        self._arm_pending()

    def _arm_pending(self) -> None:
        with self._lock:
            waiting, self._pending = self._pending, []
        still: list[_Pending] = []
        for item in waiting:
            try:
                resolution = self._resolve(item.spec)
            except ProbeError as error:
                item.registration.refused.append(error)
                continue
            if resolution.pending:
                still.append(item)
                continue
            if item.spec in item.registration.pending:
                item.registration.pending.remove(item.spec)
            item.registration.refused += resolution.refused
            wanted = [(item.make(location), location) for location in resolution.locations]
            try:
                self._arm(item.registration, wanted)
            except ProbeError as error:
                item.registration.refused.append(error)
        with self._lock:
            self._pending += still


def _same(probe: Probe) -> Callable[[Location], Probe]:
    def make(_location: Location) -> Probe:
        return probe

    return make
