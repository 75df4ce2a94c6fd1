"""Victims: small C programs that show their probe points, wait to be attached to, and report."""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import uprobes

HERE = Path(__file__).parent
VICTIMS = HERE / "victims"
PATIENCE = float(os.environ.get("PATIENCE", "120"))
"""Seconds after which a victim is taken to hang. Never a figure that a test asserts."""

METHODS = ("inline", "step", "boost", "emulate")


FLAGS = {"openmp": ["-fopenmp"]}
"""What a compiler needs besides the usual."""


COMPILERS = {".go": ("go", "golang-go"), ".cpp": ("g++", "g++"), ".c": ("gcc", "gcc")}
"""What compiles a victim, and the Debian package that has it."""


def compiler_of(name):
    """Give the program that compiles a victim, and its package."""
    return next(c for end, c in COMPILERS.items() if (VICTIMS / f"{name}{end}").exists())


def build_go(name, directory, go, *options):
    """Compile `victims/NAME.go` with nothing but what Go brings; return the program."""
    program = directory / name
    own = {
        "GOCACHE": str(directory / "go-cache"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(
        [go, "build", *options, "-o", str(program), str(VICTIMS / f"{name}.go")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **own},
    )
    assert done.returncode == 0, done.stderr
    return program


def build(name, directory, gcc):
    """Compile `victims/NAME.c` (or .cpp, .go, and .S beside it) into a directory; return the
    program.
    """
    if (VICTIMS / f"{name}.go").exists():
        return build_go(name, directory, gcc)
    program = directory / name
    sources = [VICTIMS / f"{name}{end}" for end in (".c", ".cpp", ".S")]
    sources = [str(source) for source in sources if source.exists()]
    command = [
        gcc,
        "-O2",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        *FLAGS.get(name, ()),
        "-o",
        str(program),
        *sources,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


class Victim:
    """One run of a victim: `points` are addresses that it showed, `hits` what a call must count."""

    def __init__(self, argv, *, prefix=()):
        self.process = subprocess.Popen(
            [*prefix, *map(str, argv)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pid = self.process.pid
        self.points = {}
        self.hits = {}
        self._text = b""
        self.said = []
        while (line := self.line()) != "ready":
            assert line is not None, f"{argv} ended before it was ready"
            name, address, *hits = line.split()
            self.points[name] = int(address, 16)
            self.hits[name] = int(hits[0]) if hits else 1
        self.said.clear()
        self.mappings = executable_mappings(self.pid)

    def line(self, patience=PATIENCE):
        """Read one line of what the victim says; None at the end."""
        while b"\n" not in self._text:
            if not select.select([self.process.stdout], [], [], patience)[0]:
                raise AssertionError(f"the victim says nothing: {self.state()}")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                if not self._text:
                    return None
                break
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        self.said.append(line.decode())
        return self.said[-1]

    def wait_for(self, text, patience=PATIENCE):
        """Read on until a line is exactly this."""
        while (line := self.line(patience)) != text:
            assert line is not None, f"the victim ended without saying {text!r}: {self.said}"

    def go(self):
        """Send the line that the victim waits for."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"\n")

    def finish(self):
        """Read to the end; return the lines since `ready` and the exit code (minus the signal)."""
        while self.line() is not None:
            pass
        return self.said, self.process.wait(PATIENCE)

    def state(self):
        """Say what each thread does, for the message of a failed test."""
        lines = []
        for task in sorted(Path(f"/proc/{self.pid}/task").glob("*")):
            lines.append(f"{task.name}:")
            with contextlib.suppress(OSError):
                wanted = r"^(?:State|TracerPid|Sig\w+):.*$"
                lines += re.findall(wanted, (task / "status").read_text(), re.MULTILINE)
                lines.append((task / "syscall").read_text().strip())
        return "; ".join(lines).replace("\t", " ") or "gone"

    def spec(self, name, offset=0):
        """Name a probe point as a spec."""
        return f"va:{self.points[name] + offset:#x}"

    @property
    def alive(self):
        """Whether the victim runs still; who waits for it instead takes its tracer's stops."""
        return process_state(self.pid) not in (None, "Z", "X")

    def ends_soon(self, patience=2.0):
        """Tell whether the victim was about to end."""
        end = time.monotonic() + patience
        while self.alive and time.monotonic() < end:
            time.sleep(0.01)
        return not self.alive

    def check_untouched(self):
        """Fail where anything of ours is left in the running victim."""
        for task in Path(f"/proc/{self.pid}/task").glob("*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = (task / "status").read_text()
                if "State:\tZ" in status:
                    continue  # it has died, and goes with the thread that traced it
                assert "TracerPid:\t0\n" in status, f"thread {task.name} is traced still"
                state = re.search(r"^State:\s+(\S)", status, re.MULTILINE)
                assert state is not None
                assert state[1] not in "tT", f"thread {task.name} is stopped"
        left = set(executable_mappings(self.pid)) - set(self.mappings)
        left |= {row for row in mappings(self.pid) if "memfd:uprobes" in row[4]}
        assert not left, f"a mapping of ours is left: {left}"
        assert changed_text(self.pid) == [], "text differs from its file"

    def close(self):
        """End the victim and reap it."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def process_name(pid):
    """Give the name of a process, None without one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return None


def process_state(pid):
    """Give the letter of a process's state, None without one."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return None


def switches(pid):
    """Count how often the threads of a process have waited so far: one that is dead has not."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        status = (task / "status").read_text()
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])
    return total


def tracer_of(pid):
    """Give the number of the process that traces one, 0 for none."""
    found = re.search(r"^TracerPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def mappings(pid):
    """List the mappings of a process: start, end, permissions, offset, path."""
    rows = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        start, _, end = fields[0].partition("-")
        path = fields[5] if len(fields) > 5 else ""
        rows.append((int(start, 16), int(end, 16), fields[1], int(fields[2], 16), path))
    return rows


def executable_mappings(pid):
    """List the mappings that can be executed."""
    return [row for row in mappings(pid) if "x" in row[2]]


def changed_text(pid):
    """List the addresses of text bytes that differ from the file they were mapped from."""
    changed = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, permissions, offset, path in mappings(pid):
            if "x" not in permissions or "w" in permissions or not path.startswith("/"):
                continue
            memory.seek(start)
            code = memory.read(end - start)
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as file:
                file.seek(offset)
                original = file.read(end - start)
            changed += (
                [
                    hex(start + at)
                    for at, (a, b) in enumerate(zip(code, original, strict=False))
                    if a != b
                ]
                if code != original[: len(code)]
                else []
            )
    return changed


def run_to_the_end(target, victim):
    """Let a traced victim go and run out; return how it ended."""
    victim.go()
    status = target.run(PATIENCE)
    assert status is not None, f"the victim hangs: {victim.state()}"
    victim.process.wait(PATIENCE)
    return status


def until(condition, what, patience=PATIENCE):
    """Wait until a condition holds; fail when it never does."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.002)


def unprobed(program, *argv, lines=1):
    """Run a victim without probes; return what it said and its exit code."""
    victim = Victim([program, *argv])
    try:
        for _ in range(lines):
            victim.go()
        return victim.finish()
    finally:
        victim.close()


def refusals(registration):
    """Give the refused places of a registration with their codes."""
    return {error.address: error.code for error in registration.refused}


def run_command(argv, output, specs=None, **how):
    """Run a command, with probes or without, its standard output going to a file.

    Return the output, the exit code and the registration.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0", "LC_ALL": "C"}
    if specs is None:
        with open(output, "wb") as out:
            code = subprocess.run(argv, stdout=out, env=environment, check=False).returncode
        return output.read_bytes(), code, None
    # The command has our own standard output: it is exchanged while it starts.
    kept = os.dup(1)
    with open(output, "wb") as out:
        os.dup2(out.fileno(), 1)
    try:
        target = uprobes.spawn(argv, env=environment)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    with target:
        registration = target.register(specs, **how)
        status = target.run(PATIENCE * 10)
        assert status is not None, "the program hangs"
        assert not target.failures
    code = status.code if status.signal is None else -status.signal
    return output.read_bytes(), code, registration


def masks(pid):
    """Give what each thread of a process blocks, and what it handles and ignores."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        text = (task / "status").read_text()
        found[task.name] = re.findall(r"^(?:SigBlk|SigCgt|SigIgn):.*$", text, re.MULTILINE)
    return found


def born(pid, threads):
    """Tell whether all threads are there and out of clone, where glibc blocks its own signals."""
    blocked = [int(lines[0].split()[1], 16) for lines in masks(pid).values()]
    return len(blocked) == threads and not any(mask >> 31 & 3 for mask in blocked)


def leave_clean(pid, check, tries=1):
    """Attach, which cleans up, and detach, so often at most; fail where `check` does each time."""
    for left in reversed(range(tries)):
        with uprobes.attach(pid):
            pass
        try:
            check()
        except AssertionError:
            if not left:
                raise
        else:
            return
