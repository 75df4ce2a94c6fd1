"""The tools that work without stopping the program, each at work on a victim of its own."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from benchmarks import kernel_uprobes
from benchmarks.events import Running
from benchmarks.tracers import Tool, Tracing
from benchmarks.victims import PROGRAMS, Ended, Missing, Victim, build, file_code

Start = Callable[[], AbstractContextManager[Running]]
TWINS = {
    "begins_lea": "unprobed",
    "begins_push": "unprobed_push",
    "begins_nop5": "unprobed_nop5",
    "flags_live": "unprobed_flags",
    "compiled": "unprobed_compiled",
    "static_point": "unprobed_static",
}
"""For each function that is probed, the same one that never is."""
PATIENCE_S = 30.0
BPFTRACE_S = 0.7
"""What bpftrace may need between its first probe and its last."""
BPFTRACE_ENDS_S = 15.0
LTTNG_LEAST = 1 << 20
"""What is in a full buffer of LTTng at least."""


def cpus() -> frozenset[int]:
    """Return the CPU that victims are bound to."""
    return frozenset({min(os.sched_getaffinity(0))})


def need(program: str, package: str) -> None:
    """Raise Missing unless a program is installed."""
    if shutil.which(program) is None:
        raise Missing(f"{program} is not installed: install the package {package}")


def by_hand(way: str, function: str = "begins_lea") -> Start:
    """Probe with what is written by hand for this very function."""

    @contextmanager
    def start() -> Iterator[Running]:
        with Victim("by_hand", cpus()) as victim:
            victim.obey(f"patch {way}")

            def hits(calls: int) -> int:
                with contextlib.suppress(Ended):
                    victim.obey(f"hits {calls}")
                    return calls
                return -1

            yield Running(victim, function, TWINS[function], hits)

    return start


def kernel(function: str) -> Start:
    """Count with the kernel's uprobe, through perf_event_open."""

    @contextmanager
    def start() -> Iterator[Running]:
        with Victim("victim", cpus()) as victim:
            [offset] = kernel_uprobes.file_offsets(victim.binary, [function])
            counter = kernel_uprobes.Counter(str(victim.binary), offset, victim.pid)
            with contextlib.closing(counter):
                yield Running(victim, function, TWINS[function], lambda _: counter.hits)

    return start


# -- tools that attach ----------------------------------------------------------------------------


def has_frida() -> None:
    """Raise Missing without Frida."""
    if importlib.util.find_spec("frida") is None:
        raise Missing("Frida is not installed: `pip install frida`")


def frida(way: str, function: str = "begins_lea") -> Start:
    """Probe with Frida's Interceptor and compiled C."""
    tool = frida_tool(way)

    @contextmanager
    def start() -> Iterator[Running]:
        with Victim("victim", cpus()) as victim:
            tracing = Tracing(tool, victim, function)
            with stopped(tracing.process):
                yield Running(victim, function, TWINS[function], lambda _: tracing.close())

    return start


def frida_tool(way: str, members: int = 0) -> Tool:
    """Frida on one function, or on so many of the crowd."""
    return Tool(
        f"Frida, {way}",
        lambda victim, function: [
            sys.executable,
            str(PROGRAMS / "frida_tracer.py"),
            str(victim.pid),
            way,
            *map(str, victim.members(members) if members else [victim.address(function)]),
        ],
        check=has_frida,
    )


@contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a tool that is still there when something went wrong."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


BPFTRACE = {
    "count": "uprobe:{at} {{ @n = count(); }}",
    "record": "uprobe:{at} {{ @n = count(); "
    'printf("%lu %d %lx %lx %lx %lx %lx %lx\\n", '
    "nsecs, tid, arg0, arg1, arg2, arg3, arg4, arg5); }}",
    "returns": "uprobe:{at} {{ @s[tid] = nsecs; }} "
    "uretprobe:{at} /@s[tid]/ {{ @n = count(); @t = hist(nsecs - @s[tid]); delete(@s[tid]); }}",
}


