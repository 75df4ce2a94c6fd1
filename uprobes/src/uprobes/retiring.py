"""Leave a process as if we had never been there: bytes, registers, stacks, mappings."""

import contextlib
import os
import signal
import struct
from typing import TYPE_CHECKING

from uprobes import copying, ptrace, waits
from uprobes.errors import ProbeError
from uprobes.patch.faults import bring_out
from uprobes.patch.placing import is_led, take_out
from uprobes.patch.removing import unmap_free
from uprobes.patch.threads import positions
from uprobes.process import Process
from uprobes.ptrace import WALL, Request, TrapCode
from uprobes.tracee import BREAK_STATUS, State

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.tracee import Tracee


def retire(engine: "Engine", process: Process) -> None:
    """Undo everything in a process whose threads are all stopped, so that they can be let go.

    Works on our own process and on a fork's copy of it. What can't be undone because the memory is
    gone needs no undoing.
    """
    home = process.inherited or process
    staying = _take_out_programs(process)
    missing = process.breakpoints.remove_many(
        [b.address for b in list(process.breakpoints) if b.address not in staying]
    )
    for address, error in missing.items():
        if home is process and (point := process.points.get(address)) is not None:
            point.overwritten(error.why, point.every)
    if home.returns is not None:
        home.returns.restore(process)
    for tracee in list(process.tracees.values()):
        if tracee.state is not State.STOPPED:
            continue
        try:
            tracee.load()
            trapped = tracee.pending == BREAK_STATUS
            stray = trapped and tracee.step is None and engine.signals.is_stray(tracee)
            stepped = tracee.step is not None
            if trapped:
                _note_opened(tracee)
            _bring_home(engine, tracee, process, home, staying)
            if stray:
                tracee.pending = None
            if trapped and tracee.pending is None:
                # The guard, which is still there, knows by this that the trap was dealt with.
                tracee.registers[tracee.machine.flags] |= tracee.machine.done_flag
                tracee.flush()
                _take_trap(engine, tracee)
            else:
                tracee.flush()
            bring_out(process, tracee)
            if stepped or stray:
                end_steps(tracee)
        except (OSError, ProbeError):
            continue
    _unmap(process, home)
    for tracee in process.tracees.values():
        if tracee.state is State.STOPPED:
            with contextlib.suppress(OSError):
                _block_again(tracee)
    process.points.clear()


def end_steps(tracee: "Tracee") -> None:
    """Have the kernel forget that a stopped thread was to step, should we die before it goes on.

    Only going on does that (user_disable_single_step in arch/x86/kernel/step.c): to set the trap
    flag and to clear it leaves the kernel's own note of it, which makes a trap of the next system
    call, or a flag of the program's out of the next step. Asked to stop before, the thread stops
    again before it executes anything. A signal that it is stopped for ends steps as well.
    """
    status = tracee.pending
    if status is None or status >> 16 or status == BREAK_STATUS:
        ptrace.call(Request.INTERRUPT, tracee.tid)
        ptrace.call(Request.CONT, tracee.tid)
        tracee.pending = waits.peek_one(tracee.tid)


def _take_trap(engine: "Engine", tracee: "Tracee") -> None:
    """Take the stop for a trap, which was only looked at: should we die when the guard is out, the
    thread would get it.
    """
    taken, status = os.waitpid(tracee.tid, WALL | os.WNOHANG)
    if taken and status != BREAK_STATUS:
        engine.on_stop(tracee.tid, status)


def _note_opened(tracee: "Tracee") -> None:
    """Note what a thread that has just met a breakpoint blocks, if it blocked everything."""
    mask, unseen = tracee.machine.blocked_unseen
    blocked = ptrace.signal_mask(tracee.tid)
    if blocked & mask == unseen:
        tracee.opened = blocked


def _block_again(tracee: "Tracee") -> None:
    """Block the trap's signal in a thread that blocked it before it met a breakpoint, unless the
    program has set other signals since.
    """
    opened, tracee.opened = tracee.opened, None
    if opened is not None and ptrace.signal_mask(tracee.tid) == opened:
        ptrace.set_signal_mask(tracee.tid, opened | 1 << (signal.SIGTRAP - 1))


def _take_out_programs(process: Process) -> dict[int, int]:
    """Take out the programs that do not stay; return where the breakpoints of the others lead."""
    if process.inherited is not None:
        copying.take_out_leftover(process, process.inherited)
    for installed in list(process.installed):
        goes = not installed.stays or process.inherited is not None
        if goes and installed.calls is None:
            take_out(process, installed.every)
            process.installed.remove(installed)
            process.leftover.append(installed)
    sites = [site for installed in process.installed for site in installed.every]
    return {site.address: site.trampoline for site in sites if is_led(process, site)}


def _bring_home(
    engine: "Engine",
    tracee: "Tracee",
    process: Process,
    home: Process,
    staying: dict[int, int],
) -> None:
    """Bring a thread out of slots and steps, or back in front of the breakpoint it met."""
    registers, machine = tracee.registers, tracee.machine
    if tracee is engine.current:
        # Its handler is detaching: it goes on from its probe point, or where the handler sent it.
        tracee.intend()
        tracee.pending = None
        return
    if tracee.step is not None:
        engine.signals.give_up_step(tracee)
    ip = registers[machine.ip]
    original = home.original_of(ip)
    if original is not None:
        registers[machine.ip] = original
    elif tracee.pending == BREAK_STATUS:
        address = ip - machine.breakpoint_skew
        if address in staying:
            registers[machine.ip] = staying[address]
            tracee.pending = None
            return
        returned = process.internal.get(address)
        if returned is not None and returned(tracee):
            tracee.pending = None
            return
        hit = ptrace.signal_info(tracee.tid).code == TrapCode.KERNEL
        # All breakpoints are out by now: one that is not there any more was ours, though its probe
        # may have gone before the hit was taken.
        if hit and process.breakpoints.stands(address) is False:
            registers[machine.ip] = address
            tracee.pending = None


def _unmap(process: Process, home: Process) -> None:
    process.caller = process.stopped_tracee()
    if process.caller is None:
        return
    try:
        unmap_free(process)
        if home.returns is not None:
            home.returns.restore(process)  # where a program's call had begun in another's place
        used = _bring_back(process, home)
        for start, end in list(home.areas):
            if not any(start <= address < end for address in used):
                process.call("munmap", start, end - start)
                process.drop_area(start)
        if home.guard is not None:
            home.guard.remove(process, used)
    except (OSError, ProbeError):
        return
    finally:
        process.caller = None


def _bring_back(process: Process, home: Process) -> list[int]:
    """Have those that a signal interrupted in a slot come back to the original code; return where
    the others are.

    Only while nobody traces do signals come in there: who traces has a thread leave it before.
    """
    found, used = positions(process, process.tracees.values()), []
    for address, place in zip(found.addresses.tolist(), found.kept.tolist(), strict=True):
        original = home.original_of(address) if place else None
        if original is None:
            used.append(address)
        else:
            process.memory.write(place, struct.pack("<Q", original))
    return used
