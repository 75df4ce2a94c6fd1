"""Faults of displaced instructions, told as if they had happened where the instructions were."""

from typing import TYPE_CHECKING

import insn
from insn import Relocated
from uprobes.errors import ProbeError
from uprobes.patch.site import Site

if TYPE_CHECKING:
    from uprobes.process import Process


def displaced_place(process: "Process", ip: int) -> tuple[int, int] | None:
    """Return the original address of a displaced instruction, and how far the stack is too low.

    None for an address that is in no copy of ours, or between its instructions.
    """
    for installed in [*process.installed, *process.leftover]:
        if not installed.arena.holds(ip):
            continue
        for site in installed.every:
            if site.moved <= ip < site.trampoline + site.size:
                return _in_copy(process, site, ip)
    return None


def _in_copy(process: "Process", site: Site, ip: int) -> tuple[int, int] | None:
    try:
        copy = copy_of(process, site)
        if process.memory.read(site.moved, len(copy.code)) != copy.code:
            return None
    except (insn.InsnError, ProbeError):
        return None
    offset = ip - site.moved
    pushed = dict(copy.pushed)
    return next(((at, pushed.get(o, 0)) for o, at in copy.boundaries if o == offset), None)


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
