"""The table of calls under way, for return probes without a tracer: its layout.

It lies in *private* memory of the target (a forked child needs its own: its calls return too) and
is keyed by the place of the return address on the stack, not by the thread, so that coroutines,
alternate signal stacks and threads born later need nothing special. Buckets of eight:

    0      magic b"uprcalls", u32 version, u32 buckets, u32 entry_size, u32 0, u64 unwound
    64     bucket 0: eight words `place` (0: free), then eight entries; bucket 1, …

    entry  +0 original (the real return address), +8 hook (the return address that stands at
           place), +16 time (of the entry, ticks; 0 where nobody asks), +24 thread u32 (its number;
           0 where it is not known without a system call), +32 … saved arguments

The bucket of a place is bits 32 and up of its lower half times `HASH`, modulo `buckets`. An entry
is claimed by exchanging its place word from 0, and released by storing 0; it is filled before the
hook is put at place, and released after the original is put back there. So while an entry lives
there stands `hook` or `original` at `place`, and a return address that is a hook has an entry.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ubp.programs.errors import ProgramError

MAGIC: Final = b"uprcalls"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sIIIIQ")
UNWOUND: Final = 24
"""Where in the header the calls are counted that did not return: exceptions, longjmp, exits."""
BUCKETS_AT: Final = 64
WAYS: Final = 8
PLACES_SIZE: Final = 64
ORIGINAL, HOOK, TIME, THREAD, SAVED = 0, 8, 16, 24, 32
"""What stands where in an entry."""
HASH: Final = 0x61C8_8647


@dataclass(frozen=True, slots=True)
class PendingCall:
    """One call under way: its return address, `original`, is replaced by `hook` at `place`."""

    place: int
    original: int
    hook: int
    time: int
    thread: int
    saved: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The geometry of the table: `buckets` is a power of two, `entry_size` is 64 or 128 bytes.

    Up to `saved` (4, 12) arguments of a call are kept. Raises ProgramError.
    """

    buckets: int = 1024
    entry_size: int = 64

    def __post_init__(self) -> None:
        if self.buckets <= 0 or self.buckets & (self.buckets - 1) or self.buckets > 1 << 20:
            raise ProgramError(f"buckets must be a power of two, not {self.buckets}")
        if self.entry_size not in (64, 128):
            raise ProgramError(f"an entry of {self.entry_size} bytes cannot be")

    @property
    def saved(self) -> int:
        """How many arguments fit an entry."""
        return (self.entry_size - SAVED) // 8

    @property
    def bucket_size(self) -> int:
        """The bytes of one bucket."""
        return PLACES_SIZE + WAYS * self.entry_size

    @property
    def size(self) -> int:
        """The bytes of all."""
        return BUCKETS_AT + self.buckets * self.bucket_size

    def header(self) -> bytes:
        """Give what stands at offset 0 from the beginning; all else begins as zeros."""
        return HEADER.pack(MAGIC, VERSION, self.buckets, self.entry_size, 0, 0)

    def bucket(self, place: int) -> int:
        """Return the offset of the bucket in which a place is looked for."""
        mixed = (place & 0xFFFF_FFFF) * HASH & 0xFFFF_FFFF_FFFF_FFFF
        return BUCKETS_AT + (mixed >> 32 & self.buckets - 1) * self.bucket_size

    def pending(self, content: bytes | bytearray | memoryview) -> Iterator[PendingCall]:
        """Give every call under way that a table's bytes hold."""
        words = 4 + self.saved
        for bucket in range(BUCKETS_AT, self.size, self.bucket_size):
            places = struct.unpack_from(f"<{WAYS}Q", content, bucket)
            for way in range(WAYS):
                if places[way]:
                    at = bucket + PLACES_SIZE + way * self.entry_size
                    original, hook, time, thread, *saved = struct.unpack_from(
                        f"<{words}Q", content, at
                    )
                    yield PendingCall(
                        places[way], original, hook, time, thread & 0xFFFF_FFFF, tuple(saved)
                    )

    def unwound(self, content: bytes | bytearray | memoryview) -> int:
        """Return how many calls were given up because their frame was unwound."""
        return int(HEADER.unpack_from(content)[5])
