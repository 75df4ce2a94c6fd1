"""What is looked at to say whether a process may be traced: one function per obstacle.

Each returns findings with what to do about them; none touches the process.
"""

import contextlib
import enum
import os
import platform
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from uprobes import NoSuchProcess, ProbeError, UnsupportedTarget
from uprobes.attaching import check_target
from uprobes.guard.rescue import find_guard
from uprobes.machine import machine_of_host
from uprobes.maps import read_mappings
from uprobes.memory import ProcessMemory
from uprobes.names import demangle

CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
SLEEP = Path("/dev/cpu_dma_latency")


class Level(enum.StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, and what to do about it."""

    topic: str
    level: Level
    found: str
    advice: str = ""

    def as_record(self) -> dict[str, str]:
        """Return it for scripts."""
        return {
            "topic": self.topic,
            "level": str(self.level),
            "found": self.found,
            "advice": self.advice,
        }


def status_of(pid: int | str) -> dict[str, str]:
    """Read /proc/PID/status; empty when it can't be read."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {}


def has_capability(number: int) -> bool:
    """Tell whether we hold a capability."""
    return bool(int(status_of("self").get("CapEff", "0"), 16) >> number & 1)


def machine() -> Iterator[Finding]:
    """Look at the machine and the kernel."""
    release = f"{platform.machine()}, Linux {platform.release()}"
    try:
        machine_of_host()
    except UnsupportedTarget as error:
        yield Finding("machine", Level.PROBLEM, f"{release}: {error.why}", error.hint)
        return
    yield Finding("machine", Level.OK, release)


def privileges() -> Iterator[Finding]:
    """Look at who we are and what that allows."""
    user = os.geteuid()
    if has_capability(CAP_SYS_PTRACE):
        yield Finding("privileges", Level.OK, f"user {user}, with CAP_SYS_PTRACE: any process")
    else:
        yield Finding(
            "privileges",
            Level.NOTE,
            f"user {user}, without CAP_SYS_PTRACE: only processes of this user",
            "for others run as root, or give the interpreter CAP_SYS_PTRACE",
        )


_SCOPES = {
    0: (Level.OK, "any process of the same user may be traced", ""),
    1: (
        Level.PROBLEM,
        "only descendants may be traced",
        "start the program under uprobes (`-- CMD`), run as root, "
        "or `sysctl kernel.yama.ptrace_scope=0`",
    ),
    2: (Level.PROBLEM, "only with CAP_SYS_PTRACE", "run as root"),
    3: (Level.PROBLEM, "nobody may attach until the next boot", "start it under uprobes: `-- CMD`"),
}


def yama() -> Iterator[Finding]:
    """Look at Yama's limit on who may trace whom."""
    try:
        scope = int(YAMA.read_text())
    except (OSError, ValueError):
        yield Finding("yama", Level.OK, "not in this kernel")
        return
    level, meaning, advice = _SCOPES.get(scope, (Level.PROBLEM, "unknown to us", "run as root"))
    if has_capability(CAP_SYS_PTRACE) and scope < 3:
        level, advice = Level.OK, ""
        meaning += ", which CAP_SYS_PTRACE overrides"
    yield Finding("yama", level, f"ptrace_scope is {scope}: {meaning}", advice)


def forced_writes() -> Iterator[Finding]:
    """Try whether /proc/PID/mem lets a tracer write to read-only text (proc_mem.force_override)."""
    found = next(
        (m for m in read_mappings(os.getpid()) if m.permissions == "r-xp" and m.inode), None
    )
    if found is None:
        return
    try:
        descriptor = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # we changed our user: nothing can be tried on ourselves, and nothing is wrong
    try:
        # The byte that is there already: nothing changes but that the page becomes our own.
        os.pwrite(descriptor, os.pread(descriptor, 1, found.start), found.start)
    except OSError:
        yield Finding(
            "text writes",
            Level.NOTE,
            "the kernel restricts writes to text through /proc/PID/mem",
            "boot with proc_mem.force_override=ptrace, which lets tracers do it",
        )
    else:
        yield Finding("text writes", Level.OK, "/proc/PID/mem reaches read-only text")
    finally:
        os.close(descriptor)


def sleep_states() -> Iterator[Finding]:
    """Look whether we may keep the CPUs awake, which makes hits cheaper."""
    if os.access(SLEEP, os.W_OK):
        yield Finding("cpu sleep", Level.OK, f"{SLEEP} can be used to keep the CPUs awake")
        return
    why = "may not be written" if SLEEP.exists() else "does not exist"
    yield Finding(
        "cpu sleep",
        Level.NOTE,
        f"{SLEEP} {why}: a hit may wait for a CPU to wake up",
        "nothing is wrong; with the right to write to it, hits may cost less",
    )


def own_seccomp() -> Iterator[Finding]:
    """Look at a filter on our own system calls, as containers set one."""
    if status_of("self").get("Seccomp", "0") != "0":
        yield Finding(
            "own seccomp",
            Level.NOTE,
            "our own system calls are filtered; ptrace may be among the forbidden",
            "if attaching fails, allow ptrace in the container (--cap-add=SYS_PTRACE)",
        )


def demangler() -> Iterator[Finding]:
    """Look whether C++ names can be read."""
    if not demangle.available():
        yield Finding(
            "demangler",
            Level.NOTE,
            "no C++ runtime library: C++ functions go by their mangled names",
            "install libstdc++6",
        )


def target(pid: int) -> Iterator[Finding]:
    """Look at what attaching would check; raises NoSuchProcess when there is no such process."""
    try:
        status = check_target(pid)
    except NoSuchProcess as error:
        if not os.path.exists(f"/proc/{pid}"):
            raise
        yield Finding("process", Level.PROBLEM, error.why, error.hint)
        return
    except ProbeError as error:
        yield Finding("process", Level.PROBLEM, error.why, error.hint)
        return
    threads = status_of(pid).get("Threads", "?")
    yield Finding("process", Level.OK, f"{pid} ({status.name}), {threads} threads, not traced")
    if status.state in ("T", "t"):
        yield Finding(
            "state", Level.NOTE, "it is stopped: nothing will be hit", f"kill -CONT {pid}"
        )
    elif status.state == "D":
        yield Finding("state", Level.NOTE, "it waits for a device; attaching may take as long")


def access(pid: int) -> Iterator[Finding]:
    """Ask the kernel, in the way that attaching would be decided."""
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        owner = status_of(pid).get("Uid", "?").split()[:1]
        yield Finding(
            "permission",
            Level.PROBLEM,
            f"the kernel does not let us at its memory ({error.strerror}); it runs as user "
            + "".join(owner),
            "run as that user or as root; setuid programs and those that forbade dumps need root",
        )
    else:
        yield Finding("permission", Level.OK, "the kernel lets us trace it")


NO_CALLS = "we make none in it, so there is no guard, and boost and step may be refused"
IN_PLACE = "use --method emulate or inline"


def filters(pid: int) -> Iterator[Finding]:
    """Look at seccomp, and at signals of the process's own that ours could be mistaken for."""
    status = status_of(pid)
    mode = status.get("Seccomp", "0")
    if mode == "1":
        yield Finding("seccomp", Level.NOTE, f"it is in strict mode: {NO_CALLS}", IN_PLACE)
    elif mode == "2" and has_capability(CAP_SYS_ADMIN) and status_of("self")["Seccomp"] == "0":
        yield Finding(
            "seccomp",
            Level.NOTE,
            "its system calls are filtered: we make only those that its filters let through",
            "nothing is wrong; where that is too little, `why_not` of a probe names the call",
        )
    elif mode == "2":
        yield Finding(
            "seccomp",
            Level.NOTE,
            f"its system calls are filtered, and we may not read its filters: {NO_CALLS}",
            f"{IN_PLACE}; with CAP_SYS_ADMIN, and outside of seccomp, its filters are read",
        )
    bit = 1 << (signal.SIGTRAP - 1)
    for key, what in (("SigCgt", "handles"), ("SigBlk", "blocks"), ("SigIgn", "ignores")):
        if int(status.get(key, "0"), 16) & bit:
            yield Finding(
                "SIGTRAP", Level.NOTE, f"it {what} SIGTRAP itself", "its own traps stay its own"
            )


def survival(pid: int) -> Iterator[Finding]:
    """Say whether the process would outlive its tracer, and whether one died already."""
    trap = 1 << (signal.SIGTRAP - 1)
    blocking = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError, KeyError, ValueError):
            blocking += bool(int(status_of(f"{pid}/task/{tid}")["SigBlk"], 16) & trap)
    if blocking:
        yield Finding(
            "survival",
            Level.NOTE,
            f"{blocking} of its threads block SIGTRAP",
            "if the tracer is killed, a breakpoint that such a thread meets first ends the process",
        )
    with contextlib.suppress(OSError, ProbeError):
        memory = ProcessMemory(pid)
        try:
            found = find_guard(pid, memory)
        finally:
            memory.close()
        tracer = int(status_of(pid).get("TracerPid", "0"))
        if found is not None and not tracer:
            yield Finding(
                "survival",
                Level.PROBLEM,
                "a tracer died here and left its breakpoints",
                f"uprobes rescue {pid}",
            )
        elif not blocking:
            yield Finding("survival", Level.OK, "it would go on if its tracer were killed")


