"""Read the CPU's tick counter together with CLOCK_MONOTONIC, by a few instructions of our own.

Python alone would put some hundred nanoseconds between the two readings. The instructions stand in
a file in memory that is mapped once to execute and never to write.
"""

import ctypes
import mmap
import os
import time
from functools import cache

import numpy as np

from uprobes.errors import UnsupportedTarget
from uprobes.machine import machine_of_host

EXECUTABLE_FILE = 0x10
"""MFD_EXEC (linux/memfd.h): the file may be executed, whatever vm.memfd_noexec says by default."""


class Sampler:
    """The mapped instructions; `sample` runs them."""

    def __init__(self) -> None:
        try:
            self._memory = _executable(machine_of_host().sample_clock)
        except OSError as error:
            raise UnsupportedTarget(
                f"this process may not execute code of its own: {error.strerror}",
                code="no-clock",
                hint="record without time and elapsed, or allow executable mappings",
            ) from None
        self._out = (ctypes.c_uint64 * 4)()
        address = np.frombuffer(self._memory, np.uint8).ctypes.data
        word = ctypes.c_void_p
        self._call = ctypes.CFUNCTYPE(None, word, ctypes.c_int, word)(address)
        clock = ctypes.CDLL(None).clock_gettime
        self._clock = ctypes.cast(clock, word)

    def sample(self) -> tuple[int, int, int]:
        """Return ticks before, nanoseconds of CLOCK_MONOTONIC, and ticks after."""
        self._call(self._clock, time.CLOCK_MONOTONIC, ctypes.addressof(self._out))
        before, after, seconds, nanoseconds = self._out
        return before, seconds * 1_000_000_000 + nanoseconds, after


def _executable(code: bytes) -> mmap.mmap:
    try:
        file = os.memfd_create("uprobes clock", os.MFD_CLOEXEC | EXECUTABLE_FILE)
    except OSError:  # a kernel before 6.3 knows no such flag
        file = os.memfd_create("uprobes clock", os.MFD_CLOEXEC)
    try:
        os.write(file, code)
        os.ftruncate(file, mmap.PAGESIZE)
        return mmap.mmap(file, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    finally:
        os.close(file)


@cache
def sampler() -> Sampler:
    """Return this process's sampler; raises UnsupportedTarget with the code `no-clock`."""
    return Sampler()
