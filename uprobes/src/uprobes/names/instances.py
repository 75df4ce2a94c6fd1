"""Where objects lie: files at their load bias, and the three ways to count an address."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from insn.elf import Image
from insn.errors import InsnError, MalformedFile
from uprobes.errors import NotPermitted, ProbeError
from uprobes.maps import Mapping
from uprobes.names.functions import Files, Functions
from uprobes.names.objects import MappedObject, Space

_PT_INTERP = 3
_PAGE = 0xFFF
"""Loaders align to at least this on every machine."""


@dataclass(frozen=True)
class Instance:
    """One object at one place: run-time address = file address + `bias`.

    Without a `space` it is a file that no process has mapped, and its bias is 0.
    """

    functions: Functions
    name: str
    path: str
    bias: int = 0
    program: bool = True
    virtual: bool = False
    space: Space | None = None

    @property
    def image(self) -> Image:
        """The ELF file."""
        return self.functions.image

    def executable(self, address: int) -> bool:
        """Tell whether code can run at a run-time address of this object."""
        if self.space is not None:
            mapping = self.space.mapping_at(address)
            return mapping is not None and mapping.executable
        return self.image.executable(address - self.bias)

    @property
    def interpreter(self) -> str:
        """The path of the dynamic linker that a program asks for; empty without one."""
        for segment in self.image.headers.segments:
            if segment.type == _PT_INTERP and segment.file_size < _PAGE:
                try:
                    path = self.image.read(segment.address, segment.file_size)
                except InsnError:
                    break
                return os.fsdecode(path.rstrip(b"\0"))
        return ""

    @cached_property
    def first_offset(self) -> int:
        """The number to add to a file address for its file offset, in the first code segment."""
        first = next((s for s in self.image.segments if s.executable), None)
        return first.offset - first.address if first else 0

    def run_time_of_offset(self, offset: int) -> int | None:
        """Return where the byte at a file offset is; None when it isn't loaded."""
        address = self.image.address_of(offset)
        return None if address is None else address + self.bias


class Instances:
    """All objects of one process at their places, files opened when they are first asked for."""

    def __init__(self, space: Space, files: Files) -> None:
        self.space = space
        self._files = files
        self._places: dict[int, tuple[Instance, ...]] = {}

    def of(self, item: MappedObject) -> tuple[Instance, ...]:
        """List the places of an object: one, or more where it was loaded into more namespaces.

        Empty for files that are mapped as code but aren't ELF files (what a JIT leaves). Raises
        NotPermitted when the file can't be reached.
        """
        found = self._places.get(id(item))
        if found is None:
            found = self._places[id(item)] = tuple(self._find(item))
        return found

    def every(self) -> Iterator[Instance]:
        """Go through all instances that can be read."""
        for item in self.space.objects:
            try:
                yield from self.of(item)
            except ProbeError:
                continue

    def around(self, mapping: Mapping) -> tuple[Instance, ...]:
        """List the instances of the object that a mapping belongs to."""
        item = self.space.object_of(mapping)
        return self.of(item) if item is not None else ()

    def at(self, mapping: Mapping, address: int) -> Instance | None:
        """Find the instance that an address in a mapping belongs to."""
        for instance in self.around(mapping):
            if instance.image.segment_at(address - instance.bias) is not None:
                return instance
        return None

    def _find(self, item: MappedObject) -> Iterator[Instance]:
        try:
            functions = self._virtual(item) if item.virtual else self._open(item)
        except InsnError:
            return
        except OSError as error:
            raise NotPermitted(
                f"{item.path} can't be read: {error.strerror}",
                hint="run as root, or give addresses: va:0x…",
            ) from None
        biases = {bias for m in item.mappings for bias in _biases(functions.image, m)}
        for bias in sorted(biases):
            yield Instance(
                functions, item.name, item.path, bias, item.program, item.virtual, self.space
            )

    def _open(self, item: MappedObject) -> Functions:
        path = self.space.open_path(item)
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise MalformedFile(f"{item.path} is a device")  # opening one could do anything
        key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        return self._files.keep(key, path, item.path, (self.space.root, ""))

    def _virtual(self, item: MappedObject) -> Functions:
        mapping = item.mappings[0]
        code = self.space.read(mapping.start, mapping.end - mapping.start)
        return self._files.keep(code, code, item.path)


def _biases(image: Image, mapping: Mapping) -> Iterator[int]:
    """Compute what the loader added, from a code mapping and the segment that it shows."""
    if not mapping.executable:
        return
    for segment in image.segments:
        start = segment.offset & ~_PAGE
        end = (segment.offset + segment.file_size + _PAGE) & ~_PAGE
        if segment.executable and start <= mapping.offset < end:
            bias = mapping.start - mapping.offset - (segment.address - segment.offset)
            if not bias & _PAGE:
                yield bias
