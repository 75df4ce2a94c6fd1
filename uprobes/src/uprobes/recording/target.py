"""Targets that can record: what `attach` and `spawn` give."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import uprobes.target
from insn import Method
from uprobes.errors import ProbeError
from uprobes.location import Resolver
from uprobes.policies import Policy
from uprobes.process import Process

if TYPE_CHECKING:
    from uprobes.recording.recording import Recording


class Target(uprobes.target.Target):
    """A traced process, its probes, and recordings that need no tracer at a hit."""

    def __init__(self, resolver: Resolver, policy: Policy | None = None) -> None:
        super().__init__(resolver, policy)
        self._recordings: list[tuple[Recording, Method | None]] = []
        """Those that wait for objects to be mapped."""

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
        self._begin_recording(recording, wanted, None if method is None else Method(method))
        return recording

    def _begin_recording(
        self, recording: "Recording", specs: list[str], method: Method | None
    ) -> None:
        """Install on what is mapped, and wait for the rest."""
        recording.pending += specs
        self._go_on(recording, method, self._process())
        if recording.pending:
            self._recordings.append((recording, method))
            recording.when_over(lambda: self._forget(recording))
            self._quietly(self._watch)
        if recording.refused and not recording.sites and not recording.pending:
            raise recording.refused[0]

    def _forget(self, recording: "Recording") -> None:
        self._recordings = [item for item in self._recordings if item[0] is not recording]

    def _go_on(self, recording: "Recording", method: Method | None, process: Process) -> None:
        """Install on those of the pending specs whose object is mapped."""
        ready: list[str] = []
        still: list[str] = []
        for spec in recording.pending:
            try:
                found = self._registrations.resolve(spec, process.pid)
                (still if found.pending else ready).append(spec)
            except ProbeError as error:
                recording.own_refused.append(error)
        recording.pending[:] = still
        if not ready:
            return
        plan, program = recording.plan, recording.program
        try:
            installed = self.install(
                [(spec, program) for spec in ready],
                returns=plan.returns,
                layout=plan.layout(process.machine.arch.registers),
                method=method,
                note=plan.as_note(),
            )
        except ProbeError as error:
            recording.own_refused.append(error)
        else:
            recording.add(installed)

    # -- what the engine reports (in the tracing thread) --------------------------------------

    def _objects_changed(self, process: Process) -> None:
        super()._objects_changed(process)
        if process.pid == self.pid:
            for recording, method in list(self._recordings):
                self._go_on(recording, method, process)
