"""Where control may enter the code of a file, other than from the instruction before.

Every address that a program jumps to stands somewhere: in a branch, in an instruction that loads an
address, in data or a relocation, in a jump table as a distance, in an exception table, or it is a
function. All of these are gathered from the whole file, so that cold parts and jumps between
functions count too. What looks like an address by chance counts as one: that can only forbid, never
permit.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from insn.bulk import scan
from insn.elf import Image
from insn.forms import FLOWS, KINDS, RECORD
from insn.headers import FileKind
from insn.model import Flow, PcRelativeKind
from insn.stretch import Stretch

Addresses = NDArray[np.uint64]

_BRANCH = KINDS.index(PcRelativeKind.BRANCH)
_JUMPS = [FLOWS.index(flow) for flow in (Flow.JUMP, Flow.CONDITIONAL_JUMP)]
_INDIRECT_JUMP = FLOWS.index(Flow.INDIRECT_JUMP)
_LONGEST_TABLE = 1 << 14
_SMALLEST_TABLE = 4
_HIGHEST = (1 << 64) - 1


class CodeMap:
    """The instructions of a file, decoded from each function on, and where control may enter."""

    def __init__(self, image: Image) -> None:
        self.image = image

    @cached_property
    def functions(self) -> Addresses:
        """Where functions (or cold parts of them) begin: symbols and unwind entries, ascending."""
        return np.union1d(self.image.functions.addresses, self.image.frames.starts)

    @cached_property
    def function_ends(self) -> Addresses:
        """The first address behind each function; that of the next one where no size is known."""
        known = self._known_ends
        following = np.append(self.functions[1:], np.uint64(_HIGHEST))
        return np.where(known, known, following)

    @cached_property
    def _known_ends(self) -> Addresses:
        """The first address behind each function; 0 where no size is known."""
        image, starts = self.image, self.functions
        known = np.zeros(len(starts), np.uint64)
        symbols = image.functions
        sized = symbols.sizes > 0
        for begin, end in (
            (symbols.addresses[sized], (symbols.addresses + symbols.sizes)[sized]),
            (image.frames.starts, image.frames.ends),
        ):
            np.maximum.at(known, np.searchsorted(starts, begin), end)
        return known

    def in_functions(self, addresses: Addresses) -> NDArray[np.bool_]:
        """Tell which addresses lie in functions whose size is known: these are code, not data."""
        if not len(self.functions):
            return np.zeros(len(addresses), np.bool_)
        index = np.searchsorted(self.functions, addresses, side="right").astype(np.int64) - 1
        return (index >= 0) & (addresses < self._known_ends[np.maximum(index, 0)])

    @cached_property
    def parts(self) -> Addresses:
        """Those of `functions` that are parts of others (`.cold`): unnamed, and only jumped to."""
        records = self.instructions
        unnamed = np.setdiff1d(self.functions, self.image.functions.addresses)
        jumped = records["target"][np.isin(records["flow"], _JUMPS)]
        others = records["target"][(records["kind"] != 0) & ~np.isin(records["flow"], _JUMPS)]
        in_tables, in_data = self._words_of_code()
        reached = np.concatenate([jumped, in_tables, self._jump_tables])
        known = np.concatenate([others, in_data, self._absolute])
        return unnamed[np.isin(unnamed, reached) & ~np.isin(unnamed, known)]

    def _words_of_code(self) -> tuple[Addresses, Addresses]:
        """Tell the entries of jump tables from other addresses of code among the words of data.

        Beside an entry of a table stands one that leads into a function, not to its start.
        """
        in_tables, in_data = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for words in self.image.data_words():
            wide = words.astype(np.uint64)
            code = np.isin(wide, self.image.code_pointers)
            inside = code & ~np.isin(wide, self.functions)
            beside = np.zeros(len(wide), np.bool_)
            beside[1:] |= inside[:-1]
            beside[:-1] |= inside[1:]
            in_tables.append(wide[code & beside])
            in_data.append(wide[code & ~beside & ~inside])
        return np.concatenate(in_tables), np.concatenate(in_data)

    @cached_property
    def instructions(self) -> NDArray[np.void]:
        """The records of all code, ascending by address; decoding begins anew at each function."""
        parts = [self._scanned(stretch) for stretch in self.image.text]
        return np.concatenate(parts) if parts else np.empty(0, RECORD)

    def _scanned(self, stretch: Stretch) -> NDArray[np.void]:
        inside = _within(self.functions, stretch)
        restarts = (inside - np.uint64(stretch.address)).astype(np.intp)
        return scan(stretch.code, stretch.address, self.image.arch, restarts=restarts)

    @cached_property
    def entries(self) -> Addresses:
        """Every address of code where control may arrive from elsewhere, ascending, each once."""
        records = self.instructions
        relative = records["target"][records["kind"] != 0]
        image = self.image
        found = [
            relative,
            self._absolute,
            image.code_pointers,
            image.landing_pads,
            self.functions,
            self._jump_tables,
            self._marked,
            self._computed,
            np.array([image.entry], np.uint64),
        ]
        together = np.unique(np.concatenate(found))
        return np.concatenate([np.empty(0, np.uint64), *(_within(together, s) for s in image.text)])

    @cached_property
    def _marked(self) -> Addresses:
        """The instructions that mark where control may arrive indirectly (x86: endbr)."""
        records = self.instructions
        found = [np.empty(0, np.uint64)]
        for stretch in self.image.text:
            text = np.frombuffer(stretch.code, np.uint8)
            for mark in self.image.arch.entry_marks:
                here = records["address"][records["length"] == len(mark)]
                here = here[(here >= stretch.address) & (here < stretch.end)]
                at = (here - np.uint64(stretch.address)).astype(np.intp)
                for place, byte in enumerate(mark):
                    at = at[text[at + place] == byte]
                found.append(at.astype(np.uint64) + np.uint64(stretch.address))
        return np.concatenate(found)

    @cached_property
    def _absolute(self) -> Addresses:
        """The addresses that instructions of a program with a fixed place hold as numbers."""
        return self._numbers[1]

    @cached_property
    def _numbers(self) -> tuple[NDArray[np.intp], Addresses]:
        """The 32-bit numbers in instructions, where these can be addresses, and in which.

        They stand at the end of an instruction (`mov`, `push`, `cmp`) or of its operand.
        """
        nothing = np.empty(0, np.intp), np.empty(0, np.uint64)
        if self.image.kind is not FileKind.EXECUTABLE and self.image.arch.bits == 64:
            return nothing
        records = self.instructions
        # A pc-relative operand is no address; where it ends the instruction, no number follows it.
        number = records["offset"] + records["size"] < records["length"]
        long = (records["length"] >= 5) & ((records["kind"] == 0) | number)
        which, found = [nothing[0]], [nothing[1]]
        for stretch in self.image.text:
            text = np.frombuffer(stretch.code, np.uint8)
            inside = (records["address"] >= stretch.address) & (records["address"] < stretch.end)
            places = np.flatnonzero(long & inside)
            here = records[places]
            ends = (here["address"] - np.uint64(stretch.address)).astype(np.intp) + here["length"]
            quads = text[ends[:, None] - np.arange(4, 0, -1)]
            which.append(places)
            found.append(quads.copy().view("<u4").reshape(-1).astype(np.uint64))
        return np.concatenate(which), np.concatenate(found)

    @cached_property
    def _computed(self) -> Addresses:
        """What functions may jump to that compute addresses of their own code.

        Such a function takes the address of an instruction inside of it and jumps indirectly. With
        tables of 32-bit distances from that instruction (labels as values: glibc's printf) their
        entries are meant; without, any instruction (unrolled loops in assembler that are entered
        at a multiple of their length).
        """
        records, starts = self.instructions, self.functions
        if not len(starts):
            return np.empty(0, np.uint64)
        places, numbers = self._numbers
        relative = np.flatnonzero((records["kind"] != 0) & (records["kind"] != _BRANCH))
        user = np.concatenate([relative, places])
        taken = np.concatenate([records["target"][relative], numbers])
        region = np.searchsorted(starts, records["address"], side="right")
        to = np.searchsorted(starts, taken, side="right")
        jumping = np.unique(region[records["flow"] == _INDIRECT_JUMP])
        own = (to == region[user]) & (to > 0) & np.isin(to, jumping)
        own &= starts[np.maximum(to, 1) - 1] != taken
        within = np.zeros(len(taken), np.bool_)
        for stretch in self.image.text:
            within |= (taken >= stretch.address) & (taken < stretch.end)
        found = [np.empty(0, np.uint64)]
        for number in np.unique(to[own & within]).tolist():
            bases = np.unique(taken[own & within & (to == number)]).tolist()
            tables = np.unique(taken[(region[user] == number) & ~within])
            inside = records["address"][region == number]
            entries = [self._distances(table, base) for base in bases for table in tables.tolist()]
            explained = [entry for entry in entries if len(entry) >= _SMALLEST_TABLE]
            found += explained if explained else [inside]
        return np.concatenate(found)

    def _distances(self, table: int, base: int) -> Addresses:
        """Read a table of 32-bit distances from `base`, as long as they lead to instructions."""
        for data in self._data():
            if data.address <= table < data.end:
                return self._table(data, table, data.end, base)
        return np.empty(0, np.uint64)

    @cached_property
    def _jump_tables(self) -> Addresses:
        """The targets of tables of 32-bit distances (`lea table; movslq; add; jmp`).

        A table begins where a function that jumps indirectly takes the address of data; it goes on
        as long as its entries lead to instructions. Tables of full addresses are among the words of
        data already.
        """
        records = self.instructions
        starts = self.functions
        owner = np.searchsorted(starts, records["address"], side="right")
        jumping = np.unique(owner[records["flow"] == _INDIRECT_JUMP])
        taken = (records["kind"] != 0) & (records["kind"] != _BRANCH) & np.isin(owner, jumping)
        found = [np.empty(0, np.uint64)]
        bases = np.unique(records["target"][taken])
        # Assembler programmers put tables between functions: code is looked at, too.
        for section in [*self._data(), *self.image.text]:
            inside = _within(bases, section).tolist()
            for base, limit in zip(inside, [*inside[1:], section.end], strict=False):
                # The next base may be a field inside of this table's last entry only by chance.
                found.append(self._table(section, base, max(limit, base + 4)))
        if self.image.arch.bits == 32:
            found.extend(self._distances_from_got())
        return np.concatenate(found)

    def _distances_from_got(self) -> Iterator[Addresses]:
        """Take each word of data for a distance from the global offset table, as i386 code does."""
        table = self.image.section(".got.plt") or self.image.section(".got")
        if table is None:
            return
        for data in self._data():
            content = data.code[-data.address % 4 :]
            words = np.frombuffer(content, "<u4", len(content) // 4)
            targets = np.unique(words + np.uint32(table.address & 0xFFFFFFFF)).astype(np.uint64)
            for stretch in self.image.text:
                yield _within(targets, stretch)

    def _data(self) -> list[Stretch]:
        return [
            Stretch(section.address, self.image.contents(section), section.name)
            for section in self.image.sections
            if section.loaded and section.in_file and not section.executable
        ]

    def _table(self, data: Stretch, table: int, limit: int, base: int | None = None) -> Addresses:
        base = table if base is None else base
        offset = table - data.address
        size = min(limit - table, len(data.code) - offset, 4 * _LONGEST_TABLE) & ~3
        distances = np.frombuffer(data.code, "<i4", size // 4, offset).astype(np.int64)
        targets = distances.astype(np.uint64) + np.uint64(base)
        starts = self.instructions["address"]
        place = np.minimum(np.searchsorted(starts, targets), len(starts) - 1)
        wrong = np.flatnonzero(starts[place] != targets)
        return targets[: int(wrong[0])] if len(wrong) else targets


def _within(addresses: Addresses, stretch: Stretch) -> Addresses:
    bounds = np.array([stretch.address, min(stretch.end, _HIGHEST)], np.uint64)
    low, high = np.searchsorted(addresses, bounds).tolist()
    return addresses[low:high]
