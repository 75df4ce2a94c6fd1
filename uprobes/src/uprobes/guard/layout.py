"""What stands where in the guard's area: the header and the tables that its code reads.

The area is mapped readable and executable, never writable; the tracer writes it through
/proc/PID/mem. Everything that the handler reads is switched by single aligned words, so that a
tracer killed between two writes leaves it consistent.

    0        the handler's code
    HEADER   magic, tables, saved disposition, areas
    POINTS   two buffers for the table of probe points; the header says which one counts
    FRAMES   pairs (place on the stack, real return address), ended by none: the header counts them
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAGIC = b"uprobes guard 1\n"
HEADER = 0x1000
POINTS = 0x2000
POINT_SIZE = 32
MOST_POINTS = 1 << 17
BUFFER_SIZE = 8 + MOST_POINTS * POINT_SIZE + 0xFF8
FRAMES = POINTS + 2 * BUFFER_SIZE
FRAME_SIZE = 16
MOST_FRAMES = 1 << 14
SIZE = FRAMES + MOST_FRAMES * FRAME_SIZE
MOST_AREAS = 64

POINT = np.dtype(
    [
        ("address", "<u8"),
        ("copy", "<u8"),
        ("original", "u1"),
        ("length", "u1"),
        ("copied", "u1"),
        ("led", "u1"),
        ("unused", "u1", (12,)),
    ]
)
"""address; copy to go on at (0: none); original byte; length of the instruction; bytes of the copy
before its jump; whether the breakpoint stays and always leads there (a trap probe).
"""
ORIGINAL, LED = 16, 19
"""The offsets of `original` and `led` in a row."""
LEADS, LEADS_HEALED = 1, 2
"""What `led` says of a trap probe: it just leads, or after all others were put back; else 0."""


@dataclass(frozen=True, slots=True)
class Field:
    """One word of the header, at an offset from the beginning of the area."""

    offset: int


POINTS_AT = Field(HEADER + 16)
TRAMPOLINE = Field(HEADER + 24)
FRAMES_AT = Field(HEADER + 32)
FRAMES_USED = Field(HEADER + 40)
OLD_ACTION = Field(HEADER + 48)
"""struct kernel_sigaction as it was: handler, flags, restorer, mask."""
DEFAULT_ACTION = Field(HEADER + 80)
AREAS_USED = Field(HEADER + 112)
AREAS = Field(HEADER + 128)
CALLER_MASK = Field(HEADER + 0x800)
"""The signal mask of the thread that makes a system call for us."""
CALLER_REGISTERS = Field(HEADER + 0x808)
"""Its registers, in the order of `GuardCode.restored`."""
ACTION_SIZE, RESTORER = 32, 16
ACTION = struct.Struct("<QQQQ")


@dataclass(frozen=True, slots=True)
class GuardCode:
    """The handler for one address of the area: its bytes, its entry, how it is installed."""

    code: bytes
    handler: int
    restorer: int
    flags: int
    call_site: int
    """A system call instruction with a way back behind it: `CALLER_REGISTERS` are loaded there."""
    restored: tuple[str, ...]


def pack_header(base: int) -> bytes:
    """Return the header of an area with empty tables; the kernel has filled it with zeros."""
    at = POINTS_AT.offset - HEADER
    header = bytearray(at + 8)
    header[: len(MAGIC)] = MAGIC
    struct.pack_into("<Q", header, at, base + POINTS)
    header += bytes(FRAMES_AT.offset - HEADER - len(header))
    return bytes(header) + struct.pack("<Q", base + FRAMES)


def pack_areas(areas: Sequence[tuple[int, int]]) -> bytes:
    """Return the list of areas, as many as there is room for; one that outlives us ends at an odd
    address.
    """
    return b"".join(struct.pack("<QQ", start, end) for start, end in areas[:MOST_AREAS])


def pack_points(rows: np.ndarray[tuple[int], np.dtype[np.void]]) -> bytes:
    """Return a table: the number of rows, and the rows, which must be in order of address."""
    return struct.pack("<Q", len(rows)) + rows.tobytes()


def unpack_points(table: bytes) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Read a table back; a count that can't be is cut to what is there."""
    count = min(struct.unpack_from("<Q", table)[0], (len(table) - 8) // POINT.itemsize)
    return np.frombuffer(table, POINT, count, 8)
