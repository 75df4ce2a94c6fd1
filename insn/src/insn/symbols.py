"""Symbol tables of ELF files, read in bulk: sorted arrays that answer by name and by address."""

import difflib
import enum
import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from insn.errors import MalformedFile

UNDEFINED = 0
ABSOLUTE = 0xFFF1


class SymbolKind(enum.Enum):
    """What a symbol names."""

    NONE = 0
    OBJECT = 1
    FUNCTION = 2
    SECTION = 3
    FILE = 4
    COMMON = 5
    THREAD_LOCAL = 6
    INDIRECT_FUNCTION = 10
    OTHER = 15
    FRAME = 16
    """No symbol: a function known only by its unwind entry."""


class Binding(enum.Enum):
    """Who sees a symbol."""

    LOCAL = 0
    GLOBAL = 1
    WEAK = 2
    UNIQUE = 10
    OTHER = 15


FUNCTION_KINDS = (SymbolKind.FUNCTION, SymbolKind.INDIRECT_FUNCTION)

_KIND_CODES = {kind.value: kind for kind in SymbolKind}
_BINDING_CODES = {binding.value: binding for binding in Binding}
_RANK = np.full(
    16, 3, np.uint8
)  # of several names for one address, the most public one comes first
_RANK[[Binding.GLOBAL.value, Binding.UNIQUE.value, Binding.WEAK.value, Binding.LOCAL.value]] = (
    0,
    0,
    1,
    2,
)

