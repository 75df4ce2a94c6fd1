"""What the dynamic segment of an ELF file says: libraries needed, imports, versions, slots.

Read from the loaded image, as the loader does; a file without a dynamic segment has none of it.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from insn.elf import Image
from insn.errors import InsnError
from insn.symbols import symbol_dtype
from uprobes.machine.relocations import RELOCATION_TYPES

_PT_DYNAMIC = 2
_NEEDED, _STRINGS, _SYMBOLS, _STRINGS_SIZE, _SONAME = 1, 5, 6, 10, 14
_RELA, _RELA_SIZE, _PLT_SIZE, _PLT = 7, 8, 2, 23
_VERSIONS = 0x6FFFFFF0
_HIDDEN = 0x8000
_LARGEST = 1 << 26
"""No table here is longer than this, whatever a damaged file says."""


class Dynamic:
    """The dynamic segment of one image; a damaged table counts as an absent one."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._bits = image.headers.bits
        self._order = "<" if image.headers.byte_order == "little" else ">"
        self._tags: dict[int, list[int]] = {}
        word = np.dtype(f"{self._order}u{self._bits // 8}")
        for segment in image.headers.segments:
            if segment.type == _PT_DYNAMIC and segment.file_size:
                content = self._read(segment.address, min(segment.file_size, 1 << 16))
                words = np.frombuffer(content, word, len(content) // word.itemsize).tolist()
                for tag, value in zip(words[::2], words[1::2], strict=False):
                    if not tag:
                        break
                    self._tags.setdefault(tag, []).append(value)

    def _read(self, address: int, size: int) -> bytes:
        try:
            return self._image.read(address, min(size, _LARGEST))
        except InsnError:
            return b""

    def _tag(self, tag: int) -> int:
        return self._tags.get(tag, [0])[0]

    @cached_property
    def _names(self) -> bytes:
        return self._read(self._tag(_STRINGS), self._tag(_STRINGS_SIZE))

    def _name(self, offset: int) -> str:
        end = self._names.find(b"\0", offset)
        return self._names[offset : max(end, offset)].decode("utf-8", "backslashreplace")

    @property
    def needed(self) -> tuple[str, ...]:
        """The libraries that the loader must map with this one, by soname."""
        return tuple(self._name(offset) for offset in self._tags.get(_NEEDED, ()))

    @property
    def soname(self) -> str:
        """The name that others need it by; empty for most programs."""
        return self._name(self._tag(_SONAME)) if _SONAME in self._tags else ""

    @cached_property
    def _symbols(self) -> NDArray[np.void]:
        layout = symbol_dtype(self._bits, self._image.headers.byte_order)
        start = self._tag(_SYMBOLS)
        if not start:
            return np.empty(0, layout)
        # The segment does not state their number. All known linkers put the strings behind them.
        size = self._tag(_STRINGS) - start
        section = next((s for s in self._image.sections if s.address == start), None)
        size = section.size if section is not None else size
        content = self._read(start, size) if size > 0 else b""
        return np.frombuffer(content, layout, len(content) // layout.itemsize)

    @cached_property
    def imports(self) -> frozenset[str]:
        """Names that this file uses and another must define."""
        symbols = self._symbols
        offsets = symbols["name"][symbols["section"] == 0].tolist()
        return frozenset(filter(None, map(self._name, offsets)))

    @cached_property
    def superseded(self) -> frozenset[tuple[str, int]]:
        """The (name, address) of symbols that only programs linked long ago still use.

        Their version is not the default one of that name.
        """
        symbols = self._symbols
        start = self._tag(_VERSIONS)
        content = self._read(start, 2 * len(symbols)) if start else b""
        versions = np.frombuffer(content, f"{self._order}u2", len(content) // 2)
        symbols = symbols[: len(versions)]
        old = symbols[(versions & _HIDDEN != 0) & (symbols["section"] != 0)]
        rows = zip(old["name"].tolist(), old["address"].tolist(), strict=True)
        return frozenset((self._name(name), address) for name, address in rows)

    @cached_property
    def _slots(self) -> tuple[dict[str, list[int]], dict[int, list[int]]]:
        """Slots by symbol name, and slots by the address of the function that chooses."""
        by_name: dict[str, list[int]] = {}
        by_chooser: dict[int, list[int]] = {}
        types = RELOCATION_TYPES.get((self._image.headers.machine, self._bits))
        if types is None:
            return by_name, by_chooser
        word = f"{self._order}u{self._bits // 8}"
        layout = np.dtype([("slot", word), ("information", word), ("addend", word)])
        shift = 32 if self._bits == 64 else 8
        for start_tag, size_tag in ((_RELA, _RELA_SIZE), (_PLT, _PLT_SIZE)):
            start = self._tag(start_tag)
            content = self._read(start, self._tag(size_tag)) if start else b""
            rows = np.frombuffer(content, layout, len(content) // layout.itemsize)
            kinds = rows["information"] & np.dtype(word).type((1 << shift) - 1)
            for row in rows[kinds == types.indirect]:
                by_chooser.setdefault(int(row["addend"]), []).append(int(row["slot"]))
            for row in rows[np.isin(kinds, list(types.symbol_slots))]:
                index = int(row["information"]) >> shift
                if index < len(self._symbols) and not int(row["addend"]):
                    name = self._name(int(self._symbols["name"][index]))
                    by_name.setdefault(name, []).append(int(row["slot"]))
        return by_name, by_chooser

    def slots_of(self, name: str) -> tuple[int, ...]:
        """List where the loader stores the address of a symbol for this file's own use."""
        return tuple(self._slots[0].get(name, ()))

    def slots_chosen_by(self, address: int) -> tuple[int, ...]:
        """List where the loader stores what the indirect function at this address returned."""
        return tuple(self._slots[1].get(address, ()))
