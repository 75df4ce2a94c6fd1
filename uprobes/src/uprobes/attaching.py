"""Become the tracer of a process: who may be traced, finding all its threads, starting a command
under trace.
"""

import contextlib
import errno
import os
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uprobes import ptrace
from uprobes.errors import (
    AlreadyTraced,
    NoSuchProcess,
    NotPermitted,
    SpawnFailed,
    UnsupportedTarget,
)
from uprobes.status import living_thread, status_fields

PF_KTHREAD = 0x0020_0000
EXEC_STATUS = ((signal.SIGTRAP | ptrace.Event.EXEC << 8) << 8) | 0x7F
ELF_CLASS_64 = 2


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What /proc/PID/status and stat say that decides about tracing."""

    pid: int
    name: str
    state: str
    thread_group: int
    tracer: int
    uid: int
    kernel_thread: bool
    seccomp: int
    elf_class: int | None


def read_status(pid: int) -> ProcessStatus:
    """Read what there is to know of a process without touching it; raises NoSuchProcess."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchProcess(
            f"there is no process {pid}", hint="it may have ended; `ps` lists those that run"
        ) from None
    fields = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    elf_class = None
    with contextlib.suppress(OSError), open(f"/proc/{pid}/exe", "rb") as file:
        head = file.read(5)
        elf_class = head[4] if len(head) == 5 else None
    return ProcessStatus(
        pid=pid,
        name=fields.get("Name", ""),
        state=fields.get("State", "?")[:1],
        thread_group=int(fields.get("Tgid", pid)),
        tracer=int(fields.get("TracerPid", 0)),
        uid=int(fields.get("Uid", "0").split()[0]),
        kernel_thread=bool(int(stat[6]) & PF_KTHREAD),
        seccomp=int(fields.get("Seccomp", 0)),
        elf_class=elf_class,
    )


def check_target(pid: int) -> ProcessStatus:
    """Say whether a process can be traced, as far as can be known beforehand; raises why not."""
    if pid <= 0:
        raise NoSuchProcess(f"{pid} is not the number of a process", hint="give a positive number")
    status = read_status(pid)
    if status.thread_group != pid:
        raise UnsupportedTarget(
            f"{pid} is a thread of process {status.thread_group}, not a process",
            code="thread-number",
            hint=f"attach to {status.thread_group}; probes see all its threads",
        )
    if pid == os.getpid():
        raise UnsupportedTarget(
            f"{pid} is this very process: a tracer can't stop itself",
            code="own-process",
            hint="probe it from another process",
        )
    if status.kernel_thread:
        raise UnsupportedTarget(
            f"{pid} ({status.name}) is a kernel thread: it has no user code",
            code="kernel-thread",
            hint="user probes need a user process; for the kernel use kprobes",
        )
    if pid == 1:
        raise UnsupportedTarget(
            "process 1 is the system's init: stopping it can stop the system",
            code="init",
            hint="probe another process, or init in a container of its own from outside",
        )
    if status.state in "ZX" and living_thread(pid) is None:
        raise NoSuchProcess(
            f"process {pid} ({status.name}) has ended and waits for its parent to notice",
            hint="there is nothing left to probe; start it under uprobes: `-- CMD`",
        )
    if status.tracer:
        raise already_traced(pid, status.tracer)
    if status.elf_class is not None and status.elf_class != ELF_CLASS_64:
        raise UnsupportedTarget(
            f"process {pid} ({status.name}) runs a 32-bit program",
            code="32-bit",
            hint="live probing of 32-bit programs is not there yet; insn and ubp handle their code",
        )
    return status


def already_traced(pid: int, tracer: int) -> AlreadyTraced:
    """Name the tracer that a process has; the kernel gives the number of its tracing thread."""
    with contextlib.suppress(NoSuchProcess):
        tracer = read_status(tracer).thread_group
    try:
        name = Path(f"/proc/{tracer}/comm").read_text().strip()
    except OSError:
        name = "unknown"
    return AlreadyTraced(
        f"process {pid} is traced already, by process {tracer} ({name})",
        tracer=tracer,
        hint=f"end or detach {name} ({tracer}) first; a process has one tracer at most",
    )


