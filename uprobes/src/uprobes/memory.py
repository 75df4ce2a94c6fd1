"""The memory of a live process through /proc/PID/mem, which writes to text that the process itself
may not write.
"""

import contextlib
import os

from uprobes.errors import NotMapped, TargetGone

CSTRING_LIMIT = 4096
CHUNK = 256


class ProcessMemory:
    """Read and write one process's memory; usable from any thread, running target or not.

    The descriptor stays bound to the address space it was opened on: after an exec, `reopen`.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)

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
        if error is None and not os.path.exists(f"/proc/{self.pid}"):
            return TargetGone("the process has ended", address=address)
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
        fresh = os.open(f"/proc/{self.pid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self.close()
        self._fd = fresh

    def close(self) -> None:
        """Give the descriptor back; later accesses fail."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
