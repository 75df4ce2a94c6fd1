"""The memory of a live process: through /proc/PID/mem, which writes to text that the process itself
may not write, and the way the process itself may use it.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable

from uprobes.errors import NotMapped, TargetGone
from uprobes.status import living_thread

CSTRING_LIMIT = 4096
CHUNK = 256


class ProcessMemory:
    """Read and write one process's memory; usable from any thread, running target or not.

    The descriptor stays bound to the address space it was opened on: after an exec, `reopen`.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = self._open()

    def _open(self) -> int:
        """Raises TargetGone: a process may end whenever it likes."""
        try:
            tid = living_thread(self.pid) or self.pid
            return os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise TargetGone(f"process {self.pid} has ended") from None

    def read(self, address: int, size: int) -> bytes:
        """Read exactly `size` bytes; raises NotMapped where some are not there."""
        try:
            got = os.pread(self._fd, size, address)
        except (OSError, OverflowError) as error:
            raise self._lost(error, address, size) from None
        if len(got) != size:
            if got:
                return got + self.read(address + len(got), size - len(got))
            raise self._lost(None, address, size)
        return got

    def write(self, address: int, code: bytes) -> None:
        """Write all of `code`, also to read-only private mappings; raises NotMapped where that
        can't be.
        """
        try:
            done = os.pwrite(self._fd, code, address)
        except (OSError, OverflowError) as error:
            raise self._lost(error, address, len(code)) from None
        if done != len(code):
            if not done:
                raise self._lost(None, address, len(code))
            self.write(address + done, code[done:])

    def _lost(self, error: Exception | None, address: int, size: int) -> TargetGone | NotMapped:
        if error is None and size:
            # No error and no byte: the address space itself is gone (mem_rw in fs/proc/base.c).
            return TargetGone(
                f"process {self.pid} has ended, or become another program", address=address
            )
        return NotMapped(
            f"process {self.pid} has no {size} accessible bytes of memory", address=address
        )

    def cstring(self, address: int, limit: int = CSTRING_LIMIT) -> bytes:
        """Read bytes up to (without) the first zero byte, at most `limit` of them.

        A string that runs into memory that is not there ends at its edge; raises NotMapped when
        there is none.
        """
        parts: list[bytes] = []
        left = limit
        while left > 0:
            size = min(left, CHUNK - address % CHUNK)
            try:
                part = self.read(address, size)
            except NotMapped:
                if parts:
                    break
                raise
            head, zero, _ = part.partition(b"\0")
            parts.append(head)
            if zero:
                break
            address += size
            left -= size
        return b"".join(parts)

    def word(self, address: int, size: int = 8) -> int:
        """Read an unsigned little-endian integer."""
        return int.from_bytes(self.read(address, size), "little")

    def reopen(self) -> None:
        """Follow the process into its new address space after an exec."""
        fresh = self._open()
        self.close()
        self._fd = fresh

    def close(self) -> None:
        """Give the descriptor back; later accesses fail."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


PAGE = 4096
OPERAND = 64
"""The most bytes that one instruction reads or writes and that we emulate."""

# Without declared argument types calls are much faster; every argument is an int of 32 bits or a
# ctypes object.
_readv = ctypes.PyDLL(None).process_vm_readv
_writev = ctypes.PyDLL(None).process_vm_writev


class OperandMemory:
    """The memory of one thread for emulated instructions: its protections hold as for the CPU.

    What the program itself may not read or write raises NotMapped, and nothing has changed then.
    /proc/PID/mem would write through read-only and inaccessible pages.
    """

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self._bytes = bytearray(OPERAND)
        self._keep = (ctypes.c_char * OPERAND).from_buffer(self._bytes)
        # struct iovec twice: address and size of ours, of the program's.
        self._ours = (ctypes.c_uint64 * 2)(ctypes.addressof(self._keep), 0)
        self._theirs = (ctypes.c_uint64 * 2)()

    def read(self, address: int, size: int) -> bytes:
        """Read exactly `size` bytes, at most `OPERAND`."""
        self._transfer(_readv, address, size)
        return bytes(self._bytes[:size])

    def write(self, address: int, code: bytes) -> None:
        """Write all of `code`, at most `OPERAND` bytes, or nothing."""
        size = len(code)
        if address % PAGE + size > PAGE:
            self._write_across(address, code)
            return
        self._bytes[:size] = code
        self._transfer(_writev, address, size)

    def _write_across(self, address: int, code: bytes) -> None:
        """Write to two pages: to the second one first, which a fault must leave as it was."""
        near = PAGE - address % PAGE
        before = self.read(address + near, len(code) - near)
        self.write(address + near, code[near:])
        try:
            self.write(address, code[:near])
        except NotMapped:
            self.write(address + near, before)
            raise

    def _transfer(self, transfer: Callable[..., int], address: int, size: int) -> None:
        ours, theirs = self._ours, self._theirs
        ours[1] = theirs[1] = size
        theirs[0] = address
        if transfer(self._tid, ours, 1, theirs, 1, 0) != size:
            raise NotMapped(
                f"thread {self._tid} may not use {size} bytes of memory", address=address
            )
