"""Where recordings are read from: files, and processes that record by themselves."""

import os
import re

from uprobes.command.options import usage
from uprobes.recording.recorded import Recorded
from uprobes.recording.recording import Recording
from uprobes.recording.reopen import open_recordings
from uprobes.recording.store import load

_PROCESS = re.compile(r"(\d+)(?::(\d+))?")


def open_source(source: str, *, keep: bool = True) -> list[Recorded]:
    """Read `FILE`, `PID`, or `PID:NUMBER` (one of several recordings, counted from 1).

    With `keep` a process keeps the records for later readers. Raises ProbeError.
    """
    match = _PROCESS.fullmatch(source)
    if match is None or os.path.exists(source):
        try:
            return [load(source)]
        except OSError as error:
            raise usage(
                f"{source} can't be read: {error.strerror}",
                "give a file that `uprobes record -o FILE` wrote, or the number of a process",
            ) from None
    opened = open_process(int(match[1]), keep=keep)
    if match[2] is not None:
        number = int(match[2])
        if not 0 < number <= len(opened):
            raise usage(f"process {match[1]} has no recording {number}", f"from 1 to {len(opened)}")
        opened = opened[number - 1 : number]
    return [recording.recorded(recording.read()) for recording in opened]


def open_process(pid: int, *, keep: bool = True) -> tuple[Recording, ...]:
    """Open the recordings of a process; raises ProbeError."""
    return open_recordings(pid, keep=keep)
