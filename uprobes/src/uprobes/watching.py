"""Targets that notice what changes in their processes: objects mapped and unmapped, new programs,
children.
"""

import contextlib
import logging
import os

from insn import InsnError
from uprobes.errors import NoSuchProcess, ProbeError, TargetGone
from uprobes.location import Location, Resolver
from uprobes.maps import has_memory
from uprobes.policies import Policy, Request
from uprobes.probe import Probe, Uprobe
from uprobes.process import Process
from uprobes.registration import Registration, Registrations
from uprobes.session import Session
from uprobes.spreading import spread
from uprobes.status import command_line
from uprobes.unloading import unload
from uprobes.unwinding import Unwinding

log = logging.getLogger("uprobes")

LINKER = "the dynamic linker"
"""What the probe by which we are told of mapped objects calls itself."""


class Watched(Session):
    """A traced process whose probes come and go with the objects and programs that they are in."""

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        super().__init__(policy)
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
            lambda: self._engine.follow_forks,
        )
        self._engine.lifetimes.on_follow = self._forked
        self._engine.lifetimes.on_gone = self._gone

    @property
    def pending(self) -> tuple[str, ...]:
        """The specs that wait for their object to be mapped."""
        return self._registrations.pending

    @property
    def _program(self) -> str:
        """The path of the program that runs, empty when it is gone."""
        with contextlib.suppress(OSError):
            return os.readlink(f"/proc/{self.pid}/exe")
        return ""

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
        if len(self._engine.processes) > 1:
            self._quietly(lambda: spread(self._engine, self._registrations, made, self._process()))
        return made

    def _watch(self) -> None:
        """Be told of mapped and unmapped objects; some may have been mapped since we looked."""
        unwatched, home = not self._watching, self._process()
        self._look(home, watch=unwatched)
        for process in list(self._engine.processes.values()):
            if process is home or not has_memory(process.pid):
                continue
            try:
                self._look(process, watch=unwatched)
            except ProbeError:
                if has_memory(process.pid):
                    raise

    # -- what the engine reports (in the tracing thread) --------------------------------------

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

    def _forked(self, child: Process, parent: Process) -> None:
        """Take a child that is followed from now on, its memory a copy of its parent's."""
        self._registrations.inherit(child, parent)

    def _gone(self, process: Process) -> None:
        """Take a child that has ended; what never came in the first process stays pending."""
        if process.pid != self.pid:
            self._registrations.ended(process)

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
        hooks = [*self._hooks, *arming.dispositions.hooks]
        if hooks and points <= sum(map(len, map(arming.points_of, hooks))) and not self.pending:
            arming.dispositions.forget()
            arming.disarm(self._hooks)
            self._hooks.clear()
            self._watching = False

    def _watch_linker(self, process: Process) -> None:
        """Be told when the dynamic linker has mapped or unmapped objects."""
        address = self._registrations.resolver.linker_hook(process.pid)
        self._watching = True
        if address is not None:
            hook = Uprobe(process.pid, LINKER, lambda hit: self._objects_changed(hit.process))
            arming = self._engine.arming
            # A child may have its parent's still, although that is another program now.
            self._hooks = [h for h in self._hooks if h.registered or arming.points_of(h)]
            self._hooks.append(hook)
            arming.arm(process, [(hook, Location(address, LINKER))])

    def _objects_changed(self, process: Process) -> None:
        try:
            self._registrations.resolver.forget(process.pid)
            self._wait_again(unload(process), process)
            self._registrations.arm_pending(process)
            if self._returning:
                self._unwinding.watch(process, self._registrations.resolver.unwinders(process.pid))
        finally:
            self._engine.lifetimes.take_ends(process)
