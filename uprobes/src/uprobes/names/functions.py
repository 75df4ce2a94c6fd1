"""The functions of one ELF file, by every name they go by."""

import difflib
import fnmatch
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np

from insn import Windows, boundaries
from insn.elf import Image, open_image
from insn.errors import InsnError
from insn.model import Instruction
from insn.restartable import sequences
from insn.symbols import Symbol, SymbolKind, Symbols
from uprobes.names.debug import separate_symbols
from uprobes.names.demangle import demangle, without_parameters
from uprobes.names.dynamic import Dynamic
from uprobes.names.entries import no_returns, unwinders
from uprobes.names.go import check_size, is_go
from uprobes.names.go_table import go_functions
from uprobes.names.spec import Kind, Spec, quote, quote_object

_INDIRECT = SymbolKind.INDIRECT_FUNCTION.value


class Functions:
    """One ELF file and its function symbols; tables are made when first needed and then kept.

    A stripped file's symbols may lie in a debug file of their own, found by its build ID below one
    of `roots`.
    """

    def __init__(self, image: Image, roots: Sequence[str] = ("",)) -> None:
        self.image = image
        self._roots = roots

    @cached_property
    def dynamic(self) -> Dynamic:
        """What the file's dynamic segment says."""
        return Dynamic(self.image)

    @cached_property
    def symbols(self) -> Symbols:
        """The function symbols by address."""
        return self.image.functions

    @cached_property
    def _separate(self) -> Symbols:
        """The function symbols of the debug file that the file itself lacks."""
        found = separate_symbols(self.image, self._roots)
        if found is None:
            return Symbols.empty()
        known = set(zip(self.symbols.addresses.tolist(), self.symbols.names, strict=True))
        rows = zip(found.addresses.tolist(), found.names, strict=True)
        fresh = [row not in known and self.image.executable(row[0]) for row in rows]
        return found.where(np.array(fresh, np.bool_))

    @cached_property
    def _unnamed(self) -> list[tuple[int, int]]:
        """(start, size) of functions that only their unwind entry knows: all, in stripped files.

        The entry of the program is none: nothing calls it.
        """
        frames, symbols = self.image.frames, self.symbols
        named = np.concatenate((symbols.addresses, self._separate.addresses))
        wanted = frames.entered & ~np.isin(frames.starts, named)
        for start, end in self.image.plt_ranges:
            wanted &= (frames.starts < np.uint64(start)) | (frames.starts >= np.uint64(end))
        starts, ends = frames.starts[wanted].tolist(), frames.ends[wanted].tolist()
        return [
            (start, end - start)
            for start, end in zip(starts, ends, strict=True)
            if symbols.at(start) is None
            and start != self.image.entry
            and self.image.executable(start)
        ]

    @cached_property
    def _of_go(self) -> list[tuple[str, int, int]]:
        """(name, start, size) of functions that only Go's own table names, as in stripped files."""
        known = set(self.symbols.addresses.tolist())
        found = go_functions(self.image) if self.go else []
        return [row for row in found if row[1] not in known and self.image.executable(row[1])]

    @cached_property
    def windows(self) -> Windows:
        """What a jump written over the file's code would displace."""
        return Windows(self.image)

    @cached_property
    def no_returns(self) -> dict[int, str]:
        """Why the returns of some functions can't be probed, by address."""
        return no_returns(self.image, self.addresses, self.names)

    @cached_property
    def go(self) -> bool:
        """Whether the Go linker made the file: its return addresses must stay as they are."""
        return is_go(self.image)

    def lead(self, start: int) -> int:
        """Return how far behind its first byte a function's probe point is.

        What comes before is Go's check of the stack, which may run twice in one call.
        """
        return check_size(self.image, start) if self.go else 0

    @cached_property
    def restartable(self) -> list[tuple[int, int]]:
        """Where restartable sequences (rseq(2)) begin and end."""
        try:
            starts, ends = sequences(self.image)
        except InsnError:
            return []
        return list(zip(starts.tolist(), ends.tolist(), strict=True))

    @cached_property
    def unwinders(self) -> list[int]:
        """The addresses of functions that walk the stack."""
        return unwinders(self.image)

    @cached_property
    def names(self) -> list[str]:
        """The name of each function as the symbol table has it; `sub_1234` for one without."""
        nameless = [unnamed(start) for start, _ in self._unnamed]
        of_go = [name for name, _, _ in self._of_go]
        return self.symbols.names + self._separate.names + nameless + of_go

    @cached_property
    def addresses(self) -> list[int]:
        """The address of each function, in the order of `names`."""
        found: list[int] = self.symbols.addresses.tolist() + self._separate.addresses.tolist()
        found += [start for start, _ in self._unnamed]
        return found + [start for _, start, _ in self._of_go]

    @cached_property
    def sizes(self) -> list[int]:
        """The size of each function in bytes, 0 where its symbol states none."""
        found: list[int] = self.symbols.sizes.tolist() + self._separate.sizes.tolist()
        found += [size for _, size in self._unnamed]
        return found + [size for _, _, size in self._of_go]

    @cached_property
    def indirect(self) -> frozenset[int]:
        """The indices of symbols that name a chooser instead of the function itself."""
        kinds = np.concatenate((self.symbols.kinds, self._separate.kinds))
        return frozenset(np.flatnonzero(kinds == _INDIRECT).tolist())

    @cached_property
    def demangled(self) -> list[str]:
        """The name of each symbol as the source writes it."""
        return [demangle(name) for name in self.names]

    @cached_property
    def _by_demangled(self) -> dict[str, list[int]]:
        """Indices by demangled name, with and without parameters; plain names are left out."""
        table: dict[str, list[int]] = {}
        for index, (raw, plain) in enumerate(zip(self.names, self.demangled, strict=True)):
            if plain is not raw:
                for name in {plain, without_parameters(plain)}:
                    table.setdefault(name, []).append(index)
        return table

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        table: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            table.setdefault(name, []).append(index)
        return table

    @cached_property
    def entries(self) -> dict[int, int]:
        """The index of the plainest name of the function that begins at an address."""
        chosen = self._plainest(range(len(self.names)))
        return {self.addresses[index]: index for index in chosen}

    def exactly(self, name: str, *, raw: bool = False) -> list[int]:
        """List one index per address of the functions with this name, the superseded left out."""
        found = self._by_name.get(name)
        if found is None and not raw and any(n.startswith("_") for n in self._by_name):
            found = self._by_demangled.get(name)
        if not found:
            return []
        if len(found) > 1:
            old = self.dynamic.superseded
            names, addresses = self.names, self.addresses
            current = [i for i in found if (names[i], addresses[i]) not in old]
            found = current or found
        return list({self.addresses[index]: index for index in reversed(found)}.values())[::-1]

    def matching(self, spec: Spec) -> list[int]:
        """List one index per address of the functions that fit a glob or regex.

        Of several names for one address, the plainest is taken.
        """
        names = self.names if spec.raw else self.demangled
        if spec.kind is Kind.GLOB and spec.place == "*":
            return self._plainest(range(len(names)))
        fits = _matcher(spec)
        found = [index for index, name in enumerate(names) if fits(name)]
        return self._plainest(found)

    def _plainest(self, indices: Iterable[int]) -> list[int]:
        names, addresses = self.names, self.addresses
        chosen: dict[int, int] = {}
        for index in indices:
            address = addresses[index]
            other = chosen.get(address)
            if other is None or _plainness(names[index]) < _plainness(names[other]):
                chosen[address] = index
        return list(chosen.values())

    def around(self, address: int) -> tuple[str, int, int] | None:
        """Name the function around a file address: (name, start, size)."""
        found: Symbol | None = self.image.function_at(address)
        if found is None:
            at = bisect_right(self._of_go, address, key=lambda row: row[1]) - 1
            if at < 0 or address >= sum(self._of_go[at][1:]):
                return None
            return self._of_go[at]
        index = self.entries.get(found.address)
        name = self.demangled[index] if index is not None else unnamed(found.address)
        return name, found.address, found.size

    def kind_of(self, name: str) -> SymbolKind | None:
        """Say what a name that is no function stands for in this file; None when it is unknown."""
        found = self.image.symbols.find(name)
        return found[0].kind if found else None

    def similar(self, name: str, count: int = 4) -> list[str]:
        """List functions whose names come close, likeliest first."""
        found = self.symbols.similar(name, count) + self._separate.similar(name, count)
        mangled = [n for n in self._by_demangled if len(n) < 3 * len(name) + 16]
        found += difflib.get_close_matches(name, mangled, count, 0.6)
        found += [n for n in mangled if n.endswith(f"::{name}")]
        return list(dict.fromkeys(demangle(n) for n in found))[:count]

    def contains(self, address: int) -> Instruction | None:
        """Return the instruction that an address lies inside of; None if it starts one.

        None also where that can't be known: no function is known around the address, or its code
        can't be decoded up to there.
        """
        [found] = boundaries(self.image, address)
        return found.inside

    def only_spec(self, index: int, name: str, offset: int) -> str:
        """Return the spec that means one place in one function of this file, mapped as `name`."""
        shown = self.demangled[index]
        if len(self._by_name.get(shown, ())) == 1 or len(self.exactly(shown)) == 1:
            return f"{quote_object(name)}:{quote(shown)}" + (f"+{offset:#x}" if offset else "")
        return f"elf:{quote_object(name)}:{self.addresses[index] + offset:#x}"