def bpftrace(way: str, function: str) -> Start:
    """Probe with bpftrace; its records go to a file that nobody reads, its count comes at the end.

    Its records may be lost: what the program pays is the same.
    """

    @contextmanager
    def start() -> Iterator[Running]:
        need("bpftrace", "bpftrace")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bpftrace-")))
            # Whatever it is told, it puts its breakpoints into all processes that run this file.
            own = shutil.copy2(build("victim"), folder / "victim")
            victim = stack.enter_context(Victim(own, cpus()))
            before, output = victim.code(function), folder / "output"
            script = BPFTRACE[way].format(at=f"{victim.binary}:{function}")
            process = subprocess.Popen(
                ["bpftrace", "-q", "-o", output, "-p", str(victim.pid), "-e", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )

            def hits(_: int) -> int:
                process.send_signal(signal.SIGINT)
                try:
                    _, wrong = process.communicate(timeout=BPFTRACE_ENDS_S)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGINT)  # It may not have heard the first one.
                    _, wrong = process.communicate(timeout=BPFTRACE_ENDS_S)
                said = output.read_text(errors="replace")
                found = re.search(r"^@n: (\d+)", said, re.MULTILINE)
                if found is None:
                    raise Ended(f"bpftrace did not say its hits: {wrong[-300:]!r}")
                return int(found[1])

            stack.enter_context(stopped(process))
            deadline = time.monotonic() + PATIENCE_S
            while victim.code(function) == before:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    said = process.communicate()[1].decode(errors="replace").splitlines()
                    raise Missing(f"bpftrace did not begin: {(said or ['no reason'])[-1]}")
                time.sleep(0.02)
            time.sleep(BPFTRACE_S)
            yield Running(victim, function, TWINS[function], hits)

    return start


# -- tools that need the program prepared, or started by them --------------------------------------


def uftrace(program: str, function: str, *options: str) -> Start:
    """Record entry and return with uftrace, which starts the program."""

    @contextmanager
    def start() -> Iterator[Running]:
        need("uftrace", "uftrace")
        with tempfile.TemporaryDirectory(prefix="uftrace-") as folder:
            where = f"{folder}/trace"
            launcher = ["uftrace", "record", "--no-libcall", "--no-event", "-b", "64m"]
            launcher += ["-d", where, *options]
            with Victim(program, cpus(), launcher) as victim:

                def hits(_: int) -> int:
                    victim.close()
                    said = subprocess.run(
                        ["uftrace", "report", "-d", where],
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    found = re.search(rf"(\d+) +{function}$", said.stdout, re.MULTILINE)
                    return int(found[1]) if found else 0

                if victim.code(function) == file_code(victim.binary, function) and (
                    program != "compiled_pg"
                ):
                    raise Missing("uftrace changes nothing in this function, and says nothing")
                yield Running(victim, function, TWINS[function], hits)

    return start


@contextmanager
def lttng_daemon() -> Iterator[None]:
    """Have LTTng's session daemon: the one that is there, or one for as long as this takes."""
    need("lttng", "lttng-tools")
    need("lttng-sessiond", "lttng-tools")
    if not _lttng("list"):
        yield
        return
    daemon = subprocess.Popen(
        ["lttng-sessiond", "--no-kernel", "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with stopped(daemon):
        deadline = time.monotonic() + PATIENCE_S
        while wrong := _lttng("list"):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"no session daemon of LTTng: {wrong}")
            time.sleep(0.05)
        yield


def _lttng(*words: str) -> str:
    """Give LTTng an order; return what went wrong."""
    said = subprocess.run(["lttng", "-n", *words], capture_output=True, text=True, check=False)
    lines = (said.stderr.strip() or said.stdout.strip() or "no reason").splitlines()
    return lines[-1] if said.returncode else ""


def lttng() -> Start:
    """Record through a static tracepoint of LTTng, with the thread's number, as flight recorder."""

    @contextmanager
    def start() -> Iterator[Running]:
        build("static_point")
        with tempfile.TemporaryDirectory(prefix="lttng-") as folder, lttng_daemon():
            session = f"benchmarks-{os.getpid()}"
            orders = (
                ("create", session, "--snapshot", "-o", folder),
                ("enable-channel", "-u", "all", "-s", session, "--subbuf-size=1M"),
                ("enable-event", "-u", "benchmarks:point", "-c", "all", "-s", session),
                ("add-context", "-u", "-t", "vtid", "-c", "all", "-s", session),
                ("start", session),
            )
            try:
                for order in orders:
                    if wrong := _lttng(*order):
                        raise Missing(f"lttng {order[0]}: {wrong}")
                with Victim("static_point", cpus()) as victim:

                    def hits(calls: int) -> int:
                        """Look whether the buffers are as full as they must be."""
                        _lttng("stop", session)
                        _lttng("snapshot", "record", "-s", session)
                        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
                        return calls if size > LTTNG_LEAST else 0

                    yield Running(victim, "static_point", TWINS["static_point"], hits)
            finally:
                _lttng("destroy", session)

    return start
