"""ELF files as images: code, symbols, function ranges and what points into the code."""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch, arch
from insn.dynamic import dynamic_symbols
from insn.errors import MalformedFile, UnknownArchitecture
from insn.frames import Cursor, Frames, landing_pads, read_frames
from insn.headers import (
    PT_EH_FRAME,
    PT_LOAD,
    PT_NOTE,
    SHT_DYNSYM,
    SHT_RELA,
    SHT_SYMTAB,
    FileKind,
    Headers,
    Section,
    Segment,
    read_headers,
)
from insn.source import Source
from insn.stretch import Stretch
from insn.symbols import FUNCTION_KINDS, Binding, Symbol, SymbolKind, Symbols, symbol_dtype

if TYPE_CHECKING:
    from insn.model import Instruction

_ARCHITECTURES = {
    # machine, bits, byte order: the name of the record
    ("EM_X86_64", 64, "little"): "x86_64",
    ("EM_X86_64", 32, "little"): "x86_64",  # the x32 ABI: 64-bit code, 32-bit pointers
    ("EM_386", 32, "little"): "x86_32",
}
_PLT_SECTIONS = (".plt", ".plt.sec", ".plt.got", ".iplt")


def open_image(origin: str | os.PathLike[str] | bytes) -> "Image":
    """Open an ELF executable or shared object by its path, or from its bytes.

    MalformedFile for anything else, UnknownArchitecture for a machine without a record; OSError
    passes through.
    """
    return Image(Source.open(origin))


