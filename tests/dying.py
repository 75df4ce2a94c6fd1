"""A tracer that dies of SIGKILL at one exact moment: after so many touches of the process.

Touches are ptrace requests, writes to memory, signals, and stops that were waited for. `Tracers`
runs a program that imports everything once and is a new tracer for each line that it reads:

    TOUCHES PID HOW SPEC…

It answers `died`, or `done` where the tracer came to its end before.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback

import uprobes
from ubp.programs import Count, Program
from uprobes import memory, ptrace

ENOUGH = 2
"""Hits of each probe that a tracer waits for."""
PATIENCE = 60.0


class Tracers:
    """Runs tracers one after the other; use it in a `with` statement."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def run(self, touches, pid, how, specs):
        """Let one tracer trace a process and die after `touches`; tell whether it died."""
        print(touches, pid, how, *specs, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        assert answer in ("died", "done"), f"after {touches} touches: {answer}"
        return answer == "died"


def die_after(touches):
    """Have this process killed as soon as it has touched another one so many times."""
    left = touches

    def counted(function):
        def touch(*arguments):
            nonlocal left
            result = function(*arguments)
            if result != (0, 0):  # what looks whether there is anything to wait for
                left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return touch

    for name in ("_ptrace", "_untyped", "request", "tgkill", "send_again"):
        setattr(ptrace, name, counted(getattr(ptrace, name)))
    memory._writev = counted(memory._writev)
    os.pwrite = counted(os.pwrite)
    os.waitpid = counted(os.waitpid)


def trace(pid, how, specs):
    """Attach, probe, wait for some hits, detach."""
    end = time.monotonic() + PATIENCE
    with uprobes.attach(pid) as target:
        if how in ("jump", "trap", "leaves"):
            forced = None if how == "leaves" else how
            programs = [(spec, Program(actions=(Count(),))) for spec in specs]
            made = target.install(programs, method=forced, returns=how == "leaves")
            assert made.sites, made.refused

            def hits():
                return min(made.results(site).hits for site in made.sites)
        else:
            method = None if how in ("any", "returns") else how
            registered = target.register(
                specs, lambda hit: None, returns=how == "returns", method=method
            )
            assert registered.probes, registered.refused

            def hits():
                return min(probe.hits for probe in registered.probes)

        while hits() < ENOUGH:
            assert time.monotonic() < end, "no hits"
            time.sleep(0.0005)


def main():
    """Be a new tracer for each line."""
    for line in sys.stdin:
        touches, pid, how, *specs = line.split()
        child = os.fork()
        if not child:
            code = 3
            with contextlib.suppress(BaseException):
                try:
                    die_after(int(touches))
                    trace(int(pid), how, specs)
                    code = 0
                except BaseException:
                    traceback.print_exc()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("died" if killed else "done" if status == 0 else f"failed {status}", flush=True)


if __name__ == "__main__":
    main()
