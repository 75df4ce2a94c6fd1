"""The headers of an ELF file: kind, machine, segments, sections (System V ABI, ch. 4 and 5)."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from insn.errors import MalformedFile
from insn.source import Source

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_EH_FRAME = 1, 2, 4, 0x6474E550
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_DYNSYM = 2, 4, 8, 11
_SHF_WRITE, _SHF_ALLOC, _SHF_EXEC, _SHF_COMPRESSED = 1, 2, 4, 0x800
_MOST_SECTIONS = 1 << 20

_SECTION_FIELDS = {
    64: "name:4 type:4 flags:8 address:8 offset:8 size:8 link:4 info:4 align:8 entry_size:8",
    32: "name:4 type:4 flags:4 address:4 offset:4 size:4 link:4 info:4 align:4 entry_size:4",
}
_SEGMENT_FIELDS = {
    64: "type:4 flags:4 offset:8 address:8 physical:8 file_size:8 memory_size:8 align:8",
    32: "type:4 offset:4 address:4 physical:4 file_size:4 memory_size:4 flags:4 align:4",
}

ByteOrder = Literal["little", "big"]


class FileKind(enum.Enum):
    """What the loader does with the file."""

    EXECUTABLE = "executable"
    """It runs at the addresses that it states."""
    SHARED = "shared object"
    """A library or a position-independent program: a load bias is added to each address."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: `address` 0 when it is not loaded; `type` as in the ELF specification."""

    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int
    executable: bool
    writable: bool
    loaded: bool
    in_file: bool

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: `file_size` bytes at `offset` appear at `address`, then zeros."""

    type: int
    address: int
    offset: int
    file_size: int
    memory_size: int
    readable: bool
    writable: bool
    executable: bool

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.memory_size

    @property
    def file_end(self) -> int:
        """The first address behind what comes from the file."""
        return self.address + self.file_size


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of one file say; `segments` are all its program headers."""

    kind: FileKind
    machine: str
    bits: int
    byte_order: ByteOrder
    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]


class _ElfHeader:
    """The fields of the ELF header that are used, under pyelftools' names."""

    e_machine: str | int
    e_type: str | int
    e_entry: int
    e_phoff: int
    e_phnum: int
    e_phentsize: int
    e_shoff: int
    e_shnum: int
    e_shentsize: int
    e_shstrndx: int


def read_headers(source: Source) -> Headers:
    """Read the headers; MalformedFile for what is neither an executable nor a shared object."""
    start = source.read(0, min(source.size, 64))
    if start[:4] != b"\x7fELF":
        raise MalformedFile(
            f"{source.label} is no ELF file", hint="give an executable or a shared library"
        )
    if len(start) < 52 or start[4] not in (1, 2) or start[5] not in (1, 2):
        raise MalformedFile(f"{source.label} has a damaged ELF header", hint="try `readelf -h`")
    bits = 32 * start[4]
    byte_order: ByteOrder = "little" if start[5] == 1 else "big"
    header = _parse(source, bits, byte_order)
    tables = _Tables(source, bits, byte_order)
    return Headers(
        _kind(source, header.e_type),
        str(header.e_machine),
        bits,
        byte_order,
        header.e_entry,
        tuple(tables.segments(header)),
        tuple(tables.sections(header)),
    )


def _parse(source: Source, bits: int, byte_order: ByteOrder) -> _ElfHeader:
    from elftools.common.exceptions import ELFError
    from elftools.common.utils import struct_parse
    from elftools.elf.structs import ELFStructs

    structs = ELFStructs(little_endian=byte_order == "little", elfclass=bits)
    structs.create_basic_structs()
    try:
        header: _ElfHeader = struct_parse(structs.Elf_Ehdr, source.beginning(64), 0)
    except (ELFError, ValueError) as error:
        raise MalformedFile(f"{source.label} has a damaged ELF header: {error}") from None
    return header


