"""Bring held threads out of code that is about to change or to go, one instruction at a time.

Waiting for them to come out by themselves may take long: where threads are many one is always just
there, most of all at an instruction that takes its time. What can't be stepped out stays where it
is, and is waited for: system calls, which may last as long as other threads want, and what a step
would leave a trace in.
"""

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import ubp
from insn import Fixups, Flow, InsnError
from uprobes.errors import ProbeError
from uprobes.inject import NO_CALL
from uprobes.ptrace import Event
from uprobes.status import signal_sets
from uprobes.tracee import State, Tracee
from uprobes.waits import is_group_stop

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.process import Process

MOST_STEPS = 256
"""More instructions of one thread are not stepped: no program of ours needs as many, but one that
waits for another thread would.
"""
UNFIT_FLOWS = frozenset({Flow.SYSTEM_CALL, Flow.TRAP, Flow.FAR})
UNFIT_FIXUPS = Fixups.PUSHED_TRAP_FLAG | Fixups.LOADED_FLAGS


def step_out(
    engine: "Engine", process: "Process", held: list[Tracee], inside: Callable[[int], bool]
) -> None:
    """Step the held threads at addresses for which `inside` holds, until it does no more.

    Only where there is a guard: should we die over a step, nobody else forgets its trap.
    """
    known: dict[int, bool] = {}

    def fit(address: int) -> bool:
        if address not in known:
            known[address] = _can_be_stepped(process, address)
        return known[address]

    for tracee in list(held) if process.guard is not None else ():
        if tracee is engine.current:
            continue
        try:
            if not inside(tracee.peek(process.machine.ip)) or not _just_runs(tracee):
                continue
            for _ in range(MOST_STEPS):
                ip = tracee.peek(process.machine.ip)
                if not (inside(ip) and fit(ip) and engine.holding.step(tracee)):
                    break
        except ProcessLookupError:
            continue  # killed: its end is on its way
        engine.holding.stop_again(tracee, held)


def _just_runs(tracee: Tracee) -> bool:
    """Tell whether a held thread stopped for us only, in the midst of what it runs."""
    status = tracee.pending or 0
    if tracee.state is not State.STOPPED or status >> 16 != Event.STOP or is_group_stop(status):
        return False
    machine = tracee.machine
    if tracee.step is not None or tracee.peek(machine.system_call) != NO_CALL:
        return False
    if tracee.peek(machine.flags) & machine.trap_flag:
        return False  # the trap is its program's
    # A trap that is blocked or ignored would make the kernel forget its handler (force_sig_info in
    # kernel/signal.c), and one that waits already is another's.
    masks = signal_sets(tracee.tid)
    trap = masks.get("SigBlk", 0) | masks.get("SigIgn", 0) | masks.get("SigPnd", 0)
    return not trap >> (signal.SIGTRAP - 1) & 1


def _can_be_stepped(process: "Process", address: int) -> bool:
    try:
        instruction = process.decode(address)
    except (InsnError, ProbeError):
        return False
    fixups = ubp.Stepper.in_place(instruction).fixups
    return instruction.flow not in UNFIT_FLOWS and not fixups & UNFIT_FIXUPS
