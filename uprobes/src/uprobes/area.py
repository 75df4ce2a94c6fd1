"""The SSOL areas of one process: mapped by the process itself, near the text that they serve."""

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ssol
from uprobes.errors import CannotMap, ProbeError
from uprobes.maps import gap_near, read_mappings

if TYPE_CHECKING:
    from uprobes.process import Process

PROT_READ_WRITE, PROT_READ_EXEC = 3, 5
MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20
MAP_PRIVATE_ANONYMOUS_NOREPLACE = MAP_PRIVATE_ANONYMOUS | 0x100000
LOWEST = 0x10000
"""The usual vm.mmap_min_addr."""
HIGHEST = 0x7FFF_FFFF_0000
GUARD = 1 << 20
"""Kept free around an area, so that a heap or a stack next to it can still grow a little."""
DISTANCE = (1 << 31) - (1 << 20)
TRIES = 8
TAKEN, FORBIDDEN = "place-taken", "place-forbidden"


class AreaMapper:
    """Maps areas through a stopped thread of the process (ssol.Mapper).

    The areas can be read and executed, never written by the process; we fill them with traps before
    use.
    """

    def __init__(self, process: "Process") -> None:
        self.process = process

    def map(self, near: Sequence[int], size: int) -> int:
        """Map `size` bytes within reach of all the addresses; raises ssol.NoAreaInReach or
        CannotMap.
        """
        reach = tuple(near)
        for guard in (GUARD, 0):
            for _ in range(TRIES):
                address = self.place(reach, size, guard=guard)
                if address is None:
                    break
                if self.process.guard is not None:
                    # Whoever comes after us, should we die, finds it there.
                    areas = [*self.process.guarded_areas, (address, address + size)]
                    self.process.guard.set_areas(areas)
                try:
                    self.map_at(address, size)
                except CannotMap as error:
                    if error.code == TAKEN:
                        continue
                    if error.code == FORBIDDEN and guard:
                        break
                    raise
                return address
        anchor = reach[0] if reach else 0
        raise ssol.NoAreaInReach(f"no room for {size} bytes within reach of {anchor:#x}")

    def place(self, near: tuple[int, ...], size: int, *, guard: int = GUARD) -> int | None:
        """Return where there is room now within reach of all the addresses, None without any."""
        mappings = read_mappings(self.process.pid)
        return gap_near(
            mappings,
            near,
            size,
            distance=DISTANCE,
            lowest=LOWEST,
            highest=HIGHEST,
            guard=guard,
        )

    def map_at(self, address: int, size: int) -> None:
        """Map `size` bytes of traps at just this address; CannotMap (`place-taken`)."""
        process = self.process
        process.may_call(UNMAP)
        try:
            got = process.call(
                "mmap", address, size, PROT_READ_EXEC, MAP_PRIVATE_ANONYMOUS_NOREPLACE, NO_FILE, 0
            )
        except OSError as error:
            codes = {errno.EEXIST: TAKEN, errno.EPERM: FORBIDDEN}
            raise CannotMap(
                f"process {process.pid} could not map {size} bytes there: {error.strerror}",
                address=address,
                code=codes.get(error.errno or 0),
            ) from None
        if got != address:  # a kernel before 4.17
            process.call("munmap", got, size)
            raise CannotMap(
                f"process {process.pid} has something there", address=address, code=TAKEN
            )
        trap = process.machine.arch.fill
        process.memory.write(address, trap * (size // len(trap)))

    def map_anywhere(self, size: int) -> int:
        """Map `size` bytes of zeros, readable and executable, where the kernel likes; CannotMap."""
        return self._map(size, PROT_READ_EXEC)

    def map_writable(self, size: int) -> int:
        """Map `size` bytes that the process itself may write, for a moment; raises CannotMap."""
        return self._map(size, PROT_READ_WRITE)

    def _map(self, size: int, protection: int) -> int:
        process = self.process
        process.may_call(UNMAP)
        try:
            return process.call("mmap", 0, size, protection, MAP_PRIVATE_ANONYMOUS, NO_FILE, 0)
        except OSError as error:
            raise CannotMap(
                f"process {process.pid} could not map {size} bytes: {error.strerror}"
            ) from None

    def unmap(self, address: int, size: int) -> None:
        """Give an area back; a process that is gone or forbids it keeps it."""
        try:
            self.process.call("munmap", address, size)
        except (OSError, ProbeError):
            return


UNMAP = ("munmap", ())
NO_FILE = (1 << 64) - 1
