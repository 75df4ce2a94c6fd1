"""Where the bytes of a file come from: read piece by piece, never more than there is."""

import io
import os
import stat
import weakref
from collections.abc import Callable

from insn.errors import MalformedFile

LARGEST_PIECE = 1 << 30
"""A table of more bytes than this is an attempt to fill the memory: sparse files cost nothing."""


class Source:
    """The bytes of one file: `size`, `read(offset, size)`, and `label` for messages.

    The file stays open as long as this object lives: it may be replaced or unlinked meanwhile.
    """

    def __init__(self, label: str, size: int, read: Callable[[int, int], bytes]) -> None:
        self.label = label
        self.size = size
        self._read = read

    @classmethod
    def open(cls, origin: str | os.PathLike[str] | bytes) -> "Source":
        """Open a path, or take the bytes as they are.

        OSError of opening passes through; MalformedFile for what is not a regular file (reading
        a pipe could wait for ever).
        """
        if isinstance(origin, bytes):
            content = origin
            return cls(
                "<bytes>", len(content), lambda offset, size: content[offset : offset + size]
            )
        label = os.fspath(origin)
        descriptor = os.open(label, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise MalformedFile(
                f"{label} is not a regular file", hint="give the path of an ELF file"
            )
        source = cls(
            label, status.st_size, lambda offset, size: _read_all(descriptor, offset, size)
        )
        weakref.finalize(source, os.close, descriptor)
        return source

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes; MalformedFile when the file does not have them."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise MalformedFile(
                f"{self.label} announces {size} bytes at offset {offset:#x}, behind its end",
                hint="the file is truncated or damaged",
            )
        if size > LARGEST_PIECE:
            raise MalformedFile(
                f"{self.label} announces one table of {size} bytes",
                hint="nothing real is that large",
            )
        piece = self._read(offset, size)
        if len(piece) != size:
            raise MalformedFile(f"{self.label} was truncated while it was read", hint="try again")
        return piece

    def beginning(self, size: int) -> io.BytesIO:
        """Give at most the first `size` bytes as a stream."""
        return io.BytesIO(self.read(0, min(size, self.size)))


def _read_all(descriptor: int, offset: int, size: int) -> bytes:
    pieces = []
    while size:
        piece = os.pread(descriptor, size, offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        size -= len(piece)
    return b"".join(pieces)
