"""A set of programs installed in one process, with the memory that they count and record in."""

import mmap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from ubp.programs import Results, RingLayout, cells
from uprobes.errors import ProbeError
from uprobes.patch.arena import Arena
from uprobes.patch.calls import CallTables
from uprobes.patch.shared import SharedMemory
from uprobes.patch.site import Site, program_of
from uprobes.patch.thread_words import ThreadWords

if TYPE_CHECKING:
    from types import TracebackType


def _not_bound() -> None:
    raise ProbeError("nobody traces this process any more", hint="`uprobes remove PID`")


class Installed:
    """What one installation put in; `target.install` makes it.

    `sites` are the places that are in, `refused` the errors of the others. `memory` is shared with
    the process: `layout` says where its rings are, from `ring_at` on (None without).
    """

    def __init__(
        self,
        pid: int,
        shared: SharedMemory,
        arena: Arena,
        layout: RingLayout | None,
        ring_at: int,
        note: object = None,
    ) -> None:
        self.pid = pid
        self.shared = shared
        self.arena = arena
        self.sites: list[Site] = []
        self.layout = layout
        self.ring_at = ring_at
        self.refused: list[ProbeError] = []
        self.note = note
        """What whoever installed it wrote beside it."""
        self.notes_at = 0
        """Where in the shared memory the description has its room."""
        self.words = ThreadWords()
        self.unwinders: list[Site] = []
        """Where real return addresses are put back before the stack is unwound."""
        self.calls: CallTables | None = None
        """The tables of calls under way, where this is what all programs of returns stand on."""
        self.stays = False
        """Whether it is left in the process when we detach."""
        self._remove: Callable[[], object] = _not_bound
        self._stay: Callable[[], object] = _not_bound

    @property
    def memory(self) -> mmap.mmap:
        """The shared memory, as the process writes it right now; nothing in it can be trusted."""
        return self.shared.view

    def results(self, site: Site) -> Results:
        """Return what the program of a site has counted so far."""
        program = program_of(site)
        end = site.cells + cells.size(program, returns=site.returns)
        return cells.read(program, self.memory[site.cells : end], returns=site.returns)

    def bind(self, remove: Callable[[], object], stay: Callable[[], object]) -> Self:
        """Say how it is taken out of the process, and how it is prepared to stay there."""
        self._remove, self._stay = remove, stay
        return self

    def remove(self) -> None:
        """Take all of it out of the process; what was counted and recorded can still be read."""
        self._remove()

    def detach(self) -> None:
        """Leave it in the process when the target is detached from; it goes on counting.

        Breakpoints that could kill the process when nobody traces it are taken out now, and are in
        `refused` then.
        """
        self._stay()

    def mappings(self) -> Iterator[tuple[int, int]]:
        """Give start and end of everything that it has mapped in the process."""
        for area in self.arena.areas:
            yield area.start, area.end
        if self.calls is not None:
            yield from self.calls.mappings()
        yield from self.shared.mappings()

    @property
    def every(self) -> list[Site]:
        """All sites, those of unwinders included."""
        return [*self.sites, *self.unwinders]

    def drop(self, site: Site, error: ProbeError) -> None:
        """Note that a site could not be put in after all."""
        (self.unwinders if site in self.unwinders else self.sites).remove(site)
        self.refused.append(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        if not self.stays:
            self.remove()
