"""Restartable sequences (rseq(2)): nothing in them can be probed.

A breakpoint in one makes the kernel restart it, for ever; a copy would run without what the
sequence is for.
"""

from uprobes.errors import Refused
from uprobes.location import Resolution
from uprobes.names.functions import Files


def probeable(found: Resolution, files: Files) -> Resolution:
    """Refuse the locations that lie in restartable sequences."""
    kept, refused = [], list(found.refused)
    for location in found.locations:
        functions = files.named(location.path)
        around = () if functions is None else functions.restartable
        address = location.elf_address
        if address is None or not any(start <= address < end for start, end in around):
            kept.append(location)
            continue
        refused.append(
            Refused(
                "the kernel restarts this sequence of instructions when it is interrupted",
                spec=location.spec,
                address=location.address,
                code="restartable",
                hint="probe the function before the sequence begins, or behind it",
            )
        )
    if len(kept) == len(found.locations):
        return found
    return Resolution(tuple(kept), tuple(refused), found.pending)
