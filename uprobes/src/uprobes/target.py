"""A process under probes: what users hold. Works from any thread; handlers run in the tracer's."""

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar, Unpack, overload

from insn import Method, Verdict
from ubp.programs import Program, RingLayout
from uprobes.collector import resting_collector
from uprobes.errors import HANDLER_RAISED, ProbeError
from uprobes.hit import Hit
from uprobes.location import Location, Resolver
from uprobes.patch.choosing import HANDLED
from uprobes.patch.installed import Installed
from uprobes.patch.site import Kind, Wanted, refusal
from uprobes.pausing import pause, resume
from uprobes.policies import Policy, Request
from uprobes.predicate import compile_condition
from uprobes.probe import Handler, Probe, ProbeState
from uprobes.registration import Registration
from uprobes.unprobed import real_returns, stack_end
from uprobes.watching import Watched
from uprobes.wording import Keywords, ProbeOptions, ReturnKeywords

F = TypeVar("F", bound=Callable[..., object])

log = logging.getLogger("uprobes")


class Target(Watched):
    """A traced process and its probes; `attach` and `spawn` make one.

    `failures` holds what handlers raised; a probe whose handler raised is disarmed.
    """

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        super().__init__(resolver, policy)
        self.failures: list[tuple[Probe, Exception]] = []

    def detach(self) -> None:
        """Take every probe out and let the target run on as if we had never been there."""
        super().detach()
        self._registrations.gone()

    @property
    def probes(self) -> list[Probe]:
        """Every probe that was ever in, in the order of registration, each with its counts.

        Who registers without end keeps this short by registering the same objects again
        (`register_probes`).
        """
        return self._registrations.probes

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

    def unregister(self, probes: Iterable[Probe]) -> None:
        """Take probes out, in one go; those that are not in are left alone. Their counts stay."""
        self._registrations.unregister(probes)

    def backtrace(self, hit: Hit, limit: int = 64) -> tuple[Location, ...]:
        """Name where a thread is that has hit a probe, where its caller was called, and so on.

        For handlers: the thread must be stopped. By the unwind tables of the program and its
        libraries; where these end, so does the backtrace. Return addresses are the real ones.
        """
        process, resolver = hit.process, self._registrations.resolver
        arch = process.machine.arch
        sp = hit.registers[arch.stack_pointer]
        real = real_returns(process, sp, stack_end(process, sp))

        def word(place: int) -> int:
            return real.get(place) or process.memory.word(place, arch.pointer_size)

        registers = {name: hit.registers[name] for name in process.machine.names}
        found = resolver.callers(process.pid, arch, registers, word, limit)
        return tuple(resolver.locate(address, process.pid) for address in found)

    def pause(self, probes: Iterable[Probe]) -> None:
        """Take armed probes out for a while: they stay registered, and see no hit meanwhile."""
        paused = list(probes)
        self._quietly(lambda: pause(self._engine, paused))

    def resume(self, probes: Iterable[Probe]) -> list[ProbeError]:
        """Put those of paused probes back; return the errors of probes where that failed."""
        paused = list(probes)
        return self._tracer.call(lambda: resume(self._engine, paused))

    @resting_collector()
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

        def install() -> Installed:
            process = self._process()
            left, awaited = wanted, self._registrations.awaited(process)
            while True:
                taken = [each for each in left if each.address in awaited]
                refused.extend(refusal(each.location, HANDLED) for each in taken)
                left = [each for each in left if each not in taken]
                made = installer.install(process, left, resolver, unwinders, layout, note)
                awaited = self._registrations.awaited(process)
                if awaited.isdisjoint(site.address for site in made.sites):
                    return made
                installer.remove(process, made)  # the object was mapped just now

        installed = self._tracer.call(install)
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
            f"its handler raised {error!r}", spec=probe.spec, code=HANDLER_RAISED
        )

    def _exited(self, pid: int, status: int) -> None:
        super()._exited(pid, status)
        if pid == self.pid:
            self._registrations.gone()