def _kind(source: Source, stated: str | int) -> FileKind:
    if stated == "ET_EXEC":
        return FileKind.EXECUTABLE
    if stated == "ET_DYN":
        return FileKind.SHARED
    known = {"ET_REL": "an object file that is not linked yet", "ET_CORE": "a core dump"}
    raise MalformedFile(
        f"{source.label} is {known.get(str(stated), f'of the unknown kind {stated}')}",
        hint="give an executable or a shared library",
    )


def _layout(fields: str, byte_order: ByteOrder) -> np.dtype[np.void]:
    order = "<" if byte_order == "little" else ">"
    pairs = (field.split(":") for field in fields.split())
    return np.dtype([(name, f"{order}u{width}") for name, width in pairs])


class _Tables:
    """The two tables that the ELF header leads to."""

    def __init__(self, source: Source, bits: int, byte_order: ByteOrder) -> None:
        self._source = source
        self._section_layout = _layout(_SECTION_FIELDS[bits], byte_order)
        self._segment_layout = _layout(_SEGMENT_FIELDS[bits], byte_order)

    def _rows(
        self, offset: int, count: int, stride: int, layout: np.dtype[np.void]
    ) -> NDArray[np.void]:
        if not count:
            return np.empty(0, layout)
        if stride < layout.itemsize:
            raise MalformedFile(
                f"{self._source.label} states {stride} bytes for a header of {layout.itemsize}",
                hint="the file is damaged",
            )
        content = self._source.read(offset, count * stride)
        return np.ndarray((count,), layout, content, 0, (stride,))

    def segments(self, header: _ElfHeader) -> Iterator[Segment]:
        layout = self._segment_layout
        for row in self._rows(header.e_phoff, header.e_phnum, header.e_phentsize, layout).tolist():
            entry = dict(zip(layout.names or (), row, strict=True))
            in_file = max(self._source.size - entry["offset"], 0)
            yield Segment(
                entry["type"],
                entry["address"],
                entry["offset"],
                min(entry["file_size"], entry["memory_size"], in_file),
                entry["memory_size"],
                readable=bool(entry["flags"] & 4),
                writable=bool(entry["flags"] & 2),
                executable=bool(entry["flags"] & 1),
            )

    def sections(self, header: _ElfHeader) -> Iterator[Section]:
        if not header.e_shoff:
            return
        offset, stride, layout = header.e_shoff, header.e_shentsize, self._section_layout
        count, names_index = header.e_shnum, header.e_shstrndx
        if not count or names_index == 0xFFFF:  # too many for the header: the first section tells
            first = self._rows(offset, 1, stride, layout)[0]
            count = count or int(first["size"])
            names_index = int(first["link"]) if names_index == 0xFFFF else names_index
        if count > _MOST_SECTIONS:
            raise MalformedFile(
                f"{self._source.label} announces {count} sections", hint="the file is damaged"
            )
        table = self._rows(offset, count, stride, layout)
        strings = b""
        if 0 < names_index < count:
            row = table[names_index]
            strings = self._source.read(int(row["offset"]), int(row["size"]))
        for values in table.tolist():
            yield self._section(dict(zip(layout.names or (), values, strict=True)), strings)

    def _section(self, entry: dict[str, int], strings: bytes) -> Section:
        end = strings.find(b"\0", entry["name"], entry["name"] + 4096)
        flags = entry["flags"]
        return Section(
            strings[entry["name"] : max(end, 0)].decode("utf-8", "backslashreplace"),
            entry["type"],
            entry["address"],
            entry["offset"],
            entry["size"],
            entry["link"],
            executable=bool(flags & _SHF_EXEC and flags & _SHF_ALLOC),
            writable=bool(flags & _SHF_WRITE),
            loaded=bool(flags & _SHF_ALLOC),
            in_file=entry["type"] != SHT_NOBITS and not flags & _SHF_COMPRESSED,
        )
