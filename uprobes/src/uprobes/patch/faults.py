"""Faults and traps in trampolines, told as if they had happened where the instructions were.

The program may come back to that place from its handler: where it lies in the middle of a jump, the
jump gives way to a breakpoint, which leaves the bytes behind it as they were.
"""

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
    ip = tracee.registers[tracee.machine.ip]
    installed = installed_at(tracee.process, ip)
    place = None if installed is None else _displaced(tracee.process, installed, ip)
    if place is None or not (info := ptrace.signal_info(tracee.tid)).synchronous:
        return
    if info.address == ip:
        ptrace.set_signal_info(tracee.tid, info.at(place.address))
    _put_back(engine, tracee, place, returns=has_handler(tracee.tid, number))


def pass_trap(engine: "Engine", tracee: "Tracee") -> bool:
    """Take a trap of a program that steps itself through a trampoline; False where it is due.

    It is due behind each displaced instruction, and told where that was.
    """
    process = tracee.process
    ip = tracee.registers[tracee.machine.ip]
    installed = installed_at(process, ip)
    if installed is None:
        return False
    place = _displaced(process, installed, ip)
    if place is None or place.address == place.site.address:
        return True
    ptrace.set_signal_info(tracee.tid, ptrace.signal_info(tracee.tid).trap(place.address))
    _put_back(engine, tracee, place, returns=True)
    return False


def _put_back(engine: "Engine", tracee: "Tracee", place: Place, *, returns: bool) -> None:
    """Set a thread to its place; `returns` tells whether a handler may have it come back there."""
    process, registers = tracee.process, tracee.registers
    patch = process.breakpoints.patches.covering(place.site.address)
    if returns and patch is not None and place.address < patch.end:
        # First, should we die: until then it comes back to the trampoline.
        with engine.holding.held(process):
            if tracee.state is State.GONE:
                return
            give_way(process, place.site)
    registers[process.machine.ip] = place.address
    if place.pushed:
        registers[process.machine.sp] += place.pushed
    if returns and place.address == place.site.address:
        tracee.restart()


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
    every = [*process.installed, *process.leftover]
    return next((installed for installed in every if installed.arena.holds(ip)), None)


def _displaced(process: "Process", installed: Installed, ip: int) -> Place | None:
    """Return the place whose instruction a thread in a trampoline is about to execute.

    None for an address that is in no copy, or between its instructions.
    """
    for site in installed.every:
        if site.moved <= ip < site.trampoline + site.size:
            return _in_copy(process, site, ip)
    return None


def _in_copy(process: "Process", site: Site, ip: int) -> Place | None:
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
