"""Memory that a process and we both map: what its generated code counts and records, we read.

    0            magic
    16           size in bytes
    24           where the description begins and how long it is (see `description`)
    PAGE         what the programs write

It is a sealed memfd: the process can overwrite its contents, but not make it shorter under our
feet. Its name is how another process finds it.
"""

import contextlib
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from uprobes.area import NO_FILE, TRIES
from uprobes.errors import CannotMap, ProbeError
from uprobes.maps import read_mappings

if TYPE_CHECKING:
    from uprobes.process import Process

NAME = b"uprobes"
PATH = f"/memfd:{NAME.decode()} (deleted)"
"""How the kernel shows it."""
MAGIC = b"uprobes shared 1"
HEAD = struct.Struct("<16sQQ")
PAGE = 4096
PROT_NONE, PROT_READ_WRITE = 0, 3
MAP_SHARED = 0x01
MAP_PRIVATE_ANONYMOUS, MAP_FIXED_NOREPLACE = 0x22, 0x100000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
CLOSE_ON_EXEC, ALLOW_SEALING = 1, 2
CALLS = tuple((name, ()) for name in ("memfd_create", "mmap", "close", "munmap"))
F_ADD_SEALS = 1033
SEALS = 0x0001 | 0x0002 | 0x0004
"""No further seals, no shrinking, no growing (fcntl(2))."""


class SharedMemory:
    """One stretch of shared memory; made by `create`, mapped near code by `map_near`."""

    def __init__(self, size: int, view: mmap.mmap, places: list[int]) -> None:
        self.size = size
        self.view = view
        self.places = places
        """Where the process has it."""

    @classmethod
    def create(cls, process: "Process", size: int, near: tuple[int, ...]) -> "SharedMemory":
        """Make `size` bytes of zeros in a process, first mapped near these addresses.

        Needs a stopped thread. Raises CannotMap.
        """
        size = size + PAGE - 1 & -PAGE
        process.may_call(*CALLS)
        try:
            with process.borrowed_stack(len(NAME) + 1) as at:
                process.memory.write(at, NAME + b"\0")
                number = process.call("memfd_create", at, CLOSE_ON_EXEC | ALLOW_SEALING)
            try:
                view = _open(process, number, size)
                flags = MAP_SHARED | MAP_FIXED_NOREPLACE
                place = _map_in_room(process, size, near, PROT_READ_WRITE, flags, number)
            finally:
                process.call("close", number)
        except OSError as error:
            raise CannotMap(
                f"process {process.pid} could not map {size} bytes of shared memory:"
                f" {error.strerror}"
            ) from None
        view[: HEAD.size] = HEAD.pack(MAGIC, size, 0)
        return cls(size, view, [place])

    @classmethod
    def alone(cls, size: int) -> "SharedMemory":
        """Make memory that no process shares: nothing will ever be written there."""
        size = size + PAGE - 1 & -PAGE
        view = mmap.mmap(-1, size)
        view[: HEAD.size] = HEAD.pack(MAGIC, size, 0)
        return cls(size, view, [])

    def map_near(self, process: "Process", near: tuple[int, ...]) -> int:
        """Map the same memory near other addresses too; return where. Raises CannotMap.

        A shared mapping that is moved with an old size of 0 is doubled instead (mremap(2)).
        """
        try:
            place = map_private(process, self.size, near, PROT_NONE)
            process.call(
                "mremap", self.places[0], 0, self.size, MREMAP_MAYMOVE | MREMAP_FIXED, place
            )
        except OSError as error:
            raise CannotMap(
                f"process {process.pid} could not map its shared memory again: {error.strerror}"
            ) from None
        self.places.append(place)
        return place

    def mappings(self) -> Iterator[tuple[int, int]]:
        """Give start and end of each place."""
        for place in self.places:
            yield place, place + self.size

    def close(self) -> None:
        """Let go of our own view; arrays made from it keep it alive."""
        with contextlib.suppress(BufferError):
            self.view.close()


def _open(process: "Process", number: int, size: int) -> mmap.mmap:
    """Map the process's memfd here, at its full size, which nobody can change any more."""
    descriptor = os.open(f"/proc/{process.pid}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, F_ADD_SEALS, SEALS)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def find_room(process: "Process", size: int, near: tuple[int, ...]) -> int:
    """Return where there is room near addresses; raises CannotMap."""
    place = process.mapper.place(near, size)
    if place is None:
        anchor = near[0] if near else 0
        raise CannotMap(f"no room for {size} bytes within reach of the code", address=anchor)
    return place


def map_private(
    process: "Process", size: int, near: tuple[int, ...], protection: int = PROT_READ_WRITE
) -> int:
    """Map memory of the process's own near addresses; raises CannotMap."""
    flags = MAP_PRIVATE_ANONYMOUS | MAP_FIXED_NOREPLACE
    try:
        return _map_in_room(process, size, near, protection, flags, NO_FILE)
    except OSError as error:
        raise CannotMap(
            f"process {process.pid} could not map {size} bytes: {error.strerror}",
            address=near[0] if near else 0,
        ) from None


def _map_in_room(
    process: "Process", size: int, near: tuple[int, ...], protection: int, flags: int, file: int
) -> int:
    """Map where there is room, elsewhere if another thread takes that just now."""
    for left in reversed(range(TRIES)):
        place = find_room(process, size, near)
        try:
            got = process.call("mmap", place, size, protection, flags, file, 0)
        except FileExistsError:
            if not left:
                raise
        else:
            check_place(process, got, place, size)
            break
    return place


def check_place(process: "Process", got: int, place: int, size: int) -> None:
    """Raise CannotMap where a kernel (before 4.17) mapped something elsewhere."""
    if got != place:
        process.call("munmap", got, size)
        raise CannotMap("another thread took the room", address=place)


def find_shared(pid: int) -> list[tuple[int, int]]:
    """Return where a process has shared memory of ours: start and size, each memory once."""
    found: dict[int, tuple[int, int]] = {}
    with contextlib.suppress(ProbeError):
        for mapping in read_mappings(pid):
            if mapping.path == PATH and not mapping.offset:
                found.setdefault(mapping.inode, (mapping.start, mapping.end - mapping.start))
    return list(found.values())


def left_open(pid: int) -> list[int]:
    """Return the descriptors of such memory in a process, which are closed as soon as it is mapped:
    somebody was killed before.
    """
    numbers = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == PATH:
                    numbers.append(int(name))
    return numbers
