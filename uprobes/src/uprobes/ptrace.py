"""ptrace and its neighbours through ctypes: thin wrappers that raise OSError, and nothing else.

Numbers are Linux's (include/uapi/linux/ptrace.h, wait.h); they are the same on every architecture
here.
"""

import ctypes
import enum
import os
import signal
from dataclasses import dataclass

WALL = 0x40000000
"""Wait for clones and for children alike (wait(2))."""


class Request(enum.IntEnum):
    """The requests used here."""

    PEEKUSER = 3
    POKEUSER = 6
    CONT = 7
    SINGLESTEP = 9
    GETREGS = 12
    SETREGS = 13
    DETACH = 17
    SYSCALL = 24
    GETREGSET = 0x4204
    GETEVENTMSG = 0x4201
    GETSIGINFO = 0x4202
    SETSIGINFO = 0x4203
    SEIZE = 0x4206
    INTERRUPT = 0x4207
    LISTEN = 0x4208
    GETSIGMASK = 0x420A
    SETSIGMASK = 0x420B
    SECCOMP_GET_FILTER = 0x420C
    GET_RSEQ_CONFIGURATION = 0x420F


class Option(enum.IntFlag):
    """What a tracee reports besides signals (PTRACE_O_…)."""

    SYSGOOD = 1
    FORK = 2
    VFORK = 4
    CLONE = 8
    EXEC = 16
    VFORK_DONE = 32
    EXIT = 64


class Event(enum.IntEnum):
    """What a ptrace event stop is about (PTRACE_EVENT_…)."""

    NONE = 0
    FORK = 1
    VFORK = 2
    CLONE = 3
    EXEC = 4
    VFORK_DONE = 5
    EXIT = 6
    STOP = 128


class TrapCode(enum.IntEnum):
    """Why a SIGTRAP came (`si_code`, include/uapi/asm-generic/siginfo.h)."""

    KERNEL = 0x80
    BREAKPOINT = 1
    TRACE = 2
    BRANCH = 3
    HARDWARE = 4
    UNKNOWN = 5


FOLLOW = (
    Option.FORK
    | Option.VFORK
    | Option.CLONE
    | Option.EXEC
    | Option.VFORK_DONE
    | Option.EXIT
    | Option.SYSGOOD
)
"""The options every tracee gets: births, exec and exit are always seen."""

SIGINFO_SIZE = 128
CODE_WORD = 2
"""Where `si_code` is in a siginfo_t of ints."""
_GETSIGINFO = int(Request.GETSIGINFO)
SI_TKILL = -6
VECTOR_STATE = 0x202
"""The register set that holds the vector state, where XSAVE does (include/uapi/linux/elf.h)."""
MOST_VECTOR_STATE = 1 << 14
SYS_RT_TGSIGQUEUEINFO = 297

_quick = ctypes.PyDLL(None, use_errno=True)

request = ctypes.PyDLL(None).ptrace
"""ptrace itself for the hot path: returns -1 on failure, sets no error, keeps the interpreter lock.

No argument types are declared, which makes a call three times as fast: addresses and words must be
ctypes objects, everything else an int that fits 32 bits.
"""

_untyped = ctypes.PyDLL(None, use_errno=True).ptrace
_ptrace = _quick.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong]


def call(what: Request, tid: int, address: int = 0, value: int = 0) -> int:
    """Make one ptrace request; raises OSError with the kernel's reason."""
    result: int = _ptrace(what, tid, address, value)
    if result == -1:
        _raise_errno(what, tid)
    return result


def call_quickly(what: int, tid: int, address: int, value: object) -> None:
    """Do the same for `request`'s arguments, three times as fast."""
    if _untyped(what, tid, address, value) == -1:
        _raise_errno(Request(what), tid)


def _raise_errno(what: Request, tid: int) -> None:
    number = ctypes.get_errno()
    if number:
        raise OSError(number, f"ptrace {what.name.lower()} of {tid}: {os.strerror(number)}")


def seize(tid: int, options: Option) -> None:
    """Become the tracer of a thread without stopping it."""
    call(Request.SEIZE, tid, 0, int(options))


def event_message(tid: int) -> int:
    """Return the number that came with an event stop: a new thread, an old one, an exit status."""
    number = ctypes.c_ulong()
    call(Request.GETEVENTMSG, tid, 0, ctypes.addressof(number))
    return number.value


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """A siginfo_t: the fields that decide here, and all of its bytes to hand back."""

    number: int
    code: int
    address: int
    sender: int
    raw: bytes

    @classmethod
    def from_bytes(cls, raw: bytes) -> "SignalInfo":
        """Read the fields of a 128-byte siginfo_t (64-bit layout)."""
        number, code = (
            int.from_bytes(raw[0:4], "little"),
            int.from_bytes(raw[8:12], "little", signed=True),
        )
        return cls(
            number,
            code,
            int.from_bytes(raw[16:24], "little"),
            int.from_bytes(raw[16:20], "little"),
            raw,
        )

    @property
    def synchronous(self) -> bool:
        """Whether the thread's own instruction raised it (si_code > 0 on a fault signal)."""
        return self.code > 0 and self.number in FAULTS

    @property
    def of_event(self) -> bool:
        """Whether the thread stopped for an event of ptrace, not for a signal."""
        return self.code >> 8 > 0

    def trap(self, address: int) -> "SignalInfo":
        """Return what the kernel says to a program that steps itself and has come to an address."""
        raw = signal.SIGTRAP.to_bytes(8, "little") + TrapCode.TRACE.to_bytes(8, "little")
        return SignalInfo.from_bytes(raw + address.to_bytes(8, "little") + bytes(SIGINFO_SIZE - 24))

    def at(self, address: int) -> "SignalInfo":
        """Return the same with another fault address."""
        raw = self.raw[:16] + address.to_bytes(8, "little") + self.raw[24:]
        return SignalInfo.from_bytes(raw)


FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})


def signal_code(tid: int) -> int:
    """Return the code alone of the signal a stopped thread is about to get, three times as fast."""
    words = (ctypes.c_int * (SIGINFO_SIZE // 4))()
    call_quickly(_GETSIGINFO, tid, 0, words)
    return words[CODE_WORD]


def signal_info(tid: int) -> SignalInfo:
    """Return the siginfo of the signal a stopped thread is about to get; EINVAL in a group-stop."""
    buffer = ctypes.create_string_buffer(SIGINFO_SIZE)
    call(Request.GETSIGINFO, tid, 0, ctypes.addressof(buffer))
    return SignalInfo.from_bytes(buffer.raw)


def set_signal_info(tid: int, info: SignalInfo) -> None:
    """Replace the siginfo of the signal a stopped thread is about to get."""
    buffer = ctypes.create_string_buffer(info.raw, SIGINFO_SIZE)
    call(Request.SETSIGINFO, tid, 0, ctypes.addressof(buffer))


ALL_SIGNALS = (1 << 64) - 1
"""A set of signals, all of which are blocked where it is a mask."""


def signal_mask(tid: int) -> int:
    """Return the set of blocked signals of a stopped thread, bit N - 1 for signal N."""
    mask = ctypes.c_uint64()
    call(Request.GETSIGMASK, tid, 8, ctypes.addressof(mask))
    return mask.value


def set_signal_mask(tid: int, mask: int) -> None:
    """Set the blocked signals of a stopped thread."""
    number = ctypes.c_uint64(mask)
    call(Request.SETSIGMASK, tid, 8, ctypes.addressof(number))


def leave_call(tid: int) -> int:
    """Let a thread that is stopped inside a system call come to the end of it; return the status.

    Wherever it makes one next, it has not begun it then.
    """
    call(Request.SYSCALL, tid)
    _, status = os.waitpid(tid, WALL)
    return status


def vector_state(tid: int) -> bytes:
    """Return the vector and floating-point state of a stopped thread, as XSAVE lays it out."""
    buffer = ctypes.create_string_buffer(MOST_VECTOR_STATE)
    where = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), MOST_VECTOR_STATE)
    call(Request.GETREGSET, tid, VECTOR_STATE, ctypes.addressof(where))
    return buffer.raw[: where[1]]


def rseq_area(tid: int) -> int:
    """Return where a stopped thread has registered its rseq area; 0 where it has not, or the kernel
    can't say (before 5.13).
    """
    size = 24
    configuration = (ctypes.c_uint64 * (size // 8))()
    try:
        call(Request.GET_RSEQ_CONFIGURATION, tid, size, ctypes.addressof(configuration))
    except OSError:
        return 0
    return int(configuration[0])


def seccomp_filter(tid: int, index: int) -> bytes:
    """Return one of a stopped thread's seccomp filters, the oldest first: struct sock_filter by
    struct sock_filter. Raises OSError, with ENOENT behind the newest.
    """
    size = call(Request.SECCOMP_GET_FILTER, tid, index)
    buffer = ctypes.create_string_buffer(8 * size)
    call(Request.SECCOMP_GET_FILTER, tid, index, ctypes.addressof(buffer))
    return buffer.raw


def tgkill(pid: int, tid: int, number: int) -> None:
    """Send a signal to one thread."""
    ctypes.set_errno(0)
    if _quick.tgkill(pid, tid, number) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"tgkill {pid}/{tid}: {os.strerror(code)}")


def send_again(pid: int, tid: int, info: SignalInfo) -> None:
    """Send one thread a signal that was taken from it, with its siginfo where the kernel lets us.

    It lets nobody repeat what `kill` or the kernel itself said (rt_tgsigqueueinfo(2)).
    """
    if info.code < 0 and info.code != SI_TKILL:
        buffer = ctypes.create_string_buffer(info.raw, SIGINFO_SIZE)
        number = ctypes.c_long(SYS_RT_TGSIGQUEUEINFO)
        if _quick.syscall(number, pid, tid, info.number, buffer) == 0:
            return
    tgkill(pid, tid, info.number)


def stopped_with_group(tid: int) -> bool:
    """Tell whether the program is still stopped as a whole (job control), as this thread stands.

    What a held thread had reported may be over: continued meanwhile, it would listen for ever
    (do_jobctl_trap in kernel/signal.c reports SIGTRAP then).
    """
    try:
        return signal_info(tid).number != signal.SIGTRAP
    except OSError:
        return True
