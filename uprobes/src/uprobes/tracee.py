"""One thread under trace: its registers, its state, and how it goes on.

Registers live in one buffer that GETREGS fills. Writes are remembered: a moved program counter
alone costs a single word to write back, anything else the whole set.
"""

import contextlib
import ctypes
import enum
import errno
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from uprobes import ptrace
from uprobes.machine import Machine
from uprobes.memory import OperandMemory
from uprobes.ptrace import FAULTS, Request, SignalInfo, call_quickly

if TYPE_CHECKING:
    from ubp import Step
    from uprobes.hit import Hit
    from uprobes.process import Process
    from uprobes.seccomp import Filters
    from uprobes.sleeping import Parked

FOR_SIGNAL = 2
OUTSIDE_CALLS = frozenset({ptrace.Event.NONE, ptrace.Event.STOP})
"""The stops between two system calls; at all other events the thread is inside one, or ending."""
# Looking a request up in its enumeration takes as long as passing it to the kernel.
GETREGS, SETREGS = int(Request.GETREGS), int(Request.SETREGS)
POKEUSER, CONT, SINGLESTEP = int(Request.POKEUSER), int(Request.CONT), int(Request.SINGLESTEP)
WORD = 8
CLEAN, IP_MOVED, CHANGED = 0, 1, 2


