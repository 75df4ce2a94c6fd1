"""Find recordings that run in a process without a tracer, and read them from outside."""

import contextlib
import mmap
import os

import numpy as np

from uprobes.attaching import read_status
from uprobes.errors import NotMapped, NotPermitted, ProbeError, TargetGone
from uprobes.machine import machine_of_host
from uprobes.maps import read_mappings
from uprobes.patch.adopting import OTHERS, read_installed
from uprobes.patch.shared import NAME, find_shared
from uprobes.process import Process
from uprobes.recording.plan import Plan
from uprobes.recording.recording import Recording

COPY_STEP = 1 << 22


class Copy:
    """Memory of a process that we may read but not map: copied, and copied again."""

    def __init__(self, process: Process, view: mmap.mmap, start: int) -> None:
        self._process = process
        self._view = view
        self._start = start
        self.controls = (0, 0)
        """From where to where the writers' indices stand."""

    def fetch(self) -> None:
        """Copy it again, the indices last: then all that they vouch for was there before.

        Of a process that has ended the last copy stays.
        """
        with contextlib.suppress(TargetGone, NotMapped):
            for at in range(0, len(self._view), COPY_STEP):
                self._copy(at, min(at + COPY_STEP, len(self._view)))
            self._copy(*self.controls)

    def _copy(self, begin: int, end: int) -> None:
        if begin < end:
            self._view[begin:end] = self._process.memory.read(self._start + begin, end - begin)

    def tell(self, offset: int) -> None:
        """Write the word at an offset back."""
        with contextlib.suppress(TargetGone, NotMapped):
            self._process.memory.write(self._start + offset, self._view[offset : offset + 8])


def _is_mapped(view: mmap.mmap) -> bool:
    """Whether it is the process's own memory, rather than a copy."""
    address = np.frombuffer(view, np.uint8).ctypes.data
    return any(
        mapping.start <= address < mapping.end and NAME.decode() in mapping.path
        for mapping in read_mappings(os.getpid())
    )


def open_recordings(pid: int, *, keep: bool = True) -> tuple[Recording, ...]:
    """Open what is recorded in a process right now, stopping and changing nothing in it.

    With `keep`, what is read stays there for later readers; else it makes room for new records.
    Where the kernel does not let us map the process's memory (root may), each reading copies it.
    What the process says of itself is believed only as far as nothing but its own figures depends
    on it.
    Raises NoSuchProcess or NotPermitted; ProbeError with the code `no-recording` without any.
    """
    read_status(pid)
    machine = machine_of_host()
    registers = machine.arch.registers
    try:
        process = Process(pid, machine)
    except PermissionError:
        raise NotPermitted(
            f"the memory of process {pid} may not be read", hint="see uprobes doctor"
        ) from None
    found: dict[Plan, Recording] = {}
    broken: list[ProbeError] = []
    for start, size in find_shared(pid):
        try:
            installed = read_installed(process, start, size)
            plan = Plan.from_note(installed.note)
            if plan not in found:
                found[plan] = Recording(plan, registers, pid=pid, command=_command(pid), keep=keep)
            link = None
            if not _is_mapped(installed.memory):
                link = Copy(process, installed.memory, start)
                layout = plan.layout(registers)
                if layout is not None:
                    at = installed.ring_at
                    link.controls = (at + layout.control(0), at + layout.data(0))
                    if link.controls[1] > size:
                        raise ProbeError("its rings are too large", code="bad-recording")
            found[plan].add(installed, link)
        except ProbeError as error:
            if error.code != OTHERS:
                broken.append(error)
        except (OSError, ValueError, TypeError, KeyError) as error:
            broken.append(ProbeError(f"what it says is garbled: {error}", code="bad-description"))
    for plan in [plan for plan, recording in found.items() if not recording.parts]:
        del found[plan]
    if not found:
        raise (
            broken[0]
            if broken
            else ProbeError(
                f"nothing is recorded in process {pid}",
                code="no-recording",
                hint=f"begin with: uprobes record SPEC -p {pid} --detach",
            )
        )
    return tuple(found.values())


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return [part.decode("utf-8", "replace") for part in file.read().split(b"\0")[:-1]]
    return []
