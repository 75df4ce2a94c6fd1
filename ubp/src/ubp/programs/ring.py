"""The rings that records are written to: their layout in shared memory, and the protocol.

    0       header: magic, u32 version, u32 rings, u64 capacity, u64 record_size, u64 mode
    4096    a control block of 128 bytes for each ring: +0 head u64 (the next index to reserve),
            +8 lost u64, +64 tail u64 (the first index not yet consumed; only drop mode looks)
    then, page-aligned, the records of ring 0, of ring 1, …: capacity * record_size bytes each

    record  +0 commit u64 (its index + 1, written last), +8 probe u32, +12 cpu u16 (0xffff: not
            known), +14 faults u16 (bit n: the field whose `fault_bit` is n could not be computed),
            +16 the fields

Everything is little-endian. A writer on the CPU numbered c uses ring c & (rings - 1); the CPU may
change meanwhile, which costs a little time and nothing else. It

1. reads head as i; in drop mode, when i - tail ≥ capacity (unsigned), adds 1 to lost and leaves;
2. looks at the slot's commit: index i - capacity, the last one there, must be complete, so the word
   must be i - capacity + 1, or 0 while i < capacity. If it is not, its writer is still inside
   (interrupted, stopped, killed, left by longjmp) and may yet write: the slot is passed over by
   moving head on to i + 1, and this record is the one that is missing at i;
3. moves head from i to i + 1 (compare and exchange; from the beginning when that fails);
4. writes the fields, and commit = i + 1 last. Stores are seen in order on this architecture.

This holds for threads, for signal handlers that interrupt a writer, and for forked children that
share the memory; nobody ever waits. Therefore, for each ring:

    hits that wanted to write = head + lost
    records that can be had   = indices below head whose commit is or becomes index + 1

so that, with nobody writing, head = records read + indices without a record, exactly, and every
index without a record is one lost. A reader of overwrite mode copies first and then looks at head:
what it copied of indices below head - capacity may be torn, all else whose commit fits is whole
(head moves before any field of the slot is written).
"""

import enum
import struct
from dataclasses import dataclass
from typing import Final

from ubp.programs.errors import ProgramError
from ubp.programs.model import Record
from ubp.programs.values import Bytes, Cast, Cpu, Pid, String, Tid, Value, Word, is_signed
from ubp.programs.walk import may_fail

MAGIC: Final = b"uprring1"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sIIQQQ")
PAGE: Final = 4096
CONTROLS_AT: Final = 4096
CONTROL_SIZE: Final = 128
HEAD, LOST, TAIL = 0, 8, 64
"""What stands where in a control block."""
COMMIT, PROBE, CPU, FAULTS, FIELDS = 0, 8, 12, 14, 16
"""What stands where in a record."""
NO_CPU: Final = 0xFFFF
FAULT_BITS: Final = 16
MOST_BYTES: Final = 1 << 40


class RingMode(enum.IntEnum):
    """What happens to a record when the ring is full."""

    DROP = 0
    """It is lost; what is there stays until it is consumed."""
    OVERWRITE = 1
    """It takes the place of the oldest: a flight recorder."""


