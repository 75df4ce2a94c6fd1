"""Take over what somebody else installed in a process: a detached recording, or a dead tracer's.

Everything read here lies in the target's memory and may be made up; what it says can only lead to
writes in that same process, and only where the bytes are those that the description names.
"""

import contextlib
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any

import insn
from insn import Method
from ubp import Patch
from uprobes.errors import ProbeError
from uprobes.location import Location
from uprobes.maps import mapping_at
from uprobes.patch import description
from uprobes.patch.arena import Area, Arena
from uprobes.patch.calls import CallTables
from uprobes.patch.installed import Installed
from uprobes.patch.placing import lead_point
from uprobes.patch.shared import SEALS, SharedMemory, find_shared
from uprobes.patch.site import Kind, Site

if TYPE_CHECKING:
    from uprobes.memory import ProcessMemory
    from uprobes.process import Process

OTHERS = "not-its-own"
"""The code for shared memory that describes another process."""
BROKEN = (ProbeError, OSError, ValueError, TypeError, KeyError)
MOST_SITES = 1 << 17
MOST_SHARED = 1 << 40
MOST_COPIED = 1 << 30
COPY_STEP = 1 << 22
F_GET_SEALS = 1034


def adopt_installed(process: "Process") -> list[Installed]:
    """Make what is installed in a process known as if we had installed it; return all of it.

    What can't be read is left alone, and stays in the process.
    """
    found = []
    for start, size in find_shared(process.pid):
        try:
            installed = read_installed(process, start, size)
        except BROKEN:
            if memory_is_new(process, start):
                # Its maker was killed before the first word: nothing leads anywhere yet.
                found.append(_bare(process, start, size))
            continue
        _know(process, installed)
        found.append(installed)
    # What stays is what is in use yet: new calls are entered in its tables.
    process.installed += sorted(found, key=lambda item: not item.stays)
    return found


def memory_is_new(process: "Process", start: int) -> bool:
    """Tell whether nothing was ever described in shared memory."""
    with contextlib.suppress(ProbeError):
        return not any(process.memory.read(start + description.WORD, 8))
    return False


def _bare(process: "Process", start: int, size: int) -> Installed:
    arena = Arena(process.memory, _no_more_room, _no_more_room)
    return Installed(process.pid, SharedMemory(size, mmap.mmap(-1, size), [start]), arena, None, 0)


def read_installed(process: "Process", start: int, size: int) -> Installed:
    """Read what the shared memory at `start` describes; raises ProbeError, or what wrong types
    raise.
    """
    if size > MOST_SHARED:
        raise ProbeError("the shared memory is too large to be ours", code="bad-description")
    view = open_view(process.pid, process.memory, start, size)
    content = description.read(view)
    shared = SharedMemory(size, view, [_number(place) for place in content["places"]])
    if start not in shared.places:
        # So it is in a tracer, which has mapped the memory of the process that it traces.
        raise ProbeError("the shared memory is another process's", code=OTHERS)
    arena = Arena(process.memory, _no_more_room, _no_more_room)
    mappings = process.mappings(fresh=True)
    for first, end in content["areas"]:
        area = Area(_number(first), _number(end))
        mapping = mapping_at(mappings, area.start)
        # One that was announced and never mapped, or is something else now, is none of ours.
        if mapping is None or mapping.path or mapping.permissions != "r-xp":
            continue
        if area.end <= mapping.end:
            arena.areas.append(area)
    sites = [_site(item) for item in content["sites"][:MOST_SITES]]
    ring_at, note = _number(content["ring_at"]), content["note"]
    installed = Installed(process.pid, shared, arena, None, ring_at, note)
    installed.unwinders = [site for site in sites if site.kind is Kind.UNWINDER]
    installed.sites = [site for site in sites if site.kind is not Kind.UNWINDER]
    if content["tables"] is not None:
        tables = [_number(table) for table in content["tables"]]
        memory = process.memory
        installed.calls = CallTables(t for t in tables if CallTables.is_table(memory, t))
    installed.notes_at = _number(content["notes_at"])
    installed.stays = bool(content["stays"])
    return installed


def _no_more_room(_address: int, _size: int) -> None:
    raise ProbeError("what was installed by somebody else gets no more trampolines")


def open_view(pid: int, memory: "ProcessMemory", start: int, size: int) -> mmap.mmap:
    """Map a process's shared memory here; where the kernel does not allow that, copy it.

    Only whoever may checkpoint processes gets the memory itself (/proc/PID/map_files).
    """
    try:
        name = f"/proc/{pid}/map_files/{start:x}-{start + size:x}"
        descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return _copied(memory, start, size)
    try:
        # One that can be made shorter could kill us when we read it (SIGBUS).
        if fcntl.fcntl(descriptor, F_GET_SEALS) & SEALS == SEALS:
            return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
    return _copied(memory, start, size)


def _copied(memory: "ProcessMemory", start: int, size: int) -> mmap.mmap:
    if size > MOST_COPIED:
        raise ProbeError(
            f"{size} bytes of shared memory are too many to copy",
            code="too-large",
            hint="run as root, who may map them",
        )
    view = mmap.mmap(-1, size)
    for at in range(0, size, COPY_STEP):
        view[at : at + COPY_STEP] = memory.read(start + at, min(COPY_STEP, size - at))
    return view


def _site(item: list[Any]) -> Site:
    number, address, method, form, kind, *places, cells, patches, spec, object_, function = item
    trampoline, size, moved, end = places
    location = Location(_number(address), str(spec), str(object_), "", function and str(function))
    made = [
        Patch(_number(at), bytes.fromhex(old), bytes.fromhex(new), _number(kept))
        for at, old, new, kept in patches
    ]
    if any(len(patch.original) != len(patch.code) for patch in made):
        raise ProbeError("a patch of the description has two lengths", code="bad-description")
    return Site(
        _number(number),
        location,
        None,
        Kind(kind),
        Method(method),
        {},
        _number(cells),
        _number(trampoline),
        _number(size),
        _number(moved),
        _number(end),
        str(form),
        tuple(made),
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise ProbeError("the description lacks a number", code="bad-description")
    return value


def _know(process: "Process", installed: Installed) -> None:
    """Enter the sites into the process's tables."""
    guard = process.guard
    originals = {} if guard is None else guard.led_originals()
    patches: list[Patch] = []
    for site in installed.every:
        process.sites[site.address] = site
        original = originals.get(site.address)
        with contextlib.suppress(ProbeError, insn.InsnError):
            # Jumps may have given way to breakpoints since they were described.
            if original and process.breakpoints.stands(site.address):
                process.breakpoints.adopt({site.address: original})
                lead_point(process, site)
                continue
        patches += site.patches
    process.breakpoints.patches.adopt(patches)
