"""Whatever is done to a program in whatever order, it runs right and every hit is counted.

A hypothesis state machine: a program that calls, forks, loads and is interrupted; a tracer in a
process of its own that probes it in every way, comes, goes and is killed. The program counts its
calls; what was in all the while has seen exactly those, what was in for a part of it no more.
"""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time

import live
import pytest
import told
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

pytestmark = pytest.mark.live

FUNCTIONS = ("plain", "ripped", "outer", "tailing", "deep", "leaving", "lib_probed", "escaping")
INSIDE = {"plain": (1, 4, 9), "outer": (4, 9), "tailing": (4,), "ripped": (7, 10), "escaping": (8,)}
"""Where further instructions are that run once in each call."""
LETTERS = st.sets(st.sampled_from("wbsfvle"), min_size=2)
"""What the program does meanwhile: see its own text."""
PLACES = st.tuples(
    st.sampled_from(["register", "register", "install"]),
    st.sampled_from(FUNCTIONS),
    st.sampled_from([None, None, "jump", "trap", *live.METHODS]),
    st.booleans(),
    st.integers(0, 3),
)
"""What is put in where: a probe or program, the function, the method, at its return, how far in."""
NEVER_RETURN = {"leaving", "escaping"}
"""Functions that are also left by longjmp: their returns are fewer than their calls."""
SOMETIMES = 30
"""The longest that anything is waited for between two steps, in milliseconds."""
TRIES = 20
KILLED_IN = ("counts", "register", "unregister", "install", "remove", "detach")


class Held:
    """A probe or program that was put in, and the least and most hits that it must have seen."""

    def __init__(self, key, function, kind, returns, inside):
        self.key = key
        self.function = function
        self.kind = kind
        self.returns = returns
        self.inside = inside
        """Whether it is behind the first instruction of its function."""
        self.low = self.high = 0
        self.all_the_while = False
        """Whether it was in when the present span began."""
        self.last = None
        """What it had counted when it was taken out."""


def noted(step):
    """Write down a step, so that a failure shows how it came to that."""

    @functools.wraps(step)
    def wrapped(self, **arguments):
        self.story.append(f"{step.__name__} {arguments}")
        try:
            return step(self, **arguments)
        except BaseException as error:
            self.failed(error)
            raise

    return wrapped


