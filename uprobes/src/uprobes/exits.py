"""Where functions return: their return instructions, for probes that leave the stack alone.

A function whose return address must not be exchanged (Go looks at them, moves the stacks they are
on, and ends programs over strange ones; a hardware shadow stack does the same) can be probed where
it returns instead: each return instruction gets a breakpoint.

Rules:
- the extent of the function is known, and all of it decodes: one exit that is not seen makes every
  count wrong;
- a function that can leave by a jump to another one is refused: that one returns for it;
- a jump through a register or memory counts as one inside the function where it is marked or shaped
  like one of a switch (`notrack`, a scaled index), else as one that leaves.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import insn
from insn import Arch, Flow
from insn.forms import FLOWS
from uprobes.errors import ProbeError, Refused
from uprobes.hit import Hit
from uprobes.location import Location
from uprobes.machine.switches import SWITCHES
from uprobes.probe import Probe, ProbeState, Uretprobe
from uprobes.process import Process

Wanted = list[tuple[Probe, Location]]
Placed = tuple[Wanted, list[ProbeError]]
Code = dict[tuple[int, int], tuple[NDArray[np.void], bytes]]
"""Functions scanned, by start and size: rows of `insn.scan`, and their bytes."""
Arm = Callable[[Process, Wanted], object]
Disarm = Callable[[Iterable[Probe]], None]

LARGEST = 1 << 24
"""Bytes beyond which no function is looked through."""
RETURN, INDIRECT = FLOWS.index(Flow.RETURN), FLOWS.index(Flow.INDIRECT_JUMP)
DIRECT = tuple(FLOWS.index(flow) for flow in (Flow.JUMP, Flow.CONDITIONAL_JUMP))


class Exit(Probe):
    """A probe on one return instruction of a function, for the return probe that it belongs to."""

    comes_last = True

    def __init__(self, owner: Uretprobe, location: Location) -> None:
        self.owner = owner
        super().__init__(owner.pid, location.address, forbid=owner.forbidden)
        self.location = location

    def _bind(self) -> None:
        self.handler = self._leave

    def _leave(self, hit: Hit) -> None:
        self.owner.calls.leave(hit)


def place_exits(process: Process, wanted: Wanted, arm: Arm, disarm: Disarm) -> Placed:
    """Put the exits of those return probes in that need them: all of them, before their entries.

    Return what is left to be armed, and the errors of what is refused.
    """
    left: Wanted = []
    chosen: list[tuple[Uretprobe, Location]] = []
    for probe, location in wanted:
        if isinstance(probe, Uretprobe) and uses_exits(probe, location):
            chosen.append((probe, location))
        else:
            left.append((probe, location))
    if not chosen:
        return left, []
    taken: dict[Uretprobe, Location] = {}
    refused: list[ProbeError] = []
    code = scan_functions(process, [location for _, location in chosen])
    for probe, location in chosen:
        try:
            probe.exits = tuple(make_exits(probe, location, code, process.machine.arch))
            taken[probe] = location
        except ProbeError as error:
            _refuse(probe, location, error, refused)
    if taken:
        arm(process, [(each, each.location) for probe in taken for each in probe.exits])
    for probe, location in taken.items():
        why_not = next((each.error for each in probe.exits if not each.armed), None)
        if why_not is None:
            left.append((probe, location))
            continue
        disarm(each for each in probe.exits if each.armed)
        why = refusal(location, why_not.code, why_not.why, why_not.address)
        _refuse(probe, location, why, refused)
    return left, refused


def exits_of(probe: Probe) -> tuple[Probe, ...]:
    """List the probes by which a probe sees returns: none where it takes over return addresses."""
    return probe.exits if isinstance(probe, Uretprobe) else ()


def uses_exits(probe: Uretprobe, location: Location) -> bool:
    """Tell whether a return probe shall be placed on the return instructions."""
    probe.exits = ()
    if location.no_return and (location.exits_only or location.offset):
        return False  # refused whichever way
    return location.exits_only or probe.wants_exits


def _refuse(
    probe: Uretprobe, location: Location, error: ProbeError, refused: list[ProbeError]
) -> None:
    probe.exits = ()
    probe.location, probe.state, probe.error = location, ProbeState.REFUSED, error
    refused.append(error)


def scan_functions(process: Process, locations: Iterable[Location]) -> Code:
    """Decode whole functions; those that lie close together are decoded at once."""
    wanted = {extent for each in locations if 0 < (extent := extent_of(each))[1] <= LARGEST}
    found: Code = {}
    group: list[tuple[int, int]] = []
    for start, size in sorted(wanted):
        if group and start + size - group[0][0] > LARGEST:
            found |= _scan_group(process, group)
            group = []
        group.append((start, size))
    return found | _scan_group(process, group) if group else found


def _scan_group(process: Process, extents: list[tuple[int, int]]) -> Code:
    start, end = extents[0][0], max(start + size for start, size in extents)
    try:
        code = process.breakpoints.read(start, end - start)
    except ProbeError:
        if len(extents) == 1:
            return {}
        half = len(extents) // 2
        return _scan_group(process, extents[:half]) | _scan_group(process, extents[half:])
    starts = np.unique(np.array([first - start for first, _ in extents]))
    rows = insn.scan(code, start, process.machine.arch, restarts=starts)
    found: Code = {}
    for first, size in extents:
        low, high = np.searchsorted(rows["address"], np.array([first, first + size], np.uint64))
        found[first, size] = rows[low:high], code[first - start : first - start + size]
    return found


def make_exits(probe: Uretprobe, location: Location, code: Code, arch: Arch) -> list[Exit]:
    """Make the probes by which the returns of a function are seen; raises Refused."""
    extent = extent_of(location)
    if not 0 < extent[1] <= LARGEST:
        raise refusal(location, "unknown-extent", "nothing says where the function ends")
    if extent not in code:
        raise refusal(location, "not-mapped", "not all of it is mapped")
    try:
        found = find_exits(*code[extent], extent[0], arch)
    except ProbeError as error:
        raise refusal(location, error.code, error.why, error.address) from None
    return [
        Exit(
            probe,
            replace(
                location,
                address=address,
                spec=f"va:{address:#x}",
                offset=address - extent[0],
                elf_address=None,
                file_offset=None,
            ),
        )
        for address in found
    ]


def extent_of(location: Location) -> tuple[int, int]:
    """Return start and size of the function that a location lies in; 0 for what is unknown."""
    return location.function_address, location.function_size


def find_exits(rows: NDArray[np.void], code: bytes, address: int, arch: Arch) -> list[int]:
    """List the addresses of a function's return instructions.

    `rows` are the function scanned (`insn.scan`), `code` is all of it, which stands at `address`.
    Raises ProbeError where they are not all of its ways out, with the address of one that is none.
    """
    end = address + len(code)
    flows, where = rows["flow"], rows["address"]
    [undecoded] = np.nonzero(rows["length"] == 0)
    if len(undecoded):
        raise ProbeError("not all of it decodes", address=int(where[undecoded[0]]), code="no-exits")
    away = np.isin(flows, DIRECT) & ((rows["target"] < address) | (rows["target"] >= end))
    for index in np.flatnonzero(flows == INDIRECT).tolist():
        away[index] = not SWITCHES[arch.name].match(code, int(where[index]) - address)
    if away.any():
        raise ProbeError(
            "it can leave by a jump to another function, which then returns for it",
            address=int(where[away][0]),
            code="tail-call",
        )
    found: list[int] = where[flows == RETURN].tolist()
    if not found:
        raise ProbeError("it has no return instruction: it never returns", code="no-exits")
    return found


def refusal(location: Location, code: str, why: str, at: int | None = None) -> Refused:
    """Say why a function can't be probed at its return instructions."""
    place = "" if at is None else f" ({at:#x})"
    return Refused(
        f"its returns can't be probed at its return instructions: {why}{place}",
        spec=location.spec,
        address=location.address,
        code=code,
        hint="probe the entry only, or the functions it calls",
    )
