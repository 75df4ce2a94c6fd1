"""Counting and timing by code in the process itself, wherever nothing of ours runs at the hit.

`--method` chooses; without it places that take no such code get a probe with stops instead.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

import insn
from insn import Method, Reason
from uprobes import Location, Probe, ProbeError, Refused, Registration, Target
from uprobes.command.options import IN_PROCESS, Options
from uprobes.machine import machine_of_host
from uprobes.recording.part import Part, Site
from uprobes.recording.recording import Recording

LONGEST_INSTRUCTION = 16
OURSELVES = frozenset(("occupied", "policy"))
"""Refusals that say nothing against a probe of the other kind."""


class SiteProbe:
    """A site of a recording, as the reports know probes."""

    registered = True

    def __init__(self, part: Part, index: int) -> None:
        self._part = part
        self._index = index
        self.site: Site = part.sites[index]
        self.location: Location = self.site.location

    @property
    def hits(self) -> int:
        """How often it was reached, and met the condition if there is one."""
        return self._part.taken(self._index)

    @property
    def misses(self) -> int:
        """Calls whose return could not be awaited."""
        return self._part.missed(self._index)

    @property
    def cost_ns(self) -> None:
        """What a hit costs: nobody measures it, since the thread is never stopped."""
        return

    @property
    def address(self) -> int:
        """The run-time address."""
        return self.location.address

    @property
    def method(self) -> Method:
        """How it is executed."""
        return self.site.method

    @property
    def why_not(self) -> dict[Method, Reason]:
        """Why no cheaper method is used."""
        return self.site.why_not

    @property
    def instruction(self) -> insn.Instruction | None:
        """The instruction there, from the file; None where that can't be read."""
        location = self.location
        if location.file_offset is None:
            return None
        with (
            contextlib.suppress(OSError, insn.InsnError),
            open(location.path, "rb") as file,
        ):
            file.seek(location.file_offset)
            code = file.read(LONGEST_INSTRUCTION)
            return insn.decode(code, location.address, machine_of_host().arch)
        return None


AnyProbe = Probe | SiteProbe


class Probed(Protocol):
    """What was asked for: probes that are in, refusals, and specs that wait for their object."""

    @property
    def probes(self) -> "list[Probe] | list[SiteProbe]":
        """Those that are in."""
        ...

    @property
    def refused(self) -> list[ProbeError]:
        """The errors of those that are not."""
        ...

    @property
    def pending(self) -> list[str]:
        """The specs that wait."""
        ...


class Programs:
    """A recording, in the form in which the runs of commands know what they probe."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.retried: set[int] = set()
        """Addresses that got a probe of the other kind after all."""
        self._probes: list[SiteProbe] = []
        self._parts = 0

    @property
    def probes(self) -> list[SiteProbe]:
        """All of its sites."""
        for part in self.recording.parts[self._parts :]:
            self._probes += [SiteProbe(part, index) for index in range(len(part.sites))]
            self._parts += 1
        return self._probes

    @property
    def refused(self) -> list[ProbeError]:
        """Places where neither kind could be put."""
        return [e for e in self.recording.refused if e.address not in self.retried]

    @property
    def pending(self) -> list[str]:
        """Specs whose object is not mapped yet."""
        return self.recording.pending


def wants_programs(options: Options) -> bool:
    """Tell whether the options let code in the process do the work."""
    if options.method is not None:
        return options.method in IN_PROCESS
    return not options.follow_forks and options.max_overhead is None


def put_programs(
    target: Target,
    specs: Iterable[str],
    options: Options,
    *,
    measures: Iterable[str] = (),
    returns: bool = False,
    otherwise: Callable[[list[str]], Registration],
) -> list[Probed]:
    """Install counting programs; `otherwise` registers probes with stops where that can't be."""
    wanted = list(specs)
    if not wants_programs(options):
        return [otherwise(wanted)]
    try:
        recording = target.record(
            wanted,
            (),
            measures=measures,
            where=options.where,
            limit=options.most_hits,
            returns=returns,
            method=options.method,
        )
    except ProbeError:
        if options.method is not None:
            raise
        return [otherwise(wanted)]
    programs = Programs(recording)
    made: list[Probed] = [programs]
    if options.method is None:
        _retry(programs, made, otherwise)
        recording.when_added(lambda: _retry(programs, made, otherwise))
    return made


def _retry(
    programs: Programs, made: list[Probed], otherwise: Callable[[list[str]], Registration]
) -> None:
    """Try probes with stops where no program could be installed."""
    unfit = programs.recording.take_unfit()
    if unfit:
        made.append(otherwise(unfit))
    refused = {
        error.address: error
        for error in programs.recording.refused
        if isinstance(error, Refused)
        and error.address is not None
        and error.address not in programs.retried
        and error.code not in OURSELVES
    }
    if not refused:
        return
    registration = otherwise([f"va:{address:#x}" for address in refused])
    programs.retried |= set(refused)
    for probe in registration.probes:
        spec = refused[probe.address].spec
        if spec is not None:
            probe.location = replace(probe.location, spec=spec)
    for error in registration.refused:
        if error.address in refused:
            error.spec = refused[error.address].spec
    made.append(registration)
