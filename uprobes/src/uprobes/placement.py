"""Where the tracing thread runs and how it waits, while hits come densely.

A hit is two wake-ups. Across CPUs each costs an interrupt and the waking of an idle CPU, several
times what the hit itself takes (measured in a virtual machine, one stop a hit, in µs: both on one
CPU 10; left to the scheduler 54). So while hits are dense, and only then:

- `/dev/cpu_dma_latency` is held at 0 where that is permitted: idle CPUs then poll (54 becomes 10);
- the tracing thread looks for the next stop for a while before it sleeps, unless it has to share
  a CPU with the target (10 becomes 8; without the former, 54 becomes 18). Where others want the
  CPUs as well that costs more than it saves: both ways are timed now and then, the quicker is used;
- where the latency may not be set and the target is bound to one CPU, the tracing thread goes
  there (53 becomes 10).

The target's own placement is never touched, and ours is given back when hits become rare.
"""

import contextlib
import math
import os
import struct
import threading
from collections.abc import Iterable

LATENCY = "/dev/cpu_dma_latency"
DENSE_PER_S = 500
"""From so many hits a second on something is done at all."""
POLLS = 250
"""How often the tracing thread looks before it sleeps: about 80 µs."""
POLL_BELOW_NS = 150_000
"""Mean time from hit to hit above which looking is in vain, and not even tried."""
WORTH_IT = 0.9
"""Looking burns CPU time: it must bring hits down to this part of what they take without."""
PREEMPTED = 4
"""A few hits that took so many times as long while looking: somebody else needed the CPU."""
STRETCH = 16
"""Reviews over which one way of waiting is timed."""
TRY_EVERY = 16
"""After so many stretches the slower way is timed once more."""
QUIET_S = 0.1
"""How long hits must be rare for everything to be given back."""


class Placement:
    """Decides for one tracing thread, which calls `review` after every `every` hits.

    `threads` are the target's. `polls` is how often to look for a stop before sleeping,
    `dense` whether hits are dense just now.
    """

    def __init__(self, threads: Iterable[int], every: int) -> None:
        self.polls = 0
        self.dense = False
        self._threads = threads
        self._every = every
        self._reviews = 0
        self._last = 0
        self._may_poll = False
        self._stretches = 0
        self._stretch_began = 0
        self._pace = {False: math.inf, True: 0.0}
        """What a hit took in the latest stretch without looking, and with it."""
        self._keeper: threading.Thread | None = None
        self._end = threading.Event()

    def review(self, now: int) -> None:
        """Adapt to the pace of the latest hits; `now` is perf_counter_ns."""
        pace, self._last = (now - self._last) // self._every, now
        self._reviews += 1
        if self._keeper is None:
            if pace * DENSE_PER_S < 1_000_000_000:
                self._stretch_began = 0
                self.dense = True
                self._begin()
        elif self.polls and pace > PREEMPTED * self._pace[False]:
            self._choose(pace)
            self._stretch_began = 0
        elif self._may_poll and self._reviews % STRETCH == 0:
            if self._stretch_began:
                self._choose((now - self._stretch_began) / (STRETCH * self._every))
            self._stretch_began = now

    def _choose(self, pace: float) -> None:
        """Take the quicker way of waiting for the next stretch, or time the slower one again."""
        self._pace[bool(self.polls)] = pace
        self._stretches += 1
        look = self._pace[True] < self._pace[False] * WORTH_IT
        if self._stretches % TRY_EVERY == 0:
            look = not look
        self.polls = POLLS if look and pace < POLL_BELOW_NS else 0

    def close(self) -> None:
        """Give everything back; called in the tracing thread when it is done."""
        self._end.set()
        if self._keeper is not None:
            self._keeper.join()

    def _begin(self) -> None:
        arguments = (threading.get_native_id(),)
        self._keeper = threading.Thread(
            target=self._keep, args=arguments, name="uprobes placement", daemon=True
        )
        self._keeper.start()

    def _keep(self, tracer: int) -> None:
        """Hold what helps until hits are rare; a thread of its own, as the other one sleeps."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                self._arrange(tracer, held)
            enough = DENSE_PER_S * QUIET_S / self._every
            seen = self._reviews
            while not self._end.wait(QUIET_S):
                seen, before = self._reviews, seen
                if seen - before < enough:
                    break
            self._may_poll = False
            self.polls = 0
        self.dense = False
        self._keeper = None

    def _arrange(self, tracer: int, held: contextlib.ExitStack) -> None:
        own, theirs = os.sched_getaffinity(tracer), affinity(self._threads)
        if len(own | theirs) == 1:
            return
        quick = hold_latency(held)
        if not quick and len(theirs) == 1 and theirs < own:
            held.callback(_give_back_affinity, tracer, own)
            os.sched_setaffinity(tracer, theirs)
        else:
            self._may_poll = True


def affinity(threads: Iterable[int]) -> set[int]:
    """Return the CPUs on which any of these threads may run."""
    cpus: set[int] = set()
    for thread in list(threads):
        with contextlib.suppress(ProcessLookupError):
            cpus |= os.sched_getaffinity(thread)
    return cpus


def hold_latency(held: contextlib.ExitStack) -> bool:
    """Keep idle CPUs from sleeping until `held` is left; False where that is not permitted."""
    try:
        request = os.open(LATENCY, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    held.callback(os.close, request)
    os.write(request, struct.pack("i", 0))
    return True


def _give_back_affinity(thread: int, cpus: set[int]) -> None:
    with contextlib.suppress(OSError):
        os.sched_setaffinity(thread, cpus)
