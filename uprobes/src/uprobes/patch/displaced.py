"""What a jump displaces at many places at once, and the code that does the same elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import insn
from insn import Arch, Dead, Instruction, Reason, Windows
from insn.forms import FLOWS
from insn.model import Flow
from insn.window import JUMP_FORMS, JumpForm
from ubp import Patch
from uprobes.errors import CannotMap
from uprobes.location import Location

NOT_IN_A_FILE = Reason(
    "no-file",
    "the code is in no ELF file, so nobody can say what else jumps into it",
    "use trap",
)
NOTHING_DEAD = Dead(frozenset(), frozenset())
_NEXT, _RETURN = FLOWS.index(Flow.NEXT), FLOWS.index(Flow.RETURN)
RETURN_AND_POP = 3
"""The shortest return that names a number of bytes (x86: C2 iw)."""


class Files(Protocol):
    """Where the judge of a location's file comes from."""

    def windows(self, location: Location) -> Windows | None:
        """Return the judge of the file around a location; None where there is no file."""
        ...


@dataclass(frozen=True, slots=True)
class Displaced:
    """What a jump at `address` displaces, up to `end`, and how it is written; or why there is none.

    The trampoline begins anywhere in `low` … `high` - 1. Addresses are those in the process.
    """

    address: int
    end: int = 0
    low: int = 0
    high: int = 0
    form: JumpForm | None = None
    instructions: tuple[Instruction, ...] = ()
    plain: bytes = b""
    """The displaced instructions, where the same bytes serve anywhere."""
    original: bytes = b""
    """What the file has where a plain jump would stand."""
    dead: Dead = NOTHING_DEAD
    reason: Reason | None = None
    row: "np.void | None" = None
    windows: Windows | None = None
    bias: int = 0

    def code(self, arch: Arch, to: int) -> bytes:
        """Return code for the address `to` that does the same and goes on behind the window.

        Raises insn's errors where the copy can't be made there.
        """
        if self.plain:
            return self.plain + arch.jump(to + len(self.plain), self.end)
        copy = insn.relocate(self.instructions, to, back=self.end, expand_calls=True, balanced=True)
        return copy.code

    def patches(self, arch: Arch, trampoline: int) -> tuple[Patch, ...]:
        """Return what to write so that a trampoline is entered; raises insn's errors."""
        if self.form is JumpForm.JUMP:
            return (Patch(self.address, self.original, arch.jump(self.address, trampoline)),)
        if self.windows is None or self.row is None:
            raise CannotMap("no jump can be written there", address=self.address)
        image, bias = self.windows.map.image, self.bias
        rows = np.array([self.row])
        [pieces] = self.windows.jump_bytes(rows, [trampoline - bias])
        kept = arch.jump_size - len(pieces[0][1]) if self.form is JumpForm.PUNNED else 0
        return tuple(Patch(at + bias, image.read(at, len(code)), code, kept) for at, code in pieces)


def pops_arguments(place: Displaced) -> bool:
    """Tell whether the function at a place takes arguments off the stack when it returns."""
    if place.windows is None:
        return False
    code = place.windows.map
    address = np.uint64(place.address - place.bias)
    index = int(np.searchsorted(code.functions, address, side="right")) - 1
    if index < 0:
        return False
    starts = code.instructions["address"]
    first, last = np.searchsorted(starts, [code.functions[index], code.function_ends[index]])
    here = code.instructions[first:last]
    return bool(((here["flow"] == _RETURN) & (here["length"] >= RETURN_AND_POP)).any())


def displaced_at(
    locations: Sequence[Location], files: Files, arch: Arch, taken: Sequence[tuple[int, int]] = ()
) -> dict[int, Displaced]:
    """Say for each location's address what a jump there displaces, if all are patched together.

    No jump touches the ranges (start, end) `taken`.
    """
    found: dict[int, Displaced] = {}
    groups: dict[tuple[str, int], list[Location]] = {}
    for location in locations:
        bias = location.address - (location.elf_address or 0)
        groups.setdefault((location.path, bias), []).append(location)
    for (_, bias), members in groups.items():
        windows = None
        if members[0].elf_address is not None:
            windows = files.windows(members[0])
        if windows is None:
            found |= {m.address: Displaced(m.address, reason=NOT_IN_A_FILE) for m in members}
            continue
        near = [(start - bias, end - bias) for start, end in taken if start >= bias]
        addresses = [m.elf_address or 0 for m in members]
        rows = windows.plan(addresses, near)
        found |= _in_file(windows, bias, addresses, rows, arch)
    return found


def _in_file(
    windows: Windows, bias: int, addresses: list[int], rows: NDArray[np.void], arch: Arch
) -> dict[int, Displaced]:
    records, image = windows.map.instructions, windows.map.image
    starts = records["address"]
    first, last = np.searchsorted(starts, rows["address"]), np.searchsorted(starts, rows["end"])
    hard = np.concatenate([[0], np.cumsum((records["flow"] != _NEXT) | (records["kind"] != 0))])
    movable = hard[last] == hard[first]
    found = {}
    for row, address, end, low, high, form, plain, dead in zip(
        rows,
        addresses,
        rows["end"].tolist(),
        rows["low"].tolist(),
        rows["high"].tolist(),
        rows["form"].tolist(),
        movable.tolist(),
        windows.dead(addresses),
        strict=True,
    ):
        here = address + bias
        if not form:
            reason = windows.window_of(row).reason
            found[here] = Displaced(here, dead=dead, reason=reason, windows=windows, bias=bias)
            continue
        code = image.read(address, max(end - address, arch.jump_size))
        original, code = code[: arch.jump_size], code[: end - address]
        found[here] = Displaced(
            here,
            end + bias,
            *_unwrapped(low + bias, high + bias, arch.address_mask + 1),
            JUMP_FORMS[form],
            () if plain else _decode_run(code, here, arch),
            code if plain else b"",
            original,
            dead,
            None,
            row,
            windows,
            bias,
        )
    return found


def _unwrapped(low: int, high: int, size: int) -> tuple[int, int]:
    """Return the part of a range of addresses modulo `size` that lies in front of its end."""
    low, high = low % size, high % size
    return (low, high) if low < high else (0, high)


def _decode_run(code: bytes, address: int, arch: Arch) -> tuple[Instruction, ...]:
    run = []
    offset = 0
    while offset < len(code):
        instruction = insn.decode(code[offset:], address + offset, arch)
        run.append(instruction)
        offset += instruction.length
    return tuple(run)
