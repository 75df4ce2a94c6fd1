"""Write the trampolines of an installation: generated code, then what the jump displaced."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import insn
import ssol
import ubp
from insn import Method, Reason
from ubp.programs import Generated, Placement, Template, prepare, put, restore_all
from uprobes.area import DISTANCE
from uprobes.errors import CannotMap
from uprobes.patch.calls import LAYOUT, CallTables
from uprobes.patch.displaced import Displaced
from uprobes.patch.installed import Installed
from uprobes.patch.site import Kind, Site, program_of
from uprobes.patch.thread_words import cpu_flags

if TYPE_CHECKING:
    from uprobes.process import Process

ROOM = 4096
"""Most generated code, with what it displaces, is no longer."""
MOST_DISPLACED = 256
"""The displaced instructions of one place are no longer, relocated."""
Make = Callable[[int], Generated]


class Builder:
    """Builds the trampolines of one installation; `base` is where its shared memory is near.

    Most places need the same code but for addresses: that is made once.
    """

    def __init__(self, process: "Process", installed: Installed, base: int) -> None:
        self.process = process
        self.installed = installed
        self.base = base
        self.may_call = not process.filtered
        self._templates: dict[tuple[object, ...], Template] = {}

    def build(self, site: Site, window: Displaced) -> None:
        """Write the trampoline of one site; raises ProbeError."""
        try:
            self._build(site, self._maker(site, window), window)
        except (insn.InsnError, ssol.SsolError, ubp.UbpError) as error:
            reason = Reason(str(error.code), error.why, getattr(error, "hint", ""))
            raise site.refusal(reason) from None

    def _build(self, site: Site, make: Make, window: Displaced) -> None:
        if site.method is Method.JUMP:
            try:
                self._jump(site, make, window)
            except (insn.InsnError, CannotMap) as error:
                site.method = Method.TRAP
                site.why_not[Method.JUMP] = Reason(str(error.code), error.why, error.hint)
        if site.method is Method.TRAP:
            self._trap(site, make)

    def _maker(self, site: Site, window: Displaced) -> Make:
        """Return what makes the code of a site for an address."""
        installed, layout = self.installed, self.installed.layout
        words, calls = installed.words, self.process.calls
        place = Placement(
            cells=self.base + site.cells,
            ring=None if layout is None else self.base + installed.ring_at,
            layout=layout,
            probe=site.number,
            dead=window.dead,
            at_entry=not site.location.offset and site.location.function is not None,
            tid_offset=words.tid,
            cpu_offset=words.cpu,
            has_rdpid="rdpid" in cpu_flags(),
            may_call=self.may_call,
            table=calls.near(site.address) if site.returns and calls is not None else None,
            table_layout=LAYOUT if site.returns else None,
        )
        if site.kind is Kind.UNWINDER:
            assert calls is not None
            return partial(self._restore, calls, place)
        # Programs live as long as their sites: they are known by their identity.
        key = (id(site.program), site.returns, window.dead, place.at_entry)
        template = self._templates.get(key)
        if template is None:
            template = prepare(program_of(site), place, returns=site.returns)
            self._templates[key] = template
        return partial(_put, template, place)

    def _jump(self, site: Site, make: Make, window: Displaced) -> None:
        arch, arena = self.process.machine.arch, self.installed.arena
        origin, generated = self._near(site, make)
        before = generated.entry - origin
        if not window.low <= generated.entry < window.high:
            size = len(generated.code) + MOST_DISPLACED
            origin = arena.within(window.low - before, window.high - before, size)
            generated = make(origin)
        moved = window.code(arch, origin + len(generated.code))
        site.patches, site.form = window.patches(arch, generated.entry), str(window.form)
        site.end = window.end
        self._take(site, origin, generated, moved)

    def _near(self, site: Site, make: Make) -> tuple[int, Generated]:
        """Make the code of a site for the next place with room for it."""
        origin = self.installed.arena.near(site.address, ROOM)
        generated = make(origin)
        size = len(generated.code) + MOST_DISPLACED
        if size > ROOM:
            origin = self.installed.arena.near(site.address, size)
            generated = make(origin)
        return origin, generated

    def _trap(self, site: Site, make: Make) -> None:
        origin, generated = self._near(site, make)
        instruction, to = self.process.decode(site.address), origin + len(generated.code)
        copy = insn.relocate(
            instruction, to, back=instruction.end, expand_calls=True, balanced=True
        )
        moved, site.end = copy.code, instruction.end
        self._take(site, origin, generated, moved)

    def _restore(self, calls: CallTables, place: Placement, origin: int) -> Generated:
        """Make the code that puts real return addresses back from every table.

        A call may stand in two tables, one's hook as the other's original: hence each is gone
        through again. Code for a table that is far away stands near that table.
        """
        machine, arena = self.process.machine, self.installed.arena
        arch, code = machine.arch, b""
        for table in [*calls.tables, *calls.tables[:-1]]:
            here = origin + len(code)
            of_table = replace(place, table=table, table_layout=LAYOUT)
            if abs(table - here) < DISTANCE:
                part = restore_all(here + arch.jump_size, of_table)
                code += arch.jump(here, part.entry) + part.code
            else:
                back = here + len(machine.far_jump(0))
                there = arena.near(table, ROOM)
                part = restore_all(there, of_table)
                arena.take(there, part.code + machine.far_jump(back))
                code += machine.far_jump(part.entry)
        return Generated(code, origin)

    def _take(self, site: Site, origin: int, generated: Generated, moved: bytes) -> None:
        self.installed.arena.take(origin, generated.code + moved)
        site.trampoline, site.moved = generated.entry, origin + len(generated.code)
        site.size = origin + len(generated.code) + len(moved) - generated.entry


def _put(template: Template, place: Placement, origin: int) -> Generated:
    return put(template, origin, place)
