"""Shared memory with rings in it, and writers that can be stopped between any two steps."""

import mmap
import struct
from dataclasses import dataclass

import numpy as np

PAGE = 4096
WORD = 1 << 64

DTYPE = np.dtype(
    {
        "names": ["probe", "cpu", "number", "twin"],
        "formats": ["<u4", "<u4", "<u8", "<u8"],
        "offsets": [8, 12, 16, 24],
        "itemsize": 32,
    }
)


@dataclass(frozen=True)
class Layout:
    """The layout as the writers and the reader agree on it."""

    rings: int = 1
    capacity: int = 8
    record_size: int = 32
    overwrite: bool = False

    def control(self, ring):
        return PAGE + 128 * ring

    @property
    def _first(self):
        return -(-(PAGE + 128 * self.rings) // PAGE) * PAGE

    def data(self, ring):
        return self._first + ring * self.capacity * self.record_size

    @property
    def size(self):
        return -(-self.data(self.rings) // PAGE) * PAGE

    def memory(self):
        return mmap.mmap(-1, self.size)


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
        """Write one record; yields between the steps, and gives whether it was written."""
        self.attempts += 1
        capacity = self.layout.capacity
        while True:
            index = self._word(self.control)
            if not self.layout.overwrite and index - self._word(self.control + 64) >= capacity:
                self._add(self.control + 8)
                return False
            free = self._word(self._slot(index)) == max(index - capacity + 1, 0)
            if free or not self.layout.overwrite:
                # Between reading and writing the head nobody else may come: cmpxchg.
                self._set(self.control, index + 1)
                if free:
                    break
            else:
                self._add(self.control + 8)
                return False
        yield "reserved"
        struct.pack_into("<II", self.memory, self._slot(index) + 8, probe, 0)
        struct.pack_into("<Q", self.memory, self._slot(index) + 16, number)
        yield "half"
        struct.pack_into("<Q", self.memory, self._slot(index) + 24, number)
        yield "filled"
        self._set(self._slot(index), index + 1)
        return True

    def write(self, number, probe=0):
        """Write one record at once."""
        for _ in self.steps(number, probe):
            pass

    @property
    def lost(self):
        return self._word(self.control + 8)
