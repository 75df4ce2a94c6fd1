"""All that the bytes of generated code depend on, but for addresses: what templates are kept by."""

from dataclasses import dataclass

from insn import Dead
from ubp.programs.model import Program
from ubp.programs.placement import Placement
from ubp.programs.returns import TableLayout
from ubp.programs.ring import RingLayout


@dataclass(frozen=True, slots=True)
class Shape:
    """One program in one kind of surroundings; the fields are those of `Placement`."""

    program: Program
    returns: bool
    dead: Dead
    at_entry: bool
    layout: RingLayout | None
    tid_offset: int | None
    cpu_offset: int | None
    has_rdpid: bool
    may_call: bool
    table_layout: TableLayout | None


def shape_of(program: Program, place: Placement, dead: Dead, *, returns: bool) -> Shape:
    """Leave out the addresses, and of what is dead all that does not matter."""
    return Shape(
        program,
        returns,
        dead,
        place.at_entry,
        place.layout,
        place.tid_offset,
        place.cpu_offset,
        place.has_rdpid,
        place.may_call,
        place.table_layout,
    )
