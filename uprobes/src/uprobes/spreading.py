"""What is registered while children are followed reaches them, too.

Rules:
- a probe goes into every followed process that maps the same code at the same address, as it would
  have by a fork; its counts are for all of them together;
- in a process that maps other things (it turned into another program, or loaded objects of its own)
  the specs are resolved anew, and what they name there gets probes of its own;
- a bare address means something only where the same code is.
"""

from typing import TYPE_CHECKING

from uprobes.errors import ProbeError
from uprobes.maps import has_memory, mapping_at
from uprobes.pausing import with_exits
from uprobes.probe import Probe
from uprobes.process import Process
from uprobes.unloading import same_code

if TYPE_CHECKING:
    from uprobes.engine import Engine
    from uprobes.registration import Registration, Registrations


def spread(
    engine: "Engine", registrations: "Registrations", made: "Registration", home: Process
) -> None:
    """Bring what was registered in `home` just now into the other processes; what is refused there
    is added to the registration.
    """
    probes = with_exits(made.probes)
    probes.sort(key=lambda probe: not probe.comes_last)  # exits before their entries
    for process in list(engine.processes.values()):
        if process is home or process.ended:
            continue
        before = list(made.refused)
        try:
            process.mappings(fresh=True)
            fitting = [probe for probe in probes if _fits(probe, home, process)]
            made.refused += engine.arming.copy(process, fitting)
            registrations.wish_in(process, made, anew=len(fitting) < len(probes))
        except ProbeError as error:
            made.refused.append(error)
        if len(made.refused) > len(before) and not has_memory(process.pid):
            made.refused[:] = before


def _fits(probe: Probe, home: Process, process: Process) -> bool:
    """Tell whether a process has the same code where a probe was put."""
    point = probe.point
    if not probe.armed or point is None or point.home is None:
        return False
    mapping = mapping_at(process.mappings(), point.address)
    if not same_code(point.home, mapping):
        return False
    if point.home.inode:
        return True
    size = point.verdict.instruction.length
    there = process.breakpoints.read(point.address, size)
    return there == home.breakpoints.read(point.address, size)
