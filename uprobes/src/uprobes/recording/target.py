"""Targets that can record: what `attach` and `spawn` give."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uprobes.target
from insn import Method
from uprobes.errors import ProbeError
from uprobes.location import Location, Resolver
from uprobes.policies import Policy
from uprobes.probe import Probe
from uprobes.process import Process

if TYPE_CHECKING:
    from uprobes.recording.recording import Recording


@dataclass(frozen=True, slots=True)
class Wish:
    """A recording, with what was asked for."""

    recording: "Recording"
    specs: tuple[str, ...]
    method: Method | None


class Target(uprobes.target.Target):
    """A traced process, its probes, and recordings that need no tracer at a hit."""

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        super().__init__(resolver, policy)
        self._wishes: list[Wish] = []
        """Recordings that go on; those that wait for an object, or for the next program."""

    @property
    def pending(self) -> tuple[str, ...]:
        """The specs of probes and recordings that wait for their object to be mapped."""
        waiting = (spec for wish in self._wishes for spec in wish.recording.pending)
        return (*super().pending, *waiting)

    def record(
        self,
        specs: str | Iterable[str],
        fields: str | Iterable[str] | None = None,
        *,
        measures: str | Iterable[str] = (),
        where: str | None = None,
        sample: int = 1,
        limit: int | None = None,
        returns: bool = False,
        size: int | str | None = None,
        mode: str = "drop",
        method: Method | str | None = None,
    ) -> "Recording":
        """Record the hits of what specs name, by code in the process itself; no thread is stopped.

        `fields` go into each record (default: time and tid; with `returns`, which records when
        functions return, also elapsed and ret; none at all with `()`). `measures` such as
        `sum(arg2)` or `log2(elapsed)` are computed in the process. `where` is a condition over the
        same names; of the hits that meet it the first of each `sample` is taken, and of those the
        first `limit` at each place. `size` is in bytes for all rings, or a text such as `64M`;
        when they are full, new records are lost (`drop`) or overwrite the oldest (`overwrite`).
        `method` forces `jump` or `trap`.

        A spec whose object is not mapped yet waits for it. What is refused is in the result; raises
        ProbeError when nothing could be installed and nothing is pending.
        """
        from uprobes.recording.clock import Clock
        from uprobes.recording.fields import AT_RETURNS, DEFAULT, split_fields
        from uprobes.recording.plan import SIZE, Plan
        from uprobes.recording.recording import Recording

        if fields is None:
            fields = AT_RETURNS if returns else DEFAULT
        if mode not in ("drop", "overwrite"):
            raise ProbeError(
                f"{mode!r} is nothing to do when a ring is full",
                code="bad-mode",
                hint="drop keeps the oldest records, overwrite the newest",
            )
        plan = Plan(
            fields=tuple(split_fields(fields) if isinstance(fields, str) else fields),
            measures=tuple(split_fields(measures) if isinstance(measures, str) else measures),
            where=where,
            sample=sample,
            limit=limit,
            returns=returns,
            overwrite=mode == "overwrite",
            wall_ns=time.time_ns() - time.monotonic_ns(),
        )
        registers = self.machine.arch.registers
        if plan.needs_clock:
            plan = plan.timed(Clock.of_process())
        plan = plan.sized(SIZE if size is None else size, registers)
        recording = Recording(plan, registers, pid=self.pid, command=self.command)
        wanted = [specs] if isinstance(specs, str) else list(specs)
        forced = None if method is None else Method(method)
        self._begin_recording(Wish(recording, tuple(wanted), forced))
        return recording

    def _begin_recording(self, wish: "Wish") -> None:
        """Install on what is mapped, and wait for the rest."""
        recording = wish.recording
        recording.pending += wish.specs
        self._go_on(wish, self._process())
        self._wishes.append(wish)
        recording.when_over(lambda: self._forget(wish))
        if recording.pending:
            self._quietly(self._watch)
        if recording.refused and not recording.sites and not recording.pending:
            self._forget(wish)
            raise recording.refused[0]

    def _forget(self, wish: "Wish") -> None:
        self._wishes = [each for each in self._wishes if each is not wish]

    def _go_on(self, wish: "Wish", process: Process) -> None:
        """Install on those of the pending specs whose object is mapped."""
        recording = wish.recording
        ready: list[str] = []
        still: list[str] = []
        locations: list[Location] = []
        for spec in recording.pending:
            try:
                found = self._registrations.resolve(spec, process.pid)
            except ProbeError as error:
                recording.own_refused.append(error)
                continue
            if found.pending:
                still.append(spec)
                continue
            ready.append(spec)
            recording.own_refused += found.refused
            locations += found.locations
        recording.pending[:] = still
        if not locations:
            return
        plan, program = recording.plan, recording.program
        try:
            installed = self.install(
                [(location, program) for location in locations],
                returns=plan.returns,
                layout=plan.layout(process.machine.arch.registers),
                method=wish.method,
                note=plan.as_note(),
            )
        except ProbeError as error:
            recording.refuse(ready, error)
        else:
            recording.add(installed)

    # -- what the engine reports (in the tracing thread) --------------------------------------

    def _objects_changed(self, process: Process) -> None:
        super()._objects_changed(process)
        if process.pid == self.pid:
            for wish in list(self._wishes):
                self._go_on(wish, process)

    def _begin_program(self, process: Process, lost: list[Probe]) -> None:
        if process.pid == self.pid:
            for wish in self._wishes:
                # A run-time address means nothing in another program.
                lasting = (spec for spec in wish.specs if not spec.strip().startswith("va:"))
                wish.recording.pending[:] = lasting
        super()._begin_program(process, lost)