class Anything(RuleBasedStateMachine):
    """A running program, whoever traces it, and what that must have counted."""

    program = library = ""
    failure = None

    def __init__(self):
        super().__init__()
        self.story = []
        self.held = {}
        self.number = 0
        self.tracer = None
        self.follow = False
        self.span = ""
        self.stopped = False
        self.left = False
        """Whether a killed tracer may have left something."""
        self.victim = live.Victim([self.program, self.library])

    # -- what is asked ------------------------------------------------------------------------

    attached = property(lambda self: self.tracer is not None)

    def failed(self, error):
        """Keep the first failure with its story: tried again, what races need not fail."""
        if type(self).failure is None:
            if not self.victim.alive:
                self.story.append(f"it has ended: {self.victim.process.wait(live.PATIENCE)}")
            story = "\n".join([f"pid {self.victim.pid}: {self.victim.state()}", *self.story])
            error.add_note(story)
            type(self).failure = error

    def say(self, line):
        self.victim.process.stdin.write(line.encode() + b"\n")

    def counts(self):
        answer = self.tracer.ask("counts")
        assert answer["failures"] == []
        return answer["counts"]

    def check(self, held, counted):
        """Fail where a probe has seen less or more than there was."""
        hits, entries, misses, wrong = counted
        where = (held.function, held.kind, held.returns, counted, (held.low, held.high))
        assert wrong == 0, where
        assert misses == 0, where
        assert entries <= held.high, where
        if held.kind == "install" and held.returns and held.function in NEVER_RETURN:
            return
        assert held.low <= entries, where
        assert hits <= entries, where
        if held.returns and held.kind == "register" and not self.span and held.last is None:
            # All has returned; what was left by longjmp is only found out at some later call.
            assert entries - hits <= 40 or held.function in NEVER_RETURN, where

    def untouched(self):
        """Fail where anything of ours is left in the program.

        Memory to which a signal handler or a call under way may yet return may stay for a while.
        """
        pid = self.victim.pid
        assert live.tracer_of(pid) == 0
        for _ in range(TRIES):
            with contextlib.suppress(OSError):  # a library was unmapped between two looks
                assert live.changed_text(pid) == []
                break
        else:
            raise AssertionError("its text could never be read")
        ours = [row for row in live.mappings(pid) if "memfd:uprobes" in row[4]]
        ours += [row for row in live.executable_mappings(pid) if not row[4]]
        assert ours == [] or self.span, ours

    def forget_all(self):
        self.held.clear()

    # -- steps --------------------------------------------------------------------------------

    @initialize(follow=st.booleans(), letters=LETTERS, places=st.lists(PLACES, max_size=4))
    @noted
    def begin(self, follow, letters, places):
        self._attach(follow, places)
        self._begin_span(letters)

    def _attach(self, follow, places):
        self.tracer = told.Told()
        self.follow = follow
        self.tracer.ask("attach", pid=self.victim.pid, follow=follow)
        self.left = False
        for place in places:
            self._put(place)

    @precondition(lambda self: not self.attached)
    @rule(follow=st.booleans(), places=st.lists(PLACES, max_size=6))
    @noted
    def attach(self, follow, places):
        self._attach(follow, places)

    @precondition(lambda self: self.attached)
    @rule(places=st.lists(PLACES, min_size=1, max_size=4))
    @noted
    def put(self, places):
        for place in places:
            self._put(place)

    def _put(self, place):
        what, function, method, returns, inside = place
        self.number += 1
        key = str(self.number)
        if what == "install" and function == "lib_probed":
            function = "plain"  # what is installed in a library goes with it
        if what == "install" and method not in (None, "jump", "trap"):
            method = "jump"
        elif what == "register" and method in ("jump", "trap"):
            method = None
        offsets = (0, *INSIDE.get(function, ())) if what == "register" and not returns else (0,)
        where = spec(function, offsets[inside % len(offsets)])
        answer = self.tracer.ask(what, key=key, method=method, returns=returns, spec=where)
        if answer["in"]:
            self.held[key] = Held(key, function, what, returns, "+" in where)
        else:
            assert answer["refused"], "neither in nor refused"

    @precondition(lambda self: self.attached and any(h.last is None for h in self.held.values()))
    @rule(which=st.integers(0, 1000))
    @noted
    def take_out(self, which):
        inside = [held for held in self.held.values() if held.last is None]
        held = inside[which % len(inside)]
        self.tracer.ask("unregister" if held.kind == "register" else "remove", key=held.key)
        held.last = self.counts()[held.key]
        if not self.span:
            self.check(held, held.last)
            del self.held[held.key]

    @precondition(lambda self: not self.span and not self.stopped)
    @rule(letters=LETTERS)
    @noted
    def begin_span(self, letters):
        self._begin_span(letters)

    def _begin_span(self, letters):
        for held in self.held.values():
            held.all_the_while = True
        self.span = "".join(sorted(letters))
        self.say(f"begin {self.span}")
        self.victim.wait_for("begun")

    @precondition(lambda self: self.span and not self.stopped)
    @rule(letters=st.none() | LETTERS)
    @noted
    def end_span(self, letters):
        self._end_span()
        if letters is not None:
            self._begin_span(letters)

    def _end_span(self):
        self.victim.said.clear()
        self.say("end")
        self.victim.wait_for("ended")
        rows = (line.split() for line in self.victim.said[:-1])
        calls = {name: (int(own), int(children)) for name, own, children in rows}
        self.span = ""
        assert calls.pop("wrong") == (0, 0)
        escapes, _ = calls.pop("escapes")
        counted = self.counts() if self.attached else {}
        for key, held in list(self.held.items()):
            own, children = calls[held.function]
            # Whoever is not followed is not counted.
            most = own + (children if self.follow else 0)
            if held.function == "escaping":
                most += escapes  # hit, but interrupted for good before it was executed
            held.high += most
            if held.all_the_while and held.last is None:
                held.low += own + (children if self.follow else 0)
                if held.function == "escaping" and held.inside:
                    held.low -= escapes  # counted, and left before it came to the probe
            held.all_the_while = False
            if held.last is not None:
                self.check(held, held.last)
                del self.held[key]
            else:
                self.check(held, counted[key])

    @rule(milliseconds=st.integers(0, SOMETIMES))
    @noted
    def wait(self, milliseconds):
        time.sleep(milliseconds / 1000)

    @precondition(lambda self: not self.stopped)
    @rule()
    @noted
    def stop(self):
        os.kill(self.victim.pid, signal.SIGSTOP)
        live.until(lambda: live.process_state(self.victim.pid) in "tT", "it stops")
        self.stopped = True

    @precondition(lambda self: self.stopped)
    @rule()
    @noted
    def go_on(self):
        if not self.attached:
            live.until(lambda: live.process_state(self.victim.pid) == "T", "it is stopped still")
        os.kill(self.victim.pid, signal.SIGCONT)
        self.stopped = False

    @precondition(lambda self: self.attached)
    @rule()
    @noted
    def detach(self):
        self.tracer.ask("detach")
        self.tracer.close()
        self.tracer = None
        self.forget_all()
        self.untouched()

    @precondition(lambda self: self.attached and self.number)
    @rule(
        what=st.sampled_from(KILLED_IN),
        function=st.sampled_from(FUNCTIONS[:-2]),
        returns=st.booleans(),
        microseconds=st.integers(0, 20_000),
    )
    @noted
    def kill_the_tracer(self, what, function, returns, microseconds):
        arguments = {}
        if what in ("unregister", "remove"):
            kind = "register" if what == "unregister" else "install"
            keys = [h.key for h in self.held.values() if h.kind == kind and h.last is None]
            arguments = {"key": keys[0]} if keys else {}
            what = what if keys else "counts"
        elif what in ("register", "install"):
            where = spec(function, 0)
            arguments = {"key": "new", "spec": where, "returns": returns, "method": None}
        self.tracer.tell(what, **arguments)
        time.sleep(microseconds / 1e6)
        self.tracer.kill()
        self.tracer = None
        self.left = True
        self.forget_all()
        live.until(lambda: live.tracer_of(self.victim.pid) == 0, "nobody traces it")
        assert self.victim.alive, self.victim.process.poll()

    @precondition(lambda self: self.left and not self.attached)
    @rule()
    @noted
    def rescue(self):
        command = [sys.executable, "-m", "uprobes", "rescue", str(self.victim.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
        self.left = False
        self.untouched()

    @precondition(lambda self: not self.span and not self.stopped)
    @rule()
    @noted
    def become_anew(self):
        """By exec: probes go along, programs do not."""
        self.say("exec")
        self.victim.wait_for("ready")
        for key, held in list(self.held.items()):
            if held.kind == "install":
                del self.held[key]

    def teardown(self):
        try:
            self.end()
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            if self.tracer is not None:
                with contextlib.suppress(BaseException):
                    self.tracer.kill()
            self.victim.close()

    def end(self):
        if not self.victim.alive:
            return  # a step has failed, and told it
        if self.stopped:
            self.go_on()
        if self.span:
            self._end_span()
        if self.attached:
            self.detach()
        self._attach(False, [])
        self.detach()
        self.say("quit")
        assert self.victim.finish()[1] == 0


def spec(function, offset):
    """Name a place in a function."""
    where = f"libone:{function}" if function == "lib_probed" else f"anything:{function}"
    return f"{where}+{offset}" if offset else where


def go_through(build, folder, needs, times, steps):
    """Run the machine so often, so far."""
    library = folder / "libone.so"
    options = f"-O2 -shared -fPIC -o {library} {live.VICTIMS / 'library.c'}"
    subprocess.run([needs("gcc", package="gcc"), *options.split()], check=True)
    machine = type("Machine", (Anything,), {"program": build("anything"), "library": library})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=times,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        if machine.failure is not None:
            raise machine.failure


def test_a_few_random_stories_end_well(build, tmp_path, needs):
    go_through(build, tmp_path, needs, 4, 20)


@pytest.mark.slow
def test_some_random_stories_end_well(build, tmp_path, needs):
    go_through(build, tmp_path, needs, 15, 30)


@pytest.mark.torture
def test_five_hundred_random_stories_end_well(build, tmp_path, needs):
    go_through(build, tmp_path, needs, int(os.environ.get("STORIES", 500)), 40)
