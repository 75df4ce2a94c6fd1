"""Where the tracing thread runs and how it waits, while hits come densely.

A hit is two wake-ups. Across CPUs each costs an interrupt and the waking of an idle CPU, several
times what the hit itself takes (measured in a virtual machine, one stop a hit, in µs: both on one
CPU 10; left to the scheduler 54). So while hits are dense, and only then:

- `/dev/cpu_dma_latency` is held at 0 where that is permitted: idle CPUs then poll (54 becomes 10);
- the tracing thread looks for the next stop for a while before it sleeps, unless it has to share
  a CPU with the target (10 becomes 8; without the former, 54 becomes 18);
- where the latency may not be set and the target is bound to one CPU, the tracing thread goes
  there (53 becomes 10).

The target's own placement is never touched, and ours is given back when hits become rare.
"""

import contextlib
import os
import struct
import threading
from collections.abc import Iterable

LATENCY = "/dev/cpu_dma_latency"
DENSE_PER_S = 500
"""From so many hits a second on something is done at all."""
POLL_BELOW_NS, STOP_POLLING_ABOVE_NS = 60_000, 120_000
"""Mean time from hit to hit below which polling begins, and above which it was in vain."""
POLLS = 250
"""How often the tracing thread looks before it sleeps: about 80 µs."""
AGAIN_NS = 1_000_000_000
"""How long polling is not tried again after it was in vain."""
QUIET_S = 0.1
"""How long hits must be rare for everything to be given back."""


class Placement:
    """Decides for one tracing thread, which calls `review` after every `every` hits.

    `threads` are the target's. `polls` is how often to look for a stop before sleeping.
    """

    def __init__(self, threads: Iterable[int], every: int) -> None:
        self.polls = 0
        self._threads = threads
        self._every = every
        self._reviews = 0
        self._last = 0
        self._no_polls_before = 0
        self._may_poll = False
        self._keeper: threading.Thread | None = None
        self._end = threading.Event()

    def review(self, now: int) -> None:
        """Adapt to the pace of the latest hits; `now` is perf_counter_ns."""
        pace, self._last = (now - self._last) // self._every, now
        self._reviews += 1
        if self._keeper is None:
            if pace * DENSE_PER_S < 1_000_000_000:
                self._begin()
        elif self.polls:
            if pace > STOP_POLLING_ABOVE_NS:
                self.polls = 0
                self._no_polls_before = now + AGAIN_NS
        elif self._may_poll and pace < POLL_BELOW_NS and now > self._no_polls_before:
            self.polls = POLLS

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
        """Hold what helps until hits are rare; a thread of its own, for the other one sleeps then.
        """
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
