"""A tracer in a process of its own that does what it is told: a line of JSON in, one out, for each.

So that it can be killed, and be told something while it is not listened to.
"""

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import live

import uprobes
from ubp.programs import Count, Program

VALUES = {
    "plain": lambda x: 3 * x + 1,
    "ripped": lambda x: x + 7,
    "outer": lambda x: 3 * x + 1,
    "tailing": lambda x: 3 * x + 4,
    "deep": lambda x: x * (x + 1) // 2,
    "leaving": lambda x: x + 2,
    "lib_probed": lambda x: x + 1,
    "escaping": lambda x: 11,
}
"""What the functions of the victim `anything` give."""
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); import told; told.obey()"


class Obeys:
    """What the tracer's process does; each method is something it can be told."""

    def __init__(self):
        self.target = None
        self.made = {}
        self.wrong = {}

    def attach(self, pid, follow):
        """Attach; tell whether anything was left by another tracer."""
        self.target = uprobes.attach(pid, follow_forks=follow)
        return {"remains": self.target.remains is not None}

    def register(self, key, spec, returns, method):
        """Register a probe that checks what its function gives."""
        function = spec.rpartition(":")[2].partition("+")[0]
        self.wrong[key] = 0

        def check(ret):
            right = VALUES[function](ret.saved)
            if ret.outcome is uprobes.Outcome.RETURNED and ret.value & 0xFFFFFFFF != right:
                self.wrong[key] += 1

        how = {"method": method}
        if returns:
            how |= {"handler": check, "returns": True, "save": lambda hit: hit.arg(0)}
        made = self.target.register([spec], **how)
        self.made[key] = made
        # Twice: what is loaded between two looks leaves the one list for the other.
        held = len(made.pending) + len(made.probes) + len(made.pending)
        return {"in": held, "refused": codes(made.refused)}

    def unregister(self, key):
        """Take a probe out."""
        self.made[key].unregister()
        return {}

    def install(self, key, spec, returns, method):
        """Have hits counted in the process itself."""
        try:
            made = self.target.install(
                [(spec, Program(actions=(Count(),)))], returns=returns, method=method
            )
        except uprobes.ProbeError as error:
            return {"in": 0, "refused": codes([error])}
        self.made[key] = made
        return {"in": len(made.sites), "refused": codes(made.refused)}

    def remove(self, key):
        """Take a program out of the process."""
        self.made[key].remove()
        return {}

    def counts(self):
        """Tell everything that was counted so far: hits, entries, misses, wrong values."""
        told = {}
        for key, made in self.made.items():
            if isinstance(made, uprobes.Registration):
                hits = entries = misses = 0
                for probe in made.probes:
                    hits += probe.hits
                    entries += probe.entry_hits if probe.returns else probe.hits
                    misses += probe.misses
                told[key] = (hits, entries, misses, self.wrong[key])
            else:
                hits = sum(made.results(site).hits for site in made.sites)
                told[key] = (hits, hits, 0, 0)
        failures = [repr(error) for _, error in self.target.failures] if self.target else []
        return {"counts": told, "failures": failures}

    def detach(self):
        """Leave the process."""
        self.target.detach()
        self.target = None
        return {}


def codes(refused):
    """Give the codes of errors."""
    return [error.code for error in refused]


def obey():
    """Do what comes on standard input, until it ends."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    obeys = Obeys()
    for line in sys.stdin:
        what, arguments = json.loads(line)
        try:
            answer = getattr(obeys, what)(**arguments)
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)


class Told:
    """Such a tracer, as whoever tells it what to do has it."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._text = b""

    def tell(self, what, **arguments):
        """Say what it shall do, and don't wait until that is done."""
        self.process.stdin.write(json.dumps([what, arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, what, **arguments):
        """Say what it shall do; give what came of it."""
        self.tell(what, **arguments)
        end = time.monotonic() + live.PATIENCE
        while b"\n" not in self._text:
            output = self.process.stdout
            if not select.select([output], [], [], max(end - time.monotonic(), 0))[0]:
                self.process.send_signal(signal.SIGUSR1)
                time.sleep(1)  # it says where it is
                raise AssertionError(f"the tracer hangs: {what} {arguments}")
            more = os.read(output.fileno(), 1 << 20)
            assert more, f"the tracer ended: {what} {arguments}, code {self.process.wait()}"
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        answer = json.loads(line)
        assert "error" not in answer, (what, arguments, answer["error"])
        return answer

    def kill(self):
        """Kill it without a chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self):
        """Let it end by itself if it lives, and reap it."""
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(live.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
