"""One thread under trace: its registers, its state, and how it goes on.

Registers live in one buffer that GETREGS fills. Writes are remembered: a moved program counter
alone costs a single word to write back, anything else the whole set.
"""

import ctypes
import enum
import errno
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uprobes import ptrace
from uprobes.machine import Machine
from uprobes.ptrace import Request, SignalInfo

if TYPE_CHECKING:
    from ubp import Step
    from uprobes.hit import Hit
    from uprobes.process import Process

WORD = 8
CLEAN, IP_MOVED, CHANGED = 0, 1, 2


class State(enum.Enum):
    """What a tracee is doing, as far as we made it do it."""

    RUNNING = "running"
    STEPPING = "stepping"
    STOPPED = "stopped"
    LISTENING = "listening"
    GONE = "gone"


class Registers:
    """The registers of one stopped thread by name; writes reach it when it is resumed.

    Raises KeyError for a name this machine has not.
    """

    __slots__ = ("_index", "_ip", "changed", "machine", "words")

    def __init__(self, machine: Machine, words: memoryview) -> None:
        self.machine = machine
        self.words = words
        self.changed = CLEAN
        self._index = machine.index
        self._ip = machine.ip

    def __getitem__(self, name: str) -> int:
        return self.words[self._index[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[self._index[name]] = value
        if name == self._ip:
            self.changed = self.changed or IP_MOVED
        else:
            self.changed = CHANGED

    def __iter__(self) -> "object":
        return iter(self.machine.names)

    def as_dict(self) -> dict[str, int]:
        """Return a copy by name."""
        return dict(zip(self.machine.names, self.words.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class HeldSignal:
    """A signal that came at a bad moment and is delivered a little later."""

    number: int
    info: SignalInfo | None


@dataclass(eq=False, slots=True)
class Tracee:
    """One traced thread; all requests go through the tracer's own thread."""

    tid: int
    pid: int
    """The thread group it belongs to: another one than `process.pid` between vfork and exec."""
    process: "Process"
    machine: Machine
    state: State = State.RUNNING
    step: "Step | None" = None
    pending: int | None = None
    """The wait status that was reported while the thread was held, None when it only stopped for
    us.
    """
    interrupted: bool = False
    """Whether we asked the thread to stop and have not seen it do so."""
    held: deque[HeldSignal] = field(default_factory=deque)
    restarting: tuple[int, int] | None = None
    """Probe point and stack pointer of a hit whose instruction did not run: the next one there is
    the same hit.
    """
    buffer: bytearray = field(init=False)
    area: "ctypes.Array[ctypes.c_char]" = field(init=False)
    """The same bytes as ptrace gets them."""
    words: memoryview = field(init=False)
    words_address: int = field(init=False)
    registers: Registers = field(init=False)
    ip_word: int = field(init=False)
    ip_offset: int = field(init=False)
    skew: int = field(init=False)
    argument_words: tuple[int, ...] = field(init=False)
    """Which words hold a function's first arguments."""
    spare: "Hit | None" = None
    """The hit object of the latest hit, used again unless a handler kept it."""

    def __post_init__(self) -> None:
        size = WORD * len(self.machine.names)
        self.buffer = bytearray(size)
        self.area = (ctypes.c_char * size).from_buffer(self.buffer)
        self.words_address = ctypes.addressof(self.area)
        self.words = memoryview(self.buffer).cast("Q")
        self.registers = Registers(self.machine, self.words)
        self.ip_word = self.machine.index[self.machine.ip]
        self.ip_offset = WORD * self.ip_word
        self.skew = self.machine.breakpoint_skew
        self.argument_words = tuple(self.machine.index[name] for name in self.machine.arguments)

    def load(self) -> Registers:
        """Fetch the registers; raises OSError (ESRCH) when the thread is gone."""
        ptrace.call(Request.GETREGS, self.tid, 0, self.words_address)
        self.registers.changed = CLEAN
        return self.registers

    def flush(self) -> None:
        """Write back what was changed."""
        changed = self.registers.changed
        if changed == IP_MOVED:
            ip = self.words[self.ip_word]
            ptrace.call(Request.POKEUSER, self.tid, self.ip_offset, ip)
        elif changed == CHANGED:
            ptrace.call(Request.SETREGS, self.tid, 0, self.words_address)
        self.registers.changed = CLEAN

    def resume(self, number: int = 0, *, step: bool = False) -> None:
        """Let the stopped thread go on, with a signal or without; a thread that was killed
        meanwhile is left alone.
        """
        try:
            self.flush()
            ptrace.call(Request.SINGLESTEP if step else Request.CONT, self.tid, 0, number)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        self.state = State.STEPPING if step else State.RUNNING

    def listen(self) -> None:
        """Stay in a group-stop as the program wants it, and still be told when it ends."""
        try:
            self.flush()
            ptrace.call(Request.LISTEN, self.tid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        self.state = State.LISTENING

    def interrupt(self) -> None:
        """Ask the thread to stop; it reports when it has."""
        try:
            ptrace.call(Request.INTERRUPT, self.tid)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise

    def hold(self, number: int) -> None:
        """Keep the signal the thread was about to get for later."""
        try:
            info: SignalInfo | None = ptrace.signal_info(self.tid)
        except OSError:
            info = None
        self.held.append(HeldSignal(number, info))

    def take_held(self) -> int:
        """Prepare the next held signal for delivery at the present signal stop; 0 when none is
        held.

        Further ones are sent again, so that each meets its own handler.
        """
        if not self.held:
            return 0
        first = self.held.popleft()
        if first.info is not None:
            try:
                ptrace.set_signal_info(self.tid, first.info)
            except OSError:
                return first.number
        while self.held:
            later = self.held.popleft()
            try:
                ptrace.tgkill(self.pid, self.tid, later.number)
            except OSError:
                break
        return first.number

    def restart_at(self, address: int) -> None:
        """Note that the thread will meet the breakpoint at an address again for a hit that was
        counted.
        """
        self.restarting = (address, self.registers[self.machine.sp])

    def detach(self, number: int = 0) -> None:
        """Stop tracing the stopped thread and let it run."""
        try:
            self.flush()
            ptrace.call(Request.DETACH, self.tid, 0, number)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        self.state = State.GONE


BREAK_STATUS = (signal.SIGTRAP << 8) | 0x7F
"""The wait status of a plain SIGTRAP stop."""
CALL_STOP = signal.SIGTRAP | 0x80
"""What a stop at a system call reports as its signal (PTRACE_O_TRACESYSGOOD)."""
STOP_SIGNALS = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
