"""Faults and traps in trampolines, told as if they had happened where the instructions were.

The program may come back to that place from its handler: where it lies in the middle of a jump, the
jump gives way to a breakpoint, which leaves the bytes behind it as they were.
"""

import os
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import insn
from insn import Relocated
from ubp import Plan
from uprobes import ptrace
from uprobes.errors import ProbeError
from uprobes.patch.installed import Installed
from uprobes.patch.placing import give_way, jump_again
from uprobes.patch.site import Site
from uprobes.ptrace import FAULTS
from uprobes.status import has_handler
from uprobes.tracee import CHANGED, State

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.point import ProbePoint
    from uprobes.process import Process
    from uprobes.tracee import Tracee


@dataclass(frozen=True, slots=True)
class Place:
    """Where a thread is that is about to execute a displaced instruction, or has executed all.

    `address` is the instruction's own; the stack is too low by `pushed` bytes.
    """

    site: Site
    address: int
    pushed: int


def tell_fault(engine: "Engine", tracee: "Tracee", number: int) -> None:
    """Put a thread that is about to get a fault's signal where the displaced instruction was."""
    place = _place_of(tracee.process, tracee.registers[tracee.machine.ip])
    if place is not None and _tell_where(tracee, place):
        _put_back(engine, tracee, place, returns=has_handler(tracee.tid, number))


def _tell_where(tracee: "Tracee", place: Place) -> bool:
    """Have the signal that a thread is about to get name its place; False if it is no fault's."""
    info = ptrace.signal_info(tracee.tid)
    if info.synchronous and info.address == tracee.registers[tracee.machine.ip]:
        ptrace.set_signal_info(tracee.tid, info.at(place.address))
    return info.synchronous


def pass_trap(engine: "Engine", tracee: "Tracee") -> bool:
    """Take a trap of a program that steps itself through a trampoline; False where it is due.

    It is due behind each displaced instruction, and told where that was.
    """
    process = tracee.process
    ip = tracee.registers[tracee.machine.ip]
    if installed_at(process, ip) is None:
        return False
    place = _place_of(process, ip)
    if place is None or place.address == place.site.address:
        return True
    ptrace.set_signal_info(tracee.tid, ptrace.signal_info(tracee.tid).trap(place.address))
    _put_back(engine, tracee, place, returns=True)
    return False


def _put_back(engine: "Engine", tracee: "Tracee", place: Place, *, returns: bool) -> None:
    """Set a thread to its place; `returns` tells whether a handler may have it come back there."""
    process = tracee.process
    patch = process.breakpoints.patches.covering(place.site.address)
    if returns and patch is not None and place.address < patch.end:
        # First, should we die: until then it comes back to the trampoline.
        with engine.holding.held(process):
            if tracee.state is State.GONE:
                return
            give_way(process, place.site)
    _set_to(tracee, place)
    if returns and place.address == place.site.address:
        tracee.restart()


def bring_out(process: "Process", tracee: "Tracee") -> None:
    """Set a stopped thread to where the instruction was that it is about to execute in a trampoline
    to which nothing leads any more.
    """
    ip = tracee.peek(process.machine.ip)
    if not any(item.arena.holds(ip) for item in process.leftover):
        return
    status = tracee.pending or 0
    number = 0 if status >> 16 else os.WSTOPSIG(status)
    place = _place_of(process, ip)
    if place is None or number == signal.SIGTRAP:
        return
    tracee.load()
    if number in FAULTS:
        _tell_where(tracee, place)
    _set_to(tracee, place)
    tracee.flush()


def _set_to(tracee: "Tracee", place: Place) -> None:
    tracee.registers[tracee.machine.ip] = place.address
    if place.pushed:
        tracee.registers[tracee.machine.sp] += place.pushed


def past_program(process: "Process", plan: Plan) -> Plan:
    """Return how a call goes on whose program ran already, before its first instruction faulted."""
    site = process.sites.get(plan.instruction.address)
    return plan if site is None else replace(plan, resume=site.moved)


def jump_back(engine: "Engine", tracee: "Tracee", point: "ProbePoint") -> None:
    """Have the jump take its place again that gave way to the breakpoint a thread has met."""
    process = tracee.process
    site = process.sites.get(point.address)
    if site is None or (installed := installed_at(process, site.trampoline)) is None:
        return
    # It is on its way: the jump may stand where it has been.
    tracee.registers[process.machine.ip] = site.trampoline
    tracee.registers.changed = CHANGED
    tracee.flush()
    with engine.holding.held(process) as held:
        if tracee.state is not State.GONE:
            jump_again(process, installed, held)


def installed_at(process: "Process", ip: int) -> Installed | None:
    """Return what was installed with the trampoline that an address is in, None for none."""
    return next((item for item in process.every_installed if item.arena.holds(ip)), None)


def site_around(process: "Process", ip: int) -> Site | None:
    """Return the site in whose displaced instructions, or the jump behind them, an address is."""
    installed = installed_at(process, ip)
    sites = installed.every if installed is not None else ()
    return next((s for s in sites if s.moved <= ip < s.trampoline + s.size), None)


def _place_of(process: "Process", ip: int) -> Place | None:
    """Return the place whose instruction a thread in a trampoline is about to execute.

    None for an address that is in no copy, or between its instructions.
    """
    if (site := site_around(process, ip)) is None:
        return None
    try:
        copy = copy_of(process, site)
        if process.memory.read(site.moved, len(copy.code)) != copy.code:
            return None
    except (insn.InsnError, ProbeError):
        return None
    offset = ip - site.moved
    pushed = dict(copy.pushed).get(offset, 0)
    return next((Place(site, at, pushed) for o, at in copy.boundaries if o == offset), None)


def copy_of(process: "Process", site: Site) -> Relocated:
    """Make again what stands at `site.moved`; raises insn's errors or NotMapped."""
    arch = process.machine.arch
    code = process.breakpoints.read(site.address, site.end - site.address)
    run, offset = [], 0
    while offset < len(code):
        instruction = insn.decode(code[offset:], site.address + offset, arch)
        run.append(instruction)
        offset += instruction.length
    return insn.relocate(run, site.moved, back=site.end, expand_calls=True, balanced=True)