class Image:
    """One ELF file: every table is read on first use and then kept.

    Addresses are those of the file (before any load bias). `functions` are the symbols of
    functions, from `.symtab` and `.dynsym`; `frames` the function ranges of `.eh_frame`, which
    stripped files have too. Any table may raise MalformedFile.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = source.label
        self.headers: Headers = read_headers(source)
        self.arch: Arch = _architecture(source.label, self.headers)
        self.segments: tuple[Segment, ...] = tuple(
            sorted(
                (s for s in self.headers.segments if s.type == PT_LOAD),
                key=lambda segment: segment.address,
            )
        )

    def __repr__(self) -> str:
        return f"<Image {self.name} {self.arch.name} {self.kind.value}>"

    @property
    def kind(self) -> FileKind:
        """Whether addresses are final or get a load bias."""
        return self.headers.kind

    @property
    def entry(self) -> int:
        """The address at which a program starts; 0 for most libraries."""
        return self.headers.entry

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections in the order of the file; empty when its section headers were removed."""
        return self.headers.sections

    def section(self, name: str) -> Section | None:
        """Find the first section of this name."""
        return next((section for section in self.sections if section.name == name), None)

    def contents(self, section: Section) -> bytes:
        """Read the bytes of a section; empty when it has none in the file."""
        return self._source.read(section.offset, section.size) if section.in_file else b""

    # Addresses.

    def segment_at(self, address: int) -> Segment | None:
        """Find the loaded segment that contains the address."""
        return next((s for s in self.segments if s.address <= address < s.end), None)

    def offset_of(self, address: int) -> int | None:
        """Say where in the file the byte at this address comes from; None: not from the file."""
        for segment in self.segments:
            if segment.address <= address < segment.file_end:
                return address - segment.address + segment.offset
        return None

    def address_of(self, offset: int) -> int | None:
        """Say where the byte at this file offset is loaded (as code, if it is loaded twice)."""
        found = [s for s in self.segments if s.offset <= offset < s.offset + s.file_size]
        found.sort(key=lambda segment: not segment.executable)
        return offset - found[0].offset + found[0].address if found else None

    def executable(self, address: int) -> bool:
        """Tell whether code can run at this address."""
        return any(s.executable and s.address <= address < s.end for s in self.segments)

    def read(self, address: int, size: int) -> bytes:
        """Read what the loader takes from the file for an address: at most `size` bytes.

        Fewer come at the end of a segment. MalformedFile when nothing is loaded there.
        """
        for segment in self.segments:
            inside = address - segment.address
            if 0 <= inside < segment.file_size:
                rest = segment.file_size - inside
                return self._source.read(segment.offset + inside, min(size, rest))
        raise MalformedFile(
            f"{self.name} loads nothing",
            address=address,
            hint="`readelf -lW` shows what is loaded where",
        )

    def loaded(self, segment: Segment) -> bytes:
        """Read what the loader takes from the file for a segment, even where others overlap."""
        return self._source.read(segment.offset, segment.file_size)

    @cached_property
    def text(self) -> tuple[Stretch, ...]:
        """The code by address: executable sections, or segments when there are no sections."""
        found = [
            Stretch(section.address, self.contents(section), section.name)
            for section in self.sections
            if section.executable and section.in_file and section.size
        ]
        if not found:
            found = [
                Stretch(s.address, self.loaded(s), f"{s.address:#x}")
                for s in self.segments
                if s.executable and s.file_size
            ]
        return tuple(sorted(found, key=lambda stretch: stretch.address))

    def instruction_at(self, address: int) -> "Instruction":
        """Decode the instruction that starts at this address; errors as those of `decode`."""
        return self.arch.decode(self.read(address, self.arch.max_length), address)

    # Names.

    @cached_property
    def symbols(self) -> Symbols:
        """Every defined symbol, of `.symtab` and `.dynsym` together."""
        tables = []
        for section in self.sections:
            if section.type in (SHT_SYMTAB, SHT_DYNSYM) and section.in_file:
                if section.link >= len(self.sections):
                    raise MalformedFile(f"section {section.name} of {self.name} names no strings")
                strings = self.contents(self.sections[section.link])
                tables.append((self._entries(self.contents(section)), strings))
        if not self.sections:
            headers = self.headers
            found = dynamic_symbols(headers.segments, self.read, headers.bits, headers.byte_order)
            if found is not None:
                tables.append((self._entries(found[0]), found[1]))
        return Symbols.merged(tables)

    def _entries(self, content: bytes) -> NDArray[np.void]:
        layout = symbol_dtype(self.headers.bits, self.headers.byte_order)
        return np.frombuffer(content, layout, len(content) // layout.itemsize)

    @cached_property
    def functions(self) -> Symbols:
        """The symbols of functions in executable memory (of an indirect one: its resolver)."""
        symbols = self.symbols
        wanted = np.isin(symbols.kinds, [kind.value for kind in FUNCTION_KINDS])
        inside = np.zeros(len(symbols), np.bool_)
        for segment in self.segments:
            if segment.executable:
                end = np.uint64(min(segment.end, (1 << 64) - 1))
                start = np.uint64(segment.address)
                inside |= (symbols.addresses >= start) & (symbols.addresses < end)
        return symbols.where(wanted & inside)

    def find(self, name: str) -> tuple[Symbol, ...]:
        """List the functions of exactly this name, by address."""
        return self.functions.find(name)

    def function_at(self, address: int) -> Symbol | None:
        """Find the function whose bytes contain the address.

        One that only `.eh_frame` knows comes without a name, its kind FRAME. A symbol without a
        size (assembler) takes the size of the unwind entry at the same start.
        """
        found = self.functions.at(address)
        if found is not None and found.size:
            return found
        frame = self.frames.at(address)
        if frame is None or not self.executable(frame[0]):
            return found
        start, end = frame
        named = self.functions.nearest(start)
        if named is not None and named.address == start:
            return Symbol(named.name, start, end - start, named.kind, named.binding)
        return Symbol("", start, end - start, SymbolKind.FRAME, Binding.LOCAL)

    # Unwind entries.

    @cached_property
    def frames(self) -> Frames:
        """The function ranges of `.eh_frame`."""
        address, content = self.frame_section
        return read_frames(content, address, self.headers.bits, self.headers.byte_order)

    @cached_property
    def frame_section(self) -> tuple[int, bytes]:
        """The address and the bytes of `.eh_frame`."""
        section = self.section(".eh_frame")
        if section is not None:
            return section.address, self.contents(section)
        # Without section headers, the index that the unwinder uses at run time leads there.
        for indexed in self.headers.segments:
            if indexed.type != PT_EH_FRAME:
                continue
            try:
                index = self._cursor(self.read(indexed.address, 16), indexed.address)
                index.number("B")
                encoding = index.number("B")
                index.number("H")
                address = index.pointer(encoding)
                segment = self.segment_at(address)
                if segment is not None:
                    return address, self.read(address, segment.file_size)
            except MalformedFile:
                continue
        return 0, b""

    def _cursor(self, content: bytes, address: int, at: int = 0) -> Cursor:
        return Cursor(content, address, self.headers.bits, self.headers.byte_order, at)

    @cached_property
    def landing_pads(self) -> NDArray[np.uint64]:
        """The addresses at which exceptions enter functions, sorted."""
        frames = self.frames
        pads: set[int] = set()
        contents: dict[int, bytes] = {}
        for index in np.flatnonzero(frames.lsda).tolist():
            address = int(frames.lsda[index])
            segment = self.segment_at(address)
            if segment is None or not segment.file_size:
                continue
            base = segment.address
            if base not in contents:
                contents[base] = self.read(base, segment.file_size)
            cursor = self._cursor(contents[base], base, address - base)
            pads.update(landing_pads(cursor, int(frames.starts[index])))
        return np.array(sorted(pad for pad in pads if pad < 1 << 64), np.uint64)

    # Other tables.

    @cached_property
    def build_id(self) -> str | None:
        """The build ID in hexadecimal digits, when the linker left one."""
        for segment in self.headers.segments:
            if segment.type == PT_NOTE and segment.file_size <= 1 << 16:
                content = self._source.read(segment.offset, segment.file_size)
                for name, kind, description in self._notes(content):
                    if name == b"GNU\0" and kind == 3:
                        return description.hex()
        return None

    def _notes(self, content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        words = self._cursor(content, 0)
        while words.at + 12 <= len(content):
            name_size, size, kind = words.number("I"), words.number("I"), words.number("I")
            start = words.at + (name_size + 3 & ~3)
            yield content[words.at : words.at + name_size], kind, content[start : start + size]
            words.at = start + (size + 3 & ~3)

    @cached_property
    def plt_ranges(self) -> tuple[tuple[int, int], ...]:
        """The address ranges (start, end) of the procedure linkage table."""
        highest = (1 << 64) - 1
        return tuple(
            (s.address, min(s.end, highest)) for s in self.sections if s.name in _PLT_SECTIONS
        )

    @cached_property
    def code_pointers(self) -> NDArray[np.uint64]:
        """Every address of code that stands in loaded data or in a relocation, sorted.

        A superset: a word of data may look like an address by chance.
        """
        found = [np.empty(0, np.uint64)]
        for words in self.data_words():
            highest = np.iinfo(words.dtype).max
            for stretch in self.text:
                start = words.dtype.type(min(stretch.address, highest))
                end = words.dtype.type(min(stretch.end, highest))
                found.append(words[(words >= start) & (words < end)].astype(np.uint64))
        return np.unique(np.concatenate(found))

    def data_words(self) -> Iterator[NDArray[np.unsignedinteger[Any]]]:
        """Read every aligned word of an address's size of loaded data, and of relocations."""
        word = np.dtype(("<" if self.headers.byte_order == "little" else ">") + "u8")
        if self.headers.bits == 32:
            word = np.dtype(word.str.replace("8", "4"))
        contents = [
            self.contents(section)[-section.address % word.itemsize :]
            for section in self.sections
            if section.in_file
            and not section.executable
            and (section.loaded or section.type == SHT_RELA)
        ]
        if not self.sections:
            contents = [
                self._source.read(s.offset, s.file_size)[-s.address % word.itemsize :]
                for s in self.segments
                if not s.executable
            ]
        for content in contents:
            yield np.frombuffer(content, word, len(content) // word.itemsize)


def _architecture(label: str, headers: Headers) -> Arch:
    name = _ARCHITECTURES.get((headers.machine, headers.bits, headers.byte_order))
    if name is None:
        raise UnknownArchitecture(
            f"{label} is for {headers.machine} ({headers.bits} bits, {headers.byte_order} endian),"
            " which has no record yet",
            hint="known: " + ", ".join(f"{machine} ({b} bits)" for machine, b, _ in _ARCHITECTURES),
        )
    return arch(name)
