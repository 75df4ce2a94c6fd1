"""Take programs out of a process: the original bytes first, the memory when nobody is inside.

A thread is inside when its program counter is, or what a signal's handler interrupted; threads are
brought out where that can be done, and waited for where not. What stays is tried again with
whatever is removed next, and at the end. The tables of calls go with the last program of returns.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from uprobes.errors import ProbeError
from uprobes.patch.faults import bring_out, site_around
from uprobes.patch.installed import Installed
from uprobes.patch.placing import take_out
from uprobes.patch.stepping_out import step_out
from uprobes.patch.threads import positions
from uprobes.tracee import FOR_SIGNAL, State

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process

TRIES = 10
"""How often threads are stopped again because one is where a program is to go."""
PAUSE = 0.001
"""Seconds before the second try, twice that before the next, and so on."""


def attempts(
    engine: "Engine", process: "Process", needed: Callable[[], object]
) -> Iterator[int]:
    """Count attempts as long as one is needed, and let the threads go on before each one more.

    Those of a stopped program do not: there is no other attempt then.
    """
    for attempt in range(TRIES):
        if not needed():
            return
        if attempt:
            if all(tracee.state is State.LISTENING for tracee in process.tracees.values()):
                return
            engine.holding.attend(process, PAUSE * 2 ** (attempt - 1))
        yield attempt


def remove(engine: "Engine", process: "Process", installed: Installed) -> None:
    """Put the original bytes back, and unmap what nobody is inside of any more.

    Where a thread stays inside for long its trampolines stay mapped, and nothing leads there.
    """
    if installed not in process.installed:
        return
    if installed.calls is not None and _needs_calls(process):
        return
    process.installed.remove(installed)
    if not process.ended:
        process.leftover.append(installed)
        unmap_leftover(engine, process, [installed])


def unmap_leftover(
    engine: "Engine", process: "Process", fresh: Collection[Installed] = ()
) -> None:
    """Unmap what was taken out, as soon as nobody is inside of it; what is fresh is taken out
    before, and is all that is waited for.
    """
    waited_for = list(fresh or process.leftover)

    def is_left() -> bool:
        return any(item in process.leftover for item in waited_for)

    for attempt in attempts(engine, process, is_left):
        if attempt:
            engine.holding.install_guard(process)  # to be stepped out
        if process.ended:
            return
        with engine.holding.held(process) as held:
            if not attempt:
                take_out(process, [site for item in fresh for site in item.every])
            engine.leaving.free_caller(process)
            for tracee in held:
                if tracee.state is State.STOPPED and tracee is not engine.current:
                    with contextlib.suppress(ProcessLookupError):
                        bring_out(process, tracee)
            step_out(engine, process, held, lambda address: _is_inside(process, address))
            caller = process.stopped_tracee()
            # One that is stopped for a signal would lose it, and the loop wait for it for ever.
            if caller is not None and caller.stopped_for != FOR_SIGNAL:
                process.caller = caller
                try:
                    waited_for += unmap_free(process)
                finally:
                    process.caller = None


def unmap_free(process: "Process") -> list[Installed]:
    """Unmap what no thread is inside of, and give up the calls that return there.

    Return what was taken out for that: the tables of calls, when no program needs them any more.
    All threads are stopped, one of them makes the calls. The tables go last: whoever is inside of a
    program of returns needs them.
    """
    arenas = [item.arena for item in process.leftover]
    used, stacks = [], []
    found = positions(process, process.tracees.values())
    for address, stack in zip(found.addresses.tolist(), found.stacks.tolist(), strict=True):
        if any(arena.holds(address) for arena in arenas):
            used.append(address)
            if site_around(process, address) is None:
                stacks.append(stack)
    for calls in process.every_calls:
        used += calls.give_up(process, lambda hook: any(a.holds(hook) for a in arenas), stacks)
    _unmap(process, [item for item in process.leftover if item.calls is None], used)
    if _needs_calls(process):
        return []
    bases = [item for item in process.installed if item.calls is not None]
    for base in bases:
        process.installed.remove(base)
        process.leftover.append(base)
        take_out(process, base.every)
    used = found.addresses.tolist()
    _unmap(process, [item for item in process.leftover if item.calls is not None], used)
    return bases


def _unmap(process: "Process", items: list[Installed], used: list[int]) -> None:
    for item in items:
        if any(item.arena.holds(address) for address in used):
            continue
        try:
            for start, end in item.mappings():
                process.call("munmap", start, end - start)
        except (OSError, ProbeError):
            continue
        process.leftover.remove(item)


def _needs_calls(process: "Process") -> bool:
    """Tell whether any program of returns is in, or was taken out with a thread inside."""
    return any(site.returns for item in process.every_installed for site in item.sites)


def _is_inside(process: "Process", address: int) -> bool:
    bases = [item for item in process.installed if item.calls is not None]
    return any(item.arena.holds(address) for item in (*process.leftover, *bases))
