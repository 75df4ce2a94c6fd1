"""What a jump displaces at many places at once, and the code that does the same elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

import insn
from insn import Arch, Dead, Instruction, Reason, Windows
from insn.forms import FLOWS
from insn.model import Flow
from uprobes.location import Location

NOT_IN_A_FILE = Reason(
    "no-file",
    "the code is in no ELF file, so nobody can say what else jumps into it",
    "use trap",
)
_NEXT = FLOWS.index(Flow.NEXT)
NOTHING_DEAD = Dead(frozenset(), frozenset())


class Files(Protocol):
    """Where the judge of windows for a location's file comes from; None where there is no file."""

    def windows(self, location: Location) -> Windows | None:
        """Return the judge of the file around a location that came from this resolver."""
        ...


@dataclass(frozen=True, slots=True)
class Displaced:
    """The instructions that a jump at `address` displaces, up to `end`; or why there is no jump.

    `original` are the file's bytes under the jump itself, none where there is no file.
    """

    address: int
    end: int = 0
    original: bytes = b""
    instructions: tuple[Instruction, ...] = ()
    plain: bytes = b""
    """The displaced instructions, where the same bytes serve anywhere."""
    dead: Dead = NOTHING_DEAD
    reason: Reason | None = None

    def code(self, arch: Arch, to: int) -> bytes:
        """Return code for the address `to` that does the same and goes on behind the window.

        Raises insn's errors where the copy can't be made there.
        """
        if self.plain:
            return self.plain + arch.jump(to + len(self.plain), self.end)
        return insn.relocate(self.instructions, to, back=self.end, expand_calls=True).code


def displaced_at(locations: Sequence[Location], files: Files, arch: Arch) -> dict[int, Displaced]:
    """Say for each location's address what a jump there displaces."""
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
        else:
            found |= _in_file(windows, bias, [m.elf_address or 0 for m in members], arch)
    return found


def _in_file(
    windows: Windows, bias: int, addresses: Sequence[int], arch: Arch
) -> dict[int, Displaced]:
    rows = windows.judge(addresses)
    records, image = windows.map.instructions, windows.map.image
    first = np.searchsorted(records["address"], rows["address"])
    last = np.searchsorted(records["address"], rows["end"])
    easy = (records["flow"] == _NEXT) & (records["kind"] == 0)
    hard = np.concatenate([[0], np.cumsum(~easy)])
    movable = hard[last] == hard[first]
    found = {}
    for row, address, end, plain in zip(
        rows, rows["address"].tolist(), rows["end"].tolist(), movable.tolist(), strict=True
    ):
        here = address + bias
        if row["reason"]:
            reason = windows.window(address).reason
            found[here] = Displaced(here, reason=reason)
            continue
        code = image.read(address, end - address)
        run: tuple[Instruction, ...] = ()
        if not plain:
            run = _decode_run(code, here, arch)
        original = image.read(address, arch.jump_size)
        found[here] = Displaced(here, end + bias, original, run, code if plain else b"")
    return found


def _decode_run(code: bytes, address: int, arch: Arch) -> tuple[Instruction, ...]:
    run = []
    offset = 0
    while offset < len(code):
        instruction = insn.decode(code[offset:], address + offset, arch)
        run.append(instruction)
        offset += instruction.length
    return tuple(run)