@dataclass(frozen=True, slots=True)
class RingLayout:
    """The geometry of the rings: `rings` and `capacity` (records in each) are powers of two.

    `record_size` is in bytes, a multiple of 8 from 16 on. Raises ProgramError (`too-large`).
    """

    rings: int
    capacity: int
    record_size: int
    mode: RingMode = RingMode.DROP

    def __post_init__(self) -> None:
        for name, number in (("rings", self.rings), ("capacity", self.capacity)):
            if number <= 0 or number & (number - 1):
                raise ProgramError(f"{name} must be a power of two, not {number}")
        if self.record_size < FIELDS or self.record_size % 8:
            raise ProgramError(f"a record of {self.record_size} bytes cannot be")
        if self.rings > 1 << 16 or self.capacity > 1 << 30 or self.size > MOST_BYTES:
            raise ProgramError(
                "these rings are too large", code="too-large", hint="fewer records, smaller fields"
            )

    @property
    def data_at(self) -> int:
        """The offset of ring 0's records."""
        return CONTROLS_AT + -(-self.rings * CONTROL_SIZE // PAGE) * PAGE

    @property
    def ring_size(self) -> int:
        """The bytes of one ring's records."""
        return self.capacity * self.record_size

    @property
    def size(self) -> int:
        """The bytes of all."""
        return self.data_at + self.rings * self.ring_size

    def control(self, ring: int) -> int:
        """Return the offset of a ring's control block."""
        return CONTROLS_AT + ring * CONTROL_SIZE

    def data(self, ring: int) -> int:
        """Return the offset of a ring's first record."""
        return self.data_at + ring * self.ring_size

    def header(self) -> bytes:
        """Give what stands at offset 0 from the beginning; all else begins as zeros."""
        return HEADER.pack(
            MAGIC, VERSION, self.rings, self.capacity, self.record_size, int(self.mode)
        )


@dataclass(frozen=True, slots=True)
class RecordField:
    """Where a field stands in a record.

    `format` is `<u8`, `<i4`, … for numbers, `S16` for strings (zeros behind their end), `V16` for
    bytes: what numpy calls them. `fault_bit` is the bit of the record's `faults` that marks a value
    that could not be computed, None where it always can.
    """

    name: str
    format: str
    offset: int
    size: int
    fault_bit: int | None = None


HEAD_FIELDS: Final = (
    RecordField("commit", "<u8", COMMIT, 8),
    RecordField("probe", "<u4", PROBE, 4),
    RecordField("cpu", "<u2", CPU, 2),
    RecordField("faults", "<u2", FAULTS, 2),
)
"""What stands at the beginning of every record."""


def record_fields(record: Record) -> tuple[tuple[RecordField, ...], int]:
    """Lay out the fields of a record; returns them in their order, and the record's size.

    Larger fields come first in memory, so that each is aligned. Raises ProgramError (`too-large`)
    when more than 16 fields can fail.
    """
    shapes = [_shape(field.value) for field in record.fields]
    order = sorted(range(len(shapes)), key=lambda index: -shapes[index][2])
    offsets, at = [0] * len(shapes), FIELDS
    for index in order:
        _, size, alignment = shapes[index]
        at = -(-at // alignment) * alignment
        offsets[index] = at
        at += size
    fields, bits = [], 0
    for field, offset, (form, size, _) in zip(record.fields, offsets, shapes, strict=True):
        bit = None
        if may_fail(field.value):
            bit, bits = bits, bits + 1
        fields.append(RecordField(field.name, form, offset, size, bit))
    if bits > FAULT_BITS:
        raise ProgramError(
            f"{bits} fields of a record may be unreadable",
            code="too-large",
            hint=f"at most {FAULT_BITS} that read memory",
        )
    return tuple(fields), -(-at // 8) * 8


def _shape(value: Value | Bytes | String) -> tuple[str, int, int]:
    """Return the format, size and alignment of a field."""
    match value:
        case String(size=size):
            return f"S{size}", size, 1
        case Bytes(size=size):
            return f"V{size}", size, 1
        case Word(size=size) | Cast(size=size):
            return f"<{'i' if is_signed(value) else 'u'}{size}", size, size
        case Tid() | Pid() | Cpu():
            return "<u4", 4, 4
    return f"<{'i' if is_signed(value) else 'u'}8", 8, 8


def record_dtype(record: Record) -> tuple[tuple[tuple[str, str, int], ...], int]:
    """Describe a whole record: (name, format, offset) of each part, and its size in bytes.

    The parts of `HEAD_FIELDS` come first; a field of the same name (`cpu`) takes their place.
    """
    fields, size = record_fields(record)
    own = {field.name for field in fields}
    parts = [field for field in HEAD_FIELDS if field.name not in own] + list(fields)
    return tuple((part.name, part.format, part.offset) for part in parts), size