_FIELDS = {
    64: [("name", 4), ("info", 1), ("other", 1), ("section", 2), ("address", 8), ("size", 8)],
    32: [("name", 4), ("address", 4), ("size", 4), ("info", 1), ("other", 1), ("section", 2)],
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol: `address` and `size` in bytes, as the file states them (before any load bias)."""

    name: str
    address: int
    size: int
    kind: SymbolKind
    binding: Binding

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size


def symbol_dtype(bits: int, byte_order: Literal["little", "big"]) -> np.dtype[np.void]:
    """Give the layout of one symbol table entry on file."""
    order = "<" if byte_order == "little" else ">"
    return np.dtype([(name, f"{order}u{size}") for name, size in _FIELDS[bits]])


class Symbols(Sequence[Symbol]):
    """A symbol table sorted by address; of one address, the most public, then the longest first.

    The columns `addresses`, `sizes` (uint64), `kinds` and `bindings` (uint8, the values of the
    enums) are there for bulk work; `names` is made on first use. A version behind the name
    (`memcpy@GLIBC_2.2.5`) is cut off.
    """

    def __init__(
        self,
        addresses: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        kinds: NDArray[np.uint8],
        bindings: NDArray[np.uint8],
        name_offsets: NDArray[np.uint64],
        strings: bytes,
    ) -> None:
        self.addresses = addresses
        self.sizes = sizes
        self.kinds = kinds
        self.bindings = bindings
        self._name_offsets = name_offsets
        self._strings = strings

    @classmethod
    def merged(
        cls, tables: Iterable[tuple[NDArray[np.void], bytes]], *, keep_undefined: bool = False
    ) -> "Symbols":
        """Merge tables as they stand on file, each with its strings; leave out undefined symbols.

        An entry that two tables share (same address, size and name) is kept once.
        """
        columns: list[tuple[NDArray[np.uint64], ...]] = []
        strings = b""
        for entries, names in tables:
            kept = entries if keep_undefined else entries[entries["section"] != UNDEFINED]
            kept = kept[kept["name"] < len(names)]
            columns.append(
                (
                    kept["address"].astype(np.uint64),
                    kept["size"].astype(np.uint64),
                    kept["info"].astype(np.uint64),
                    kept["name"].astype(np.uint64) + np.uint64(len(strings)),
                )
            )
            strings += names + b"\0"  # a table that lacks its last zero must not run into the next
        if not columns:
            return cls.empty()
        address, size, information, name = (
            np.concatenate(parts) for parts in zip(*columns, strict=True)
        )
        kind = (information & np.uint64(15)).astype(np.uint8)
        binding = (information >> np.uint64(4)).astype(np.uint8) & np.uint8(15)
        order = np.lexsort((np.iinfo(np.uint64).max - size, _RANK[binding], address))
        table = cls(address[order], size[order], kind[order], binding[order], name[order], strings)
        return table._without_repeats() if len(columns) > 1 else table

    @classmethod
    def empty(cls) -> "Symbols":
        """Make a table without symbols."""
        none64 = np.empty(0, np.uint64)
        none8 = np.empty(0, np.uint8)
        return cls(none64, none64, none8, none8, none64, b"\0")

    def _without_repeats(self) -> "Symbols":
        seen: set[tuple[int, int, str]] = set()
        keep = np.ones(len(self), np.bool_)
        rows = zip(self.addresses.tolist(), self.sizes.tolist(), self.names, strict=True)
        for index, row in enumerate(rows):
            if row in seen:
                keep[index] = False
            seen.add(row)
        return self.where(keep)

    def where(self, keep: NDArray[np.bool_]) -> "Symbols":
        """Give the table of those symbols for which the mask is true."""
        table = Symbols(
            self.addresses[keep],
            self.sizes[keep],
            self.kinds[keep],
            self.bindings[keep],
            self._name_offsets[keep],
            self._strings,
        )
        if "names" in self.__dict__:
            table.names = [self.names[index] for index in np.flatnonzero(keep).tolist()]
        return table

    @cached_property
    def names(self) -> list[str]:
        """The names in the order of the columns; bytes that are no UTF-8 are written as escapes."""
        strings = self._strings
        find = strings.find
        found = []
        # Linkers let names share endings, within measure: they must not be able to fill the memory.
        budget = 8 * len(strings) + (1 << 20)
        for offset in self._name_offsets.tolist():
            name = strings[offset : find(b"\0", offset)]
            budget -= len(name)
            if budget < 0:
                raise MalformedFile("the names of the symbol table overlap without end")
            at = name.find(b"@")
            if at > 0:
                name = name[:at]
            found.append(name.decode("utf-8", "backslashreplace"))
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        table: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            table.setdefault(name, []).append(index)
        return table

    @cached_property
    def _reach(self) -> NDArray[np.uint64]:
        """The furthest end of any symbol up to each one: bounds the search for an enclosing one."""
        return np.maximum.accumulate(self.addresses + np.maximum(self.sizes, np.uint64(1)))

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, index: int) -> Symbol:  # type: ignore[override]  # no slices: `where` does that
        return Symbol(
            self.names[index],
            int(self.addresses[index]),
            int(self.sizes[index]),
            _KIND_CODES.get(int(self.kinds[index]), SymbolKind.OTHER),
            _BINDING_CODES.get(int(self.bindings[index]), Binding.OTHER),
        )

    def __iter__(self) -> Iterator[Symbol]:
        return (self[index] for index in range(len(self)))

    def find(self, name: str) -> tuple[Symbol, ...]:
        """List the symbols of exactly this name, by address (static functions may share one)."""
        return tuple(self[index] for index in self._by_name.get(name, ()))

    def matching(self, pattern: str) -> NDArray[np.intp]:
        """List the indices of the symbols whose name matches a shell pattern."""
        if pattern == "*":
            return np.arange(len(self))
        matches = re.compile(fnmatch.translate(pattern)).match
        return np.array([i for i, name in enumerate(self.names) if matches(name)], np.intp)

    def similar(self, name: str, count: int = 3) -> list[str]:
        """List up to `count` names that look like this one, likeliest first."""
        known = self._by_name
        lowered = name.lower()
        same_but_case = [other for other in known if other.lower() == lowered]
        # difflib looks at every pair of letters: only names of about the length are worth that.
        near = [other for other in known if abs(len(other) - len(name)) <= max(3, len(name) // 3)]
        close = difflib.get_close_matches(name, near, count, 0.6)
        longer = (
            [other for other in known if lowered in other.lower()][:count] if len(name) > 2 else []
        )
        return list(dict.fromkeys(same_but_case + close + longer))[:count]

    def at(self, address: int) -> Symbol | None:
        """Find the innermost symbol around the address; one without a size is one byte long."""
        index = self._last_up_to(address)
        while index >= 0 and int(self._reach[index]) > address:
            if int(self.addresses[index]) + max(int(self.sizes[index]), 1) > address:
                first = int(np.searchsorted(self.addresses, self.addresses[index]))
                return self._longest(first, index, address)
            index -= 1
        return None

    def _longest(self, first: int, last: int, address: int) -> Symbol:
        """Of names for one start, take the most public one that reaches the address."""
        for index in range(first, last + 1):
            if int(self.addresses[index]) + max(int(self.sizes[index]), 1) > address:
                return self[index]
        return self[last]

    def nearest(self, address: int) -> Symbol | None:
        """Find the symbol that starts last at or below the address, whatever its size."""
        index = self._last_up_to(address)
        if index < 0:
            return None
        return self[int(np.searchsorted(self.addresses, self.addresses[index]))]

    def _last_up_to(self, address: int) -> int:
        if not 0 <= address < 1 << 64:
            return -1
        return int(np.searchsorted(self.addresses, np.uint64(address), side="right")) - 1
