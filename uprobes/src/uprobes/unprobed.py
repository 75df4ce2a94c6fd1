"""Memory as the program would see it without us: no breakpoints, no return addresses of ours."""

from typing import TYPE_CHECKING

from uprobes.maps import mapping_at

if TYPE_CHECKING:
    from uprobes.process import Process


def read(process: "Process", address: int, size: int) -> bytes:
    """Read memory of a process, each of our traces in it replaced by what it stands for; raises
    NotMapped.
    """
    code = bytearray(process.breakpoints.read(address, size))
    arch = process.machine.arch
    width = arch.pointer_size
    for place, real in real_returns(process, address, address + size).items():
        word = real.to_bytes(width, arch.byte_order)
        for index in range(width):
            if address <= place + index < address + size:
                code[place + index - address] = word[index]
    return bytes(code)


def real_returns(process: "Process", start: int, end: int) -> dict[int, int]:
    """Return the real return addresses of the places in a stretch of memory that hold ours."""
    width = process.machine.arch.pointer_size
    within = range(start - width + 1, end)
    found: dict[int, int] = {}
    if process.returns is not None:
        ours = process.returns.trampoline
        for place, frame in process.returns.frames.items():
            if place in within and process.memory.word(place, width) == ours:
                found[place] = frame.original
    if tables := process.every_calls:
        every = [entry for each in tables for entry in each.entries(process)]
        entries = [entry for entry in every if entry.place in within]
        hooks = {entry.hook for entry in entries}
        for entry in entries:
            if entry.original not in hooks and process.memory.word(entry.place, width) in hooks:
                found[entry.place] = entry.original
    return found


def stack_end(process: "Process", sp: int) -> int:
    """Return where the stack that a stack pointer points into ends; the pointer itself for none."""
    mapping = mapping_at(process.mappings(fresh=True), sp)
    return sp if mapping is None else mapping.end
