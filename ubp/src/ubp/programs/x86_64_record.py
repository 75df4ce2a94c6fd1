"""Writing a record into a ring, as x86-64 instructions; the protocol stands in `ring`."""

from ubp.programs import x86_64_guard as guard
from ubp.programs.errors import ProgramError
from ubp.programs.model import Record
from ubp.programs.ring import (
    COMMIT,
    CONTROL_SIZE,
    CONTROLS_AT,
    CPU,
    FAULTS,
    HEAD,
    LOST,
    PROBE,
    TAIL,
    RecordField,
    RingLayout,
    RingMode,
    record_fields,
)
from ubp.programs.values import Binary, Bytes, Cast, Cpu, Scaled, String, Time, Value, Word
from ubp.programs.x86_64_values import Values
from ubp.x86_assembler import Mem, Near

PROBE_MARK = "probe"


class Recorder:
    """The code of one `Record`; `done` is the label behind it."""

    def __init__(self, values: Values, record: Record, done: str, faults: Near | None) -> None:
        layout = values.shape.layout
        if layout is None:
            raise ProgramError(
                "a record needs a ring", code="no-ring", hint="give Placement a ring and its layout"
            )
        self.values = values
        self.record = record
        self.done = done
        self.faults = faults
        self.layout: RingLayout = layout
        self.fields, size = record_fields(record)
        if size > layout.record_size:
            raise ProgramError(
                f"a record of {size} bytes does not fit the ring's {layout.record_size}",
                code="too-large",
                hint="lay the ring out for the largest record",
            )
        pool = values.frame.pool()
        self.slot, self.index, *self.pool = pool
        self.probe_at = 0

    def emit(self) -> None:
        """Reserve a slot, fill it, commit it."""
        self._reserve()
        self._fill()
        self.values.a.mov(Mem(self.slot, COMMIT), self.index)

    def _reserve(self) -> None:
        """Leave the slot's address in `slot`, index + 1 in `index`, the CPU in ecx if known."""
        a, frame, layout, values = self.values.a, self.values.frame, self.layout, self.values
        slot, index = self.slot, self.index
        again, full, doubtful, good = (values.new_label() for _ in range(4))
        frame.touch("rax", "rcx", "rdx", slot, index)
        frame.touch_flags()
        a.label(again)
        if layout.rings > 1:
            values.cpu("rdx")
            a.arithmetic("and", "rdx", layout.rings - 1, size=4)
            a.imul(slot, "rdx", layout.ring_size) if layout.ring_size < 1 << 31 else self._wide()
            a.shift_left("rdx", CONTROL_SIZE.bit_length() - 1)
            a.lea("rcx", Near("ring", CONTROLS_AT))
            a.arithmetic("add", "rcx", "rdx")
        else:
            a.lea("rcx", Near("ring", CONTROLS_AT))
        a.mov("rax", Mem("rcx", HEAD))
        if layout.mode is RingMode.DROP:
            a.mov("rdx", "rax")
            a.arithmetic("sub", "rdx", Mem("rcx", TAIL))
            a.arithmetic("cmp", "rdx", layout.capacity)
            a.jump_if("ae", full)
            frame.cold(lambda: self._full(full))
        a.mov("rdx", "rax", size=4)
        a.arithmetic("and", "rdx", layout.capacity - 1, size=4)
        a.imul("rdx", "rdx", layout.record_size)
        a.lea(index, Near("ring", layout.data_at))
        a.arithmetic("add", "rdx", index)
        if layout.rings > 1:
            a.arithmetic("add", slot, "rdx")
        else:
            a.mov(slot, "rdx")
        a.lea(index, Mem("rax", 1 - layout.capacity))
        a.arithmetic("cmp", index, Mem(slot, COMMIT))
        a.jump_if("ne", doubtful)
        a.label(good)
        a.lea(index, Mem("rax", 1))
        a.lock_cmpxchg(Mem("rcx", HEAD), index)
        a.jump_if("ne", again)
        frame.cold(lambda: self._doubtful(doubtful, good, again))

    def _wide(self) -> None:
        self.values.a.mov(self.slot, self.layout.ring_size)
        self.values.a.imul(self.slot, "rdx")

    def _full(self, label: str) -> None:
        a = self.values.a
        a.label(label)
        a.lock_inc(Mem("rcx", LOST))
        a.jump(self.done)

    def _doubtful(self, label: str, good: str, again: str) -> None:
        """The slot's last writer is not known to be done: the first lap, or pass the slot over."""
        a = self.values.a
        stuck = self.values.new_label()
        a.label(label)
        a.arithmetic("cmp", "rax", self.layout.capacity)
        a.jump_if("ae", stuck)
        a.arithmetic("cmp", Mem(self.slot, COMMIT), 0)
        a.jump_if("e", good)
        a.label(stuck)
        a.lea(self.index, Mem("rax", 1))
        a.lock_cmpxchg(Mem("rcx", HEAD), self.index)
        a.jump_if("ne", again)
        a.jump(self.done)

    def _fill(self) -> None:
        a, values = self.values.a, self.values
        a.mov(Mem(self.slot, PROBE), 0, size=4)
        self.probe_at = a.position - 4
        if self.layout.rings > 1 or any(isinstance(f.value, Cpu) for f in self.record.fields):
            values.cpu("rcx")
            a.extend("rcx", "rcx", 2, signed=False)
            a.mov(Mem(self.slot, CPU), "rcx", size=4)
        else:
            a.mov(Mem(self.slot, CPU), 0xFFFF, size=4)
        for field, place in zip(self.record.fields, self.fields, strict=True):
            self._field(field.value, place)

    def _field(self, value: Value | Bytes | String, place: RecordField) -> None:
        values, a = self.values, self.values.a
        target = Mem(self.slot, place.offset)
        failed, done = values.new_label(), values.new_label()
        outer, values.fail = values.fail, failed
        if isinstance(value, Bytes | String):
            self._memory(value, place)
        elif isinstance(value, Time) and value not in values.kept:
            values.frame.touch("rax", "rdx")
            a.rdtsc()
            a.mov(target, "rax", size=4)
            a.mov(Mem(self.slot, place.offset + 4), "rdx", size=4)
        else:
            source = values.source(value)
            if isinstance(source, int):
                a.mov(target, source, size=place.size)
            else:
                register, _ = values.registers(value, ["rax"] if _is_plain(value) else self.pool)
                a.mov(target, register, size=place.size)
        values.fail = outer
        if place.fault_bit is not None:
            a.label(done)
            bit, size = place.fault_bit, 0 if isinstance(value, Bytes | String) else place.size
            values.frame.cold(lambda: self._failed(failed, done, bit, place, size))

    def _failed(self, label: str, done: str, bit: int, place: RecordField, size: int) -> None:
        a = self.values.a
        a.label(label)
        a.arithmetic("or", Mem(self.slot, FAULTS), 1 << bit, size=4)
        if size:
            a.mov(Mem(self.slot, place.offset), 0, size=size)
        if self.faults is not None:
            a.lock_inc(self.faults)
        a.jump(done)

    def _memory(self, value: Bytes | String, place: RecordField) -> None:
        """Copy memory into the slot, zeros behind what came."""
        a, values = self.values.a, self.values
        values.frame.touch(*guard.TOUCHED)
        nothing, ready, unreadable = values.new_label(), values.new_label(), values.fail
        address, pool = self.pool[0], self.pool[1:]
        values.fail = nothing
        values.load(value.base, address, pool)
        values.fail = unreadable
        a.label(ready)
        a.mov("rax", address)
        a.mov("rdx", value.size)
        a.lea("rcx", Mem(self.slot, place.offset))
        guard.call(values, guard.STRING if isinstance(value, String) else guard.BYTES)
        a.test("rax", "rax", size=4)
        a.jump_if("ne", unreadable)

        def no_address() -> None:
            a.label(nothing)
            a.mov(address, guard.UNREADABLE)
            a.jump(ready)

        values.frame.cold(no_address)


def _is_plain(value: Value) -> bool:
    """Tell whether a value needs no register but the one it is put in."""
    return not isinstance(value, Binary | Cast | Scaled | Word)