class State(enum.Enum):
    """What a tracee is doing, as far as we made it do it."""

    RUNNING = "running"
    STEPPING = "stepping"
    STOPPED = "stopped"
    PARKED = "parked"
    """Stopped until handlers that may sleep are done."""
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
    vforking: bool = False
    """Whether the thread sits in the kernel until its child gives their memory back: it can't stop
    there, nor come out while the child is stopped.
    """
    held: deque[HeldSignal] = field(default_factory=deque)
    ended: int | None = None
    """The wait status of its end, or of its last stop, that came while we made it do something."""
    restarting: tuple[bool, tuple[int, ...]] | None = None
    """The registers of a hit whose instruction did not run: a hit with the same ones is the same
    hit. True in front where the kernel repeats a system call.
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
    flags_word: int = field(init=False)
    trap_flag: int = field(init=False)
    operands: OperandMemory = field(init=False)
    argument_words: tuple[int, ...] = field(init=False)
    """Which words hold a function's first arguments."""
    _ip: ctypes.c_ulong = field(init=False, default_factory=ctypes.c_ulong)
    """Where POKEUSER gets the program counter."""
    filters: "Filters | None" = None
    """The seccomp filters that were read last."""
    unasked: bool = True
    """Whether we have not looked yet what the thread blocks."""
    opened: int | None = None
    """The signals it blocked after a breakpoint had opened the trap's for it."""
    spare: "Hit | None" = None
    """The hit object of the latest hit, used again unless a handler kept it."""
    deferred: "list[tuple[Hit, Callable[[Any], object]]]" = field(default_factory=list)
    """What the handlers of the present hit want to be run aside, while the thread stays stopped."""
    parked: "Parked | None" = None
    _intended: bytes = field(init=False, default=b"")
    _mask: int | None = field(init=False, default=None)
    """What the program blocks, while we block more."""

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
        self.flags_word = self.machine.index[self.machine.flags]
        self.trap_flag = self.machine.trap_flag
        self.operands = OperandMemory(self.tid)

    @property
    def steps_itself(self) -> bool:
        """Whether the program has the trap flag set for the thread."""
        return bool(self.words[self.flags_word] & self.trap_flag)

    @property
    def may_call(self) -> bool:
        """Whether a system call of ours can be made at this stop: it has not begun one of its own,
        and will live.
        """
        return (self.pending or 0) >> 16 in OUTSIDE_CALLS

    @property
    def stopped_for(self) -> int:
        """Tell what a held thread has to report: 0 nothing that it could lose, 1 unknown, 2 a
        signal.
        """
        if self.pending is None:
            return 1
        return 0 if self.pending >> 16 else FOR_SIGNAL

    def load(self) -> Registers:
        """Fetch the registers; raises OSError (ESRCH) when the thread is gone."""
        call_quickly(GETREGS, self.tid, 0, self.area)
        self.registers.changed = CLEAN
        return self.registers

    def remember(self) -> None:
        """Keep the registers as they are intended, for `intend`."""
        self._intended = bytes(self.buffer)

    def intend(self) -> None:
        """Make the thread's registers what they were to be at `remember`."""
        self.buffer[:] = self._intended
        self.registers.changed = CHANGED

    def peek(self, name: str) -> int:
        """Return one register as the stopped thread has it, whatever is intended for it here."""
        offset = WORD * self.machine.index[name]
        return ptrace.call(Request.PEEKUSER, self.tid, offset) & (1 << 64) - 1

    def flush(self) -> None:
        """Write back what was changed."""
        changed = self.registers.changed
        if changed == IP_MOVED:
            self._ip.value = self.words[self.ip_word]
            call_quickly(POKEUSER, self.tid, self.ip_offset, self._ip)
        elif changed == CHANGED:
            call_quickly(SETREGS, self.tid, 0, self.area)
        self.registers.changed = CLEAN

    def resume(self, number: int = 0, *, step: bool = False) -> None:
        """Let the stopped thread go on, with a signal or without; a thread that was killed
        meanwhile is left alone.
        """
        try:
            if self.registers.changed:
                self.flush()
            if self.held and not step and not number:
                number = self.take_held()
            call_quickly(SINGLESTEP if step else CONT, self.tid, 0, number)
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

    def hold(self, number: int, *, block: bool = True) -> None:
        """Keep the signal the thread was about to get for later, and others in the kernel.

        Without `block` the caller has seen to it that no others come.
        """
        try:
            info: SignalInfo | None = ptrace.signal_info(self.tid)
        except OSError:
            info = None
        if block and self._mask is None:
            self._mask = ptrace.signal_mask(self.tid)
            ptrace.set_signal_mask(self.tid, self._mask | NOT_FAULTS)
        self.held.append(HeldSignal(number, info))

    def hold_trap(self, info: SignalInfo) -> None:
        """Let a trap of the program's own come before any signal that is held."""
        self.held.appendleft(HeldSignal(info.number, info))

    def take_held(self) -> int:
        """Prepare the first held signal for delivery at the present stop; 0 when none is left.

        Further ones, and any where the thread is not stopped by a signal, are sent again.
        """
        if self._mask is not None:
            ptrace.set_signal_mask(self.tid, self._mask)
            self._mask = None
        if not self.held:
            return 0
        first = self.held.popleft()
        number = first.number
        try:
            if ptrace.signal_info(self.tid).of_event:
                self._send_again(first)
                number = 0
            elif first.info is not None:
                ptrace.set_signal_info(self.tid, first.info)
        except OSError:
            self._send_again(first)
            number = 0
        while self.held:
            self._send_again(self.held.popleft())
        return number

    def _send_again(self, held: HeldSignal) -> None:
        with contextlib.suppress(OSError):
            if held.info is None:
                ptrace.tgkill(self.pid, self.tid, held.number)
            else:
                ptrace.send_again(self.pid, self.tid, held.info)

    def restart(self) -> None:
        """Note that the thread will come to its program counter again with the same registers, for
        a hit that was counted.
        """
        self.restarting = (False, self._state(False))

    def restart_call(self, address: int) -> None:
        """Note that the kernel will repeat the system call at an address, whose hit was counted.

        Only the stack tells that one: the kernel uses registers for it.
        """
        self.restarting = (True, (address, self.registers[self.machine.sp]))

    def restarts(self) -> bool:
        """Tell whether this is the hit that was counted before; forget that one."""
        before, self.restarting = self.restarting, None
        return before is not None and before[1] == self._state(before[0])

    def _state(self, of_call: bool) -> tuple[int, ...]:
        machine, words = self.machine, self.words
        if of_call:
            return words[self.ip_word], words[machine.index[machine.sp]]
        # What the kernel changes by itself, and the flags that a debugger's stop leaves behind.
        left_out = (machine.index[machine.system_call], self.flags_word)
        return tuple(word for number, word in enumerate(words) if number not in left_out)

    def detach(self, number: int = 0) -> None:
        """Stop tracing the stopped thread and let it run."""
        try:
            self.flush()
            if not number:
                number = self.take_held()
            ptrace.call(Request.DETACH, self.tid, 0, number)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
        self.state = State.GONE


BREAK_STATUS = (signal.SIGTRAP << 8) | 0x7F
"""The wait status of a plain SIGTRAP stop."""
CALL_STOP = signal.SIGTRAP | 0x80
"""What a stop at a system call reports as its signal (PTRACE_O_TRACESYSGOOD)."""
NOT_FAULTS = ((1 << 64) - 1) & ~sum(1 << (number - 1) for number in FAULTS)
"""The signals that can be blocked; a blocked fault would cost the program its handler."""
