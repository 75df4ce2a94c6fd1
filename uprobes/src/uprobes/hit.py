"""What a handler gets: the hit of a probe, or the return of a function."""

import copy
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uprobes import unprobed
from uprobes.errors import ProbeError
from uprobes.memory import ProcessMemory
from uprobes.tracee import IP_MOVED, Registers, Tracee

if TYPE_CHECKING:
    from uprobes.probe import Probe
    from uprobes.process import Process


class Outcome(enum.StrEnum):
    """How a probed call ended."""

    RETURNED = "returned"
    UNWOUND = "unwound"
    """The frame was left without returning: longjmp, an exception."""
    LOST = "lost"
    """Nobody can say: the thread ended, or the program turned into another, inside the call."""


class Hit:
    """One thread at one probe point, the instruction there not yet executed.

    Registers are live while the handler runs, and writes to them reach the thread; a handler that
    moves the program counter thereby skips the instruction. A hit that is kept longer shows the
    registers as they were.
    """

    __slots__ = ("_registers", "_tracee", "_words", "probe", "tid")

    def __init__(self, tracee: Tracee, probe: "Probe") -> None:
        self._tracee = tracee
        self._words = tracee.words
        self._registers: Registers | None = None
        self.probe = probe
        self.tid = tracee.tid

    @property
    def tracee(self) -> Tracee:
        """The thread, as the engine knows it."""
        return self._tracee

    @property
    def process(self) -> "Process":
        """The address space of the thread, as the engine knows it."""
        return self._tracee.process

    @property
    def pid(self) -> int:
        """The process of the thread."""
        return self._tracee.pid

    @property
    def address(self) -> int:
        """The address of the probe point."""
        return self.probe.address

    @property
    def registers(self) -> Registers:
        """The registers by name."""
        if self._words is self._tracee.words:
            return self._tracee.registers
        return self._registers or Registers(self._tracee.machine, self._words)

    @property
    def memory(self) -> ProcessMemory:
        """The memory of the process as it is now, with what we have put into it (see `read`)."""
        return self._tracee.process.memory

    def read(self, address: int, size: int) -> bytes:
        """Read memory as the program would see it without us: our breakpoints and return addresses
        don't show. Raises NotMapped.
        """
        return unprobed.read(self.process, address, size)

    def arg(self, number: int) -> int:
        """Return an integer argument of the function, counted from 0, by the calling convention.

        Right at a function's first instruction only; raises NotMapped when it lies on a stack that
        is not there.
        """
        argument_words = self._tracee.argument_words
        if 0 <= number < len(argument_words):
            return self._words[argument_words[number]]
        if number < 0:
            raise IndexError(f"arguments are counted from 0, not {number}")
        machine = self._tracee.machine
        size = machine.arch.pointer_size
        sp = self._words[machine.index[machine.sp]]
        offset = machine.stack_arguments + size * (number - len(machine.arguments))
        return self.memory.word(sp + offset, size)

    def cstring(self, number: int, limit: int = 4096) -> bytes:
        """Return the C string that an argument points to, at most `limit` bytes of it."""
        return self.memory.cstring(self.arg(number), limit)

    def defer(self, work: Callable[[Any], object]) -> None:
        """Have `work(hit)` run in a thread of its own, once the handlers of this hit are done.

        The thread that hit stays stopped until `work` returns, and gets the registers that it
        writes; all others go on. Raises ProbeError when the handler is over already.
        """
        if self._registers is not None:
            work(self)  # it runs in a thread of its own already
            return
        tracee = self._tracee
        if self._words is not tracee.words:
            raise ProbeError(
                "the hit is over: its thread runs on",
                spec=self.probe.location.spec,
                code="hit-over",
                hint="defer from within the handler",
            )
        tracee.deferred.append((copy.copy(self), work))
        tracee.registers.changed = tracee.registers.changed or IP_MOVED  # the engine looks closer

    def work_on(self, registers: Registers) -> None:
        """Show these registers from now on, not the thread's."""
        self._registers, self._words = registers, registers.words

    def keep(self) -> "Hit":
        """Take a copy of the registers, so that they can be read after the handler is done."""
        if self._words is self._tracee.words:
            self._words = memoryview(bytes(self._tracee.buffer)).cast("Q")
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.probe.location.spec!r} tid={self.tid}>"


class Return(Hit):
    """One call of a probed function, ended.

    `value` is the integer it returned (0 unless `outcome` is `returned`), `saved` what `save` gave
    at its entry, `elapsed_ns` the time between our two stops, our own work at the entry left out.
    """

    __slots__ = ("elapsed_ns", "outcome", "saved", "value")

    def __init__(
        self,
        tracee: Tracee,
        probe: "Probe",
        value: int,
        saved: object,
        elapsed_ns: int,
        outcome: Outcome,
    ) -> None:
        super().__init__(tracee, probe)
        self.value = value
        self.saved = saved
        self.elapsed_ns = elapsed_ns
        self.outcome = outcome