def not_permitted(pid: int) -> NotPermitted:
    """Explain why the kernel refused to let us trace a process."""
    hints = []
    try:
        owner = read_status(pid).uid
    except NoSuchProcess:
        owner = os.geteuid()
    if owner != os.geteuid() and os.geteuid() != 0:
        hints.append(f"it belongs to user {owner}; run as that user or as root")
    scope = "/proc/sys/kernel/yama/ptrace_scope"
    with contextlib.suppress(OSError, ValueError):
        value = int(Path(scope).read_text())
        if value:
            hints.append(
                f"Yama's {scope} is {value}: start the program under uprobes (`-- CMD`), "
                "run as root, or set it to 0"
            )
    if not hints:
        hints.append(
            "a container without CAP_SYS_PTRACE, a setuid program or a security module can be why;"
            " `uprobes doctor` looks further"
        )
    return NotPermitted(f"the kernel does not let us trace process {pid}", hint="; ".join(hints))


def _ended_meanwhile(pid: int) -> NoSuchProcess:
    return NoSuchProcess(f"process {pid} ended while we attached")


def _explain(pid: int, tid: int) -> None:
    """Raise why a thread could not be seized, unless it has just ended."""
    fields = status_fields(tid)
    if fields.get("State", "X")[:1] in "ZX":
        return
    tracer = int(fields.get("TracerPid", 0))
    raise already_traced(pid, tracer) if tracer else not_permitted(pid)


def seize_all(pid: int) -> list[int]:
    """Become the tracer of all threads of a process, none of which is stopped; return their
    numbers.

    Threads born meanwhile to a traced one are traced by themselves; others are found by looking
    again.
    """
    seized: set[int] = set()
    ended: set[int] = set()
    """Perhaps before the others: a main thread stays in the list then."""
    while True:
        try:
            tids = {int(name) for name in os.listdir(f"/proc/{pid}/task")}
        except (FileNotFoundError, ProcessLookupError):
            raise _ended_meanwhile(pid) from None
        fresh = tids - seized - ended
        if not fresh and seized:
            break
        if not fresh:
            raise _ended_meanwhile(pid)
        for tid in sorted(fresh):
            try:
                ptrace.seize(tid, ptrace.FOLLOW)
            except OSError as error:
                if error.errno == errno.EPERM and own_tracee(tid):
                    pass
                else:
                    _explain(pid, tid)
                    ended.add(tid)
                    continue
            seized.add(tid)
    return sorted(seized)


def own_tracee(tid: int) -> bool:
    """Tell whether this process is the tracer of a thread already."""
    try:
        text = Path(f"/proc/{tid}/status").read_text(errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        if line.startswith("TracerPid:"):
            tracer = int(line.split()[1])
            return tracer in {int(name) for name in os.listdir("/proc/self/task")}
    return False


def start(argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Start a command under trace and return its number; it is stopped before its first
    instruction.

    Raises SpawnFailed. The calling thread is its parent and its tracer.
    """
    if not argv:
        raise SpawnFailed("there is no command to run", hint="write it after --")
    ready, go = os.pipe()
    failed, report = os.pipe()
    with warnings.catch_warnings():
        # The child only reads, and execs: it needs no lock that another thread might hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _become(list(argv), dict(os.environ if env is None else env), ready, go, failed, report)
    os.close(ready)
    os.close(report)
    try:
        try:
            ptrace.seize(pid, ptrace.FOLLOW)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise not_permitted(pid) from None
        os.write(go, b"x")
        while True:
            _, status = os.waitpid(pid, ptrace.WALL)
            if status == EXEC_STATUS:
                status = ptrace.leave_call(pid)
                if os.WIFSTOPPED(status) and not status >> 16:
                    return pid
            if not os.WIFSTOPPED(status):
                break
            if status >> 16 == ptrace.Event.EXIT:
                ptrace.call(ptrace.Request.CONT, pid)
            else:
                ptrace.call(ptrace.Request.CONT, pid, 0, 0 if status >> 16 else os.WSTOPSIG(status))
        number = int(os.read(failed, 16) or b"0")
        why = os.strerror(number) if number else "it ended before it began"
        raise SpawnFailed(f"{argv[0]} can't be run: {why}", hint="is it in $PATH and executable?")
    finally:
        os.close(go)
        os.close(failed)


def _become(
    argv: list[str], env: dict[str, str], ready: int, go: int, failed: int, report: int
) -> None:
    """Turn the forked child into the command; never returns."""
    try:
        os.close(go)
        os.close(failed)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.read(ready, 1)
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(127)