def shadow_stack(pid: int) -> Iterator[Finding]:
    """Look at hardware shadow stacks, which notice changed return addresses."""
    if "shstk" in status_of(pid).get("x86_Thread_features", ""):
        yield Finding(
            "shadow stack",
            Level.PROBLEM,
            "a hardware shadow stack guards its return addresses: return probes would kill it",
            "start it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK, or use entry probes only",
        )


def namespaces(pid: int) -> Iterator[Finding]:
    """Look at namespaces other than ours."""
    other = []
    for kind in ("mnt", "pid", "user", "net"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"):
                other.append(kind)
    if other:
        yield Finding(
            "namespaces",
            Level.NOTE,
            f"it has namespaces of its own: {', '.join(other)}",
            "paths in specs are those that it sees",
        )


def program(pid: int) -> Iterator[Finding]:
    """Look at the program file."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return
    if path.endswith(" (deleted)"):
        yield Finding(
            "program",
            Level.NOTE,
            f"{path.removesuffix(' (deleted)')} was deleted or replaced since it was started",
            "its symbols are still read through /proc, for libraries that needs root",
        )


GENERAL: tuple[Callable[[], Iterator[Finding]], ...] = (
    machine, privileges, yama, forced_writes, own_seccomp, sleep_states, demangler,
)  # fmt: skip
OF_PROCESS: tuple[Callable[[int], Iterator[Finding]], ...] = (
    target, access, filters, survival, shadow_stack, namespaces, program,
)  # fmt: skip
