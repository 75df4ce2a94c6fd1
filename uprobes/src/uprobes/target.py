"""A process under probes: what users hold. Works from any thread; handlers run in the tracer's."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar, Unpack, overload

from insn import InsnError, Method, Verdict
from ubp.programs import Program, RingLayout
from uprobes.collector import resting_collector
from uprobes.errors import NoSuchProcess, ProbeError, TargetGone
from uprobes.location import Location, Resolver
from uprobes.patch.installed import Installed
from uprobes.patch.site import Kind, Wanted
from uprobes.pausing import pause, resume
from uprobes.policies import Policy, Request
from uprobes.predicate import compile_condition
from uprobes.probe import Handler, Probe, ProbeState, Uprobe
from uprobes.process import Process
from uprobes.registration import (
    Keywords,
    ProbeOptions,
    Registration,
    Registrations,
    ReturnKeywords,
)
from uprobes.session import Session
from uprobes.status import command_line
from uprobes.unloading import unload
from uprobes.unwinding import Unwinding

F = TypeVar("F", bound=Callable[..., object])

log = logging.getLogger("uprobes")

LINKER = "the dynamic linker"
"""What the probe by which we are told of mapped objects calls itself."""


class Target(Session):
    """A traced process and its probes; `attach` and `spawn` make one.

    `failures` holds what handlers raised; a probe whose handler raised is disarmed.
    """

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        super().__init__(policy)
        self.failures: list[tuple[Probe, Exception]] = []
        self._watching = False
        self._hooks: list[Probe] = []
        """By which we are told of mapped objects, one in each process."""
        self._returning = False
        """Whether any return probe was asked for."""
        arming = self._engine.arming
        self._unwinding = Unwinding(arming.arm, arming.disarm)
        self._registrations = Registrations(
            resolver,
            self._process,
            lambda process, wanted: self._tracer.call(lambda: arming.arm(process, wanted)),
            lambda probes: self._quietly(lambda: self._disarm(probes)),
            lambda locations: self._ask(Request("register", self.pid, self.command, locations)),
        )

    def detach(self) -> None:
        """Take every probe out and let the target run on as if we had never been there."""
        super().detach()
        self._registrations.gone()

    @property
    def _program(self) -> str:
        """The path of the program that runs, empty when it is gone."""
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self.pid}/exe")
        return ""

    @property
    def probes(self) -> list[Probe]:
        """Every probe that was ever in, in the order of registration."""
        return self._registrations.probes

    @property
    def pending(self) -> tuple[str, ...]:
        """The specs that wait for their object to be mapped."""
        return self._registrations.pending

    @overload
    def uprobe(
        self, spec: str | int, handler: Handler, **options: Unpack[Keywords]
    ) -> Registration: ...
    @overload
    def uprobe(
        self, spec: str | int, handler: None = None, **options: Unpack[Keywords]
    ) -> Callable[[F], F]: ...

    def uprobe(
        self, spec: str | int, handler: Handler | None = None, **options: Unpack[Keywords]
    ) -> Registration | Callable[[F], F]:
        """Probe what a spec names; with a handler return the Registration, else a decorator.

        Raises ProbeError when nothing could be registered and nothing is pending.
        """
        return self._put(spec, handler, self._options(returns=False, **options))

    @overload
    def uretprobe(
        self, spec: str | int, handler: Handler, **options: Unpack[ReturnKeywords]
    ) -> Registration: ...
    @overload
    def uretprobe(
        self, spec: str | int, handler: None = None, **options: Unpack[ReturnKeywords]
    ) -> Callable[[F], F]: ...

    def uretprobe(
        self, spec: str | int, handler: Handler | None = None, **options: Unpack[ReturnKeywords]
    ) -> Registration | Callable[[F], F]:
        """Probe the returns of the functions a spec names; `save` runs at each entry.

        Returns and raises as `uprobe` does.
        """
        return self._put(spec, handler, self._options(returns=True, **options))

    def _options(self, *, returns: bool, **options: Unpack[ReturnKeywords]) -> ProbeOptions:
        where = options.get("where")
        if isinstance(where, str):
            where = compile_condition(where, frozenset(self.machine.names))
        return ProbeOptions(
            returns=returns,
            where=where,
            save=options.get("save"),
            method=options.get("method"),
            forbid=options.get("forbid", ()),
            sleeps=options.get("sleeps", False),
            exits=options.get("exits", False),
        )

    def _put(
        self, spec: str | int, handler: Handler | None, options: ProbeOptions
    ) -> Registration | Callable[[F], F]:
        text = spec if isinstance(spec, str) else f"va:{spec:#x}"

        def put(handler: Handler) -> Registration:
            made = self._registrations.register(text, replace(options, handler=handler))
            self._await(made, options.returns)
            if made.refused and not made.probes and not made.pending:
                raise made.refused[0]
            return made

        def decorate(function: F) -> F:
            put(function)
            return function

        return decorate if handler is None else put(handler)

    def register(
        self,
        specs: str | Iterable[str],
        handler: Handler | None = None,
        *,
        returns: bool = False,
        **options: Unpack[ReturnKeywords],
    ) -> Registration:
        """Register probes on everything that the specs name, in one go.

        Without a handler hits are counted. What is refused is in the result, never raised; a spec
        whose object is not mapped yet is pending and armed when it is.
        """
        made = replace(self._options(returns=returns, **options), handler=handler)
        return self._await(self._registrations.register(specs, made), returns)

    def register_probes(self, probes: Iterable[Probe]) -> Registration:
        """Register probe objects; each may have been registered before, none may be now.

        Raises AlreadyRegistered; an object whose place can't be probed is refused in the result.
        """
        wanted = list(probes)
        made = self._registrations.register_probes(wanted)
        return self._await(made, any(probe.returns for probe in wanted))

    def _await(self, made: Registration, returns: bool) -> Registration:
        """Watch the dynamic linker as soon as something waits for an object to be mapped.

        Return probes wait for the library that unwinds the stack, which may come late; what is
        probed in a library must be forgotten when that is unmapped.
        """
        returning = returns and not self._returning
        self._returning = self._returning or returning
        path = self._program
        library = not self._watching and any(p.location.path != path for p in made.probes)
        if (made.pending or returning or library) and not self.detached:
            self._quietly(self._watch)
        return made

    def _watch(self) -> None:
        """Be told of mapped and unmapped objects; some may have been mapped since we looked."""
        self._look(self._process(), watch=not self._watching)

    def unregister(self, probes: Iterable[Probe]) -> None:
        """Take probes out, in one go; those that are not in are left alone. Their counts stay."""
        self._registrations.unregister(probes)

    @resting_collector()
    def pause(self, probes: Iterable[Probe]) -> None:
        """Take armed probes out for a while: they stay registered, and see no hit meanwhile."""
        paused = list(probes)
        self._quietly(lambda: pause(self._engine, paused))

    def resume(self, probes: Iterable[Probe]) -> list[ProbeError]:
        """Put those of paused probes back; return the errors of probes where that failed."""
        paused = list(probes)
        return self._tracer.call(lambda: resume(self._engine, paused))

    def install(
        self,
        programs: Iterable[tuple[str | int | Location, Program]],
        *,
        returns: bool = False,
        layout: RingLayout | None = None,
        method: Method | str | None = None,
        note: object = None,
    ) -> Installed:
        """Install programs that run in the process itself, each at a spec, address or location.

        With `returns` they run when the functions there return.
        `layout` makes rings for those that record. `method` forces `jump` or `trap`. `note` (what
        JSON can hold) stays with them for whoever reads the records. What is refused is in the
        result; raises ProbeError when nothing could be installed.
        """
        forced = None if method is None else Method(method)
        kind = Kind.RETURN if returns else Kind.ENTRY
        wanted: list[Wanted] = []
        refused: list[ProbeError] = []
        resolver = self._registrations.resolver
        for spec, program in programs:
            if isinstance(spec, Location):
                wanted.append(Wanted(spec, program, kind, forced))
                continue
            try:
                found = self._registrations.resolve(spec, self.pid)
            except ProbeError as error:
                refused.append(error)
                continue
            refused += found.refused
            wanted += [Wanted(location, program, kind, forced) for location in found.locations]
        self._ask(Request("register", self.pid, self.command, tuple(w.location for w in wanted)))
        installer = self._engine.installer
        if not wanted and refused:
            raise refused[0]
        unwinders = self._unwinders() if returns else []
        installed = self._tracer.call(
            lambda: installer.install(
                self._process(), wanted, resolver, unwinders, layout, note
            )
        )
        installed.refused += refused
        path = self._program
        library = any(site.location.path != path for site in installed.sites)
        if library and not self._watching:
            self._quietly(self._watch)
        return self._bind(installed)

    def _unwinders(self) -> list[Location]:
        found = []
        resolver = self._registrations.resolver
        for address in resolver.unwinders(self.pid):
            with contextlib.suppress(ProbeError):
                found.append(resolver.at(address, self.pid))
        return found

    @property
    def installed(self) -> tuple[Installed, ...]:
        """What is installed in the target's process now, by us or by somebody before us."""
        return tuple(self._process().installed)

    def check(self, specs: str | Iterable[str]) -> list[tuple[Location, Verdict | ProbeError]]:
        """Say what may be done at every place that the specs name, touching nothing.

        Raises ProbeError for a spec that means nothing.
        """
        return self._registrations.check(specs)

    # -- what the engine reports (in the tracing thread) --------------------------------------

    def _failed(self, probe: Probe, error: Exception) -> None:
        log.error("the handler of %s raised; the probe is disarmed", probe.spec, exc_info=error)
        self.failures.append((probe, error))
        self._engine.arming.disarm([probe])
        probe.state = ProbeState.DISABLED
        probe.error = ProbeError(
            f"its handler raised {error!r}", spec=probe.spec, code="handler-raised"
        )

    def _exited(self, pid: int, status: int) -> None:
        super()._exited(pid, status)
        if pid == self.pid:
            self._registrations.gone()

    def _execed(self, process: Process, lost: list[Probe]) -> None:
        try:
            self._ask(Request("exec", process.pid, tuple(command_line(process.pid))))
        except ProbeError as error:
            log.error("the probes of process %d did not come along: %s", process.pid, error.why)
            self._registrations.refuse(process.pid, lost, error)
        else:
            self._begin_program(process, lost)

    def _begin_program(self, process: Process, lost: list[Probe]) -> None:
        self._registrations.resolver.forget(process.pid)
        if process.pid == self.pid:
            self._wait_again(lost, process)
        else:
            self._registrations.follow(process)
        self._look(process, watch=True)

    def _look(self, process: Process, *, watch: bool) -> None:
        try:
            if watch:
                self._watch_linker(process)
            self._objects_changed(process)
        except NoSuchProcess as error:
            raise TargetGone(error.why) from None
        except InsnError as error:
            log.warning("process %d has a file that can't be read: %s", process.pid, error.why)

    def _wait_again(self, lost: list[Probe], process: Process) -> None:
        """Let the probes wait that name something; an address alone means nothing any more."""
        named = [p for p in lost if p.spec != LINKER and not p.spec.startswith("va:")]
        self._registrations.wait_again(named, process)

    def _disarm(self, probes: list[Probe]) -> None:
        """Take probes out, and with the last one what tells us of mapped objects."""
        arming = self._engine.arming
        arming.disarm(probes)
        points = sum(len(process.points) for process in self._engine.processes.values())
        if self._hooks and points <= len(self._hooks) and not self.pending:
            arming.disarm(self._hooks)
            self._hooks.clear()
            self._watching = False

    def _watch_linker(self, process: Process) -> None:
        """Be told when the dynamic linker has mapped or unmapped objects."""
        address = self._registrations.resolver.linker_hook(process.pid)
        self._watching = True
        if address is not None:
            hook = Uprobe(process.pid, LINKER, lambda hit: self._objects_changed(hit.process))
            self._hooks = [*(h for h in self._hooks if h.registered), hook]
            self._engine.arming.arm(process, [(hook, Location(address, LINKER))])

    def _objects_changed(self, process: Process) -> None:
        self._registrations.resolver.forget(process.pid)
        self._wait_again(unload(process), process)
        self._registrations.arm_pending(process)
        if self._returning:
            self._unwinding.watch(process, self._registrations.resolver.unwinders(process.pid))
