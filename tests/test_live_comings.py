"""Tracers that come, and go in every way, while the program forks, gives birth and loads libraries.

`test_live_anything.py` tells long stories of one tracer; these are many short ones in a row.
"""

import os
import random
import signal
import subprocess
import sys
import time

import live
import pytest
import told

import uprobes

pytestmark = [pytest.mark.live, pytest.mark.concurrent]

LETTERS = "sevlwfb"
FUNCTIONS = ("plain", "ripped", "outer", "tailing", "deep", "leaving")
LATEST = 0.003
"""Seconds after which a tracer is killed, at most."""


class Stories:
    """One program, and what happens to it; `chance` decides."""

    def __init__(self, victim, chance):
        self.victim = victim
        self.chance = chance
        self.told = []

    def say(self, text):
        self.victim.process.stdin.write(text.encode() + b"\n")
        self.victim.process.stdin.flush()

    def probe(self, tracer):
        """Have a tracer put some probes in; give the key of each by how it is taken out."""
        keys = {"unregister": [], "remove": []}
        for number in range(self.chance.randrange(1, 4)):
            what = self.chance.choice(["install", "register"])
            where = f"anything:{self.chance.choice(FUNCTIONS)}"
            returns = self.chance.random() < 0.7
            answer = tracer.ask(what, key=str(number), spec=where, returns=returns, method=None)
            self.told.append((what, where, returns, answer))
            if answer["in"]:
                keys["remove" if what == "install" else "unregister"].append(str(number))
        return keys

    def leave(self, tracer, keys):
        """Have a tracer die in the midst of something, or end, after it has left or without."""
        if self.chance.random() < 0.3:
            if self.chance.random() < 0.5:
                tracer.ask("detach")
            tracer.close()
            return
        what = self.chance.choice(["unregister", "remove", "detach", "counts"])
        if what not in keys:
            tracer.tell(what)
        elif keys[what]:
            tracer.tell(what, key=keys[what][0])
        seconds = self.chance.random() * LATEST
        self.told.append((what, seconds))
        time.sleep(seconds)
        tracer.kill()
        live.until(lambda: live.tracer_of(self.victim.pid) == 0, "nobody traces it")

    def tell_one(self):
        """Begin all that the program can do, let tracers come and go, and look at what it says."""
        tracer = told.Told()
        tracer.ask("attach", pid=self.victim.pid, follow=self.chance.random() < 0.5)
        self.say(f"begin {LETTERS}")
        self.victim.wait_for("begun")
        self.leave(tracer, self.probe(tracer))
        follower = None
        if self.chance.random() < 0.6:
            follower = told.Told()
            follower.ask("attach", pid=self.victim.pid, follow=False)
        self.victim.said.clear()
        self.say("end")
        self.victim.wait_for("ended")
        if follower is not None:
            follower.ask("detach")
            follower.close()
        assert "wrong 0 0" in self.victim.said


class StoppedStories(Stories):
    """The same, while the program is stopped: whatever threads are inside of, they stay there."""

    def tell_one(self):
        pid = self.victim.pid
        self.say(f"begin {LETTERS}")
        self.victim.wait_for("begun")
        tracer = self.come()
        keys = self.probe(tracer)
        time.sleep(self.chance.random() * 0.02)
        os.kill(pid, signal.SIGSTOP)
        live.until(lambda: live.process_state(pid) in ("t", "T"), "the program stops")
        for _ in range(self.chance.randrange(2, 9)):
            self.leave(tracer, keys)
            if self.chance.random() < 0.3:
                rescue = [sys.executable, "-m", "uprobes", "rescue", str(pid)]
                assert subprocess.run(rescue, capture_output=True, check=False).returncode == 0
            tracer = self.come()
            keys = self.probe(tracer)
        os.kill(pid, signal.SIGCONT)
        self.victim.said.clear()
        self.say("end")
        self.victim.wait_for("ended")
        assert "wrong 0 0" in self.victim.said
        tracer.ask("detach")
        tracer.close()

    def come(self):
        """Have a tracer attach."""
        self.told.append("attach")
        tracer = told.Told()
        tracer.ask("attach", pid=self.victim.pid, follow=self.chance.random() < 0.5)
        return tracer


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        (Stories, 4),
        (StoppedStories, 2),
        pytest.param(Stories, 25, marks=pytest.mark.slow),
        pytest.param(StoppedStories, 8, marks=pytest.mark.slow),
        pytest.param(Stories, 400, marks=pytest.mark.torture),
        pytest.param(StoppedStories, 200, marks=pytest.mark.torture),
    ],
)
def test_whoever_is_born_while_tracers_come_and_go_lives_on(victim, tmp_path, needs, kind, times):
    library = tmp_path / "libone.so"
    options = f"-O2 -shared -fPIC -o {library} {live.VICTIMS / 'library.c'}"
    subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)
    program = victim("anything", library)
    seed = random.randrange(1 << 30)
    for number in range(times):
        stories = kind(program, random.Random(seed + number))
        try:
            stories.tell_one()
        except (AssertionError, OSError) as error:
            error.add_note(f"seed {seed + number}: {stories.told}, {program.process.poll()}")
            raise
    with uprobes.attach(program.pid):
        pass
    program.check_untouched()
    stories.say("quit")
    assert program.finish()[1] == 0
