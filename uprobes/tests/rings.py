"""Shared memory with rings in it, and writers that can be stopped between any two steps."""

import mmap
import struct

import numpy as np

from ubp.programs.ring import RingMode

WORD = 1 << 64

DTYPE = np.dtype(
    {
        "names": ["probe", "cpu", "number", "twin"],
        "formats": ["<u4", "<u4", "<u8", "<u8"],
        "offsets": [8, 12, 16, 24],
        "itemsize": 32,
    }
)


def memory_of(layout):
    """Make the shared memory of a layout, as it is before the first record."""
    memory = mmap.mmap(-1, layout.size)
    memory[: len(layout.header())] = layout.header()
    return memory


class Writer:
    """Writes records into one ring as the target's generated code does, step by step."""

    def __init__(self, memory, layout, ring=0):
        self.memory, self.layout = memory, layout
        self.control, self.data = layout.control(ring), layout.data(ring)
        self.attempts = 0

    def _word(self, offset):
        return struct.unpack_from("<Q", self.memory, offset)[0]

    def _set(self, offset, value):
        struct.pack_into("<Q", self.memory, offset, value % WORD)

    def _add(self, offset):
        self._set(offset, self._word(offset) + 1)

    def _slot(self, index):
        return self.data + (index % self.layout.capacity) * self.layout.record_size

    def steps(self, number, probe=0):
        """Write one record; yields between the steps."""
        self.attempts += 1
        capacity, drop = self.layout.capacity, self.layout.mode is RingMode.DROP
        index = self._word(self.control)
        if drop and (index - self._word(self.control + 64)) % WORD >= capacity:
            self._add(self.control + 8)
            return
        free = self._word(self._slot(index)) == max(index - capacity + 1, 0)
        # Between reading and writing the head nobody else may come: cmpxchg.
        self._set(self.control, index + 1)
        if not free:
            return
        yield "reserved"
        struct.pack_into("<II", self.memory, self._slot(index) + 8, probe, 0)
        struct.pack_into("<Q", self.memory, self._slot(index) + 16, number)
        yield "half"
        struct.pack_into("<Q", self.memory, self._slot(index) + 24, number)
        yield "filled"
        self._set(self._slot(index), index + 1)

    def write(self, number, probe=0):
        """Write one record at once."""
        for _ in self.steps(number, probe):
            pass
