"""What leads a thread home from a system call that it makes for us, should we die meanwhile.

A guard has code for that. Where none stands yet, the frame of a signal handler does: the thread's
registers, mask and vector state are written below its stack as the kernel itself would write them
there. The call is one that returns, to code that returns from signal handlers; both are borrowed
from the program's libraries. Where that can't be, there is no way back.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from uprobes import ptrace
from uprobes.errors import CannotMap, ProbeError
from uprobes.maps import VSYSCALL, mapping_at, read_mappings
from uprobes.memory import ProcessMemory
from uprobes.status import has_shadow_stack

if TYPE_CHECKING:
    from uprobes.process import Process
    from uprobes.tracee import Tracee

SCAN_LIMIT = 1 << 21
BORROWED = 512
"""What else may lie below a thread's stack: see `Process.borrowed_stack`."""
THREAD_BLOCK = 1 << 13
"""C libraries keep what belongs to a thread at the end of its stack, this near to it."""


class WayBack(Protocol):
    """Leads one thread at a time back from a system call."""

    def prepare_call(
        self, tracee: "Tracee", registers: Mapping[str, int], mask: int
    ) -> Mapping[str, int]:
        """Write down what the thread shall find after a system call if we die.

        Return the registers with which it comes to the call instruction, but for the call's own.
        """

    def stands(self) -> bool:
        """Tell whether the call instruction is there still."""

    def end_call(self) -> None:
        """Take away what was written down: the thread has its own registers again."""


class Borrowed:
    """The way back without a guard: a signal frame, where the thread's stack has room for it."""

    def __init__(self, process: "Process") -> None:
        """Raises CannotMap where the process has no system call instruction at all."""
        self.process = process
        machine = process.machine
        self._code = machine.call_instruction
        codes = (self._code, machine.returning_call, *machine.restorers)
        found = find_code(process.pid, process.memory, codes)
        if self._code not in found:
            raise CannotMap("the process has no system call instruction to borrow")
        self._site = found[self._code]
        self._returning = found.get(machine.returning_call)
        self._restorer = next((found[code] for code in machine.restorers if code in found), None)
        self._used: list[tuple[int, bytes]] = [(self._site, self._code)]
        if self._returning is not None and self._restorer is not None:
            self._used = [(found[code], code) for code in codes if code in found]
        self._kept: tuple[int, bytes] | None = None

    def stands(self) -> bool:
        """Tell whether all that was borrowed is there still: it may be probed by now."""
        memory = self.process.memory
        try:
            return all(memory.read(at, len(code)) == code for at, code in self._used)
        except ProbeError:
            return False

    def prepare_call(
        self, tracee: "Tracee", registers: Mapping[str, int], mask: int
    ) -> Mapping[str, int]:
        """Write the frame; without room for it the thread comes to the bare instruction."""
        machine = tracee.machine
        self._kept = None
        if self._returning is None or self._restorer is None or has_shadow_stack(tracee.tid):
            return {machine.ip: self._site}
        sp = registers[machine.sp]
        try:
            state = ptrace.vector_state(tracee.tid)
            top = sp - machine.arch.red_zone - BORROWED
            begin, content = machine.signal_frame(registers, mask, state, top, self._restorer)
            if not is_stack(self.process, begin, sp, registers[machine.thread_pointer]):
                return {machine.ip: self._site}
            kept = self.process.memory.read(begin, len(content))
            self.process.memory.write(begin, content)
        except (OSError, ProbeError):
            return {machine.ip: self._site}
        self._kept = (begin, kept)
        return {machine.ip: self._returning, machine.sp: begin}

    def end_call(self) -> None:
        """Put back what was below the stack."""
        if self._kept is not None:
            (begin, content), self._kept = self._kept, None
            self.process.memory.write(begin, content)


def is_stack(process: "Process", begin: int, sp: int, thread_pointer: int) -> bool:
    """Tell whether memory from `begin` up to the stack pointer is a stack of the kernel's or of a C
    library's.

    Others may be small pieces of a heap, with something else below them (goroutines).
    """
    mapping = mapping_at(process.mappings(fresh=True), sp)
    if mapping is None or not mapping.writable or begin < mapping.start:
        return False
    return mapping.path == "[stack]" or sp < thread_pointer < mapping.end <= (
        thread_pointer + THREAD_BLOCK
    )


def find_code(pid: int, memory: ProcessMemory, codes: tuple[bytes, ...]) -> dict[bytes, int]:
    """Return where some code stands first in a process's executable memory, the C library's
    preferred; what is not found is left out.
    """
    found: dict[bytes, int] = {}
    mappings = [m for m in read_mappings(pid) if m.executable and m.path != VSYSCALL]
    mappings.sort(key=lambda m: (m.path != "[vdso]", "libc" not in m.path, "ld-" not in m.path))
    for mapping in mappings:
        try:
            text = memory.read(mapping.start, min(mapping.end - mapping.start, SCAN_LIMIT))
        except ProbeError:
            continue
        for code in codes:
            if code not in found and (at := text.find(code)) >= 0:
                found[code] = mapping.start + at
        if len(found) == len(codes):
            break
    return found
