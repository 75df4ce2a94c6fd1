"""What can be said of probes when they are registered, and how they are made of it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypedDict

from insn import Method
from uprobes.hit import Hit
from uprobes.location import Location
from uprobes.probe import Handler, Probe, Uprobe, Uretprobe


class Keywords(TypedDict, total=False):
    """What can be said of every probe, as keywords.

    `where` lets only some hits reach the handler (a function, or a condition such as
    `arg0 > 4096`), `method` forces one way of executing the instruction, `forbid` rules some out,
    `sleeps` lets the handler take its time while other threads go on.
    """

    where: Callable[[Hit], object] | str | None
    method: Method | str | None
    forbid: Collection[Method | str]
    sleeps: bool


class ReturnKeywords(Keywords, total=False):
    """The same for return probes: `save(hit)` runs at each entry, what it gives is `ret.saved`.

    `exits` asks for probes on the return instructions, the stack left alone.
    """

    save: Callable[[Hit], object] | None
    exits: bool


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How the probes are to be made that one call registers."""

    handler: Handler | None = None
    returns: bool = False
    where: Callable[[Hit], object] | None = None
    save: Callable[[Hit], object] | None = None
    method: Method | str | None = None
    forbid: Collection[Method | str] = ()
    sleeps: bool = False
    exits: bool = False

    def make(self, pid: int, location: Location) -> Probe:
        """Make the probe for one location."""
        if self.returns:
            probe: Probe = Uretprobe(
                pid,
                location.spec,
                self.handler,
                save=self.save,
                where=self.where,
                method=self.method,
                forbid=self.forbid,
                sleeps=self.sleeps,
                exits=self.exits,
            )
        else:
            probe = Uprobe(
                pid,
                location.spec,
                self.handler,
                where=self.where,
                method=self.method,
                forbid=self.forbid,
                sleeps=self.sleeps,
            )
        probe.location = location
        return probe