def unnamed(start: int) -> str:
    """Name a function that has no symbol, by the file address of its start."""
    return f"sub_{start:x}"


def _plainness(name: str) -> tuple[int, int, str]:
    return len(name) - len(name.lstrip("_")), len(name), name


def _matcher(spec: Spec) -> Callable[[str], object]:
    if spec.kind is Kind.REGEX:
        return re.compile(spec.place).search
    whole = re.compile(fnmatch.translate(spec.place)).match
    if spec.raw or "(" in spec.place:
        return whole
    return lambda name: whole(name) or ("(" in name and whole(without_parameters(name)))


class Files:
    """The ELF files read so far, kept by what the file was when it was read."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._kept: OrderedDict[object, Functions] = OrderedDict()
        self._named: dict[str, Functions] = {}

    def named(self, path: str) -> Functions | None:
        """Return the file that was last kept under a path."""
        return self._named.get(path)

    def keep(
        self, key: object, origin: str | bytes, path: str, roots: Sequence[str] = ("",)
    ) -> Functions:
        """Return the file with this key, opened from its path or bytes when it is not known yet.

        `path` is what the process that mapped it calls it.
        Errors of insn's `open_image` and of the operating system pass through.
        """
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = Functions(open_image(origin), roots)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        self._named[path] = found
        return found
