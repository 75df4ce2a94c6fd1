"""What the kernel says of a thread or process in /proc; nothing of one that is gone."""

import os
import struct

AT_ENTRY = 9
MOST_AUXV = 4096

SETS = ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")


def status_fields(tid: int) -> dict[str, str]:
    """Read all fields by their names there; empty when the thread is gone."""
    try:
        with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in lines}


def command_line(pid: int) -> list[str]:
    """Return the command line of a process; empty when it has none or is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            content = file.read()
    except OSError:
        return []
    return [os.fsdecode(part) for part in content.split(b"\0")[:-1]]


def program_entry(pid: int) -> int | None:
    """Return where the kernel began a 64-bit program (AT_ENTRY); None when it does not say."""
    try:
        with open(f"/proc/{pid}/auxv", "rb") as file:
            content = file.read(MOST_AUXV)
    except OSError:
        return None
    pairs = struct.iter_unpack("=QQ", content[: len(content) // 16 * 16])
    return next((value for kind, value in pairs if kind == AT_ENTRY), None)


def has_shadow_stack(tid: int) -> bool:
    """Tell whether the hardware keeps return addresses of a thread, and checks them."""
    fields = status_fields(tid)
    return any("shstk" in fields[name] for name in fields if name.endswith("Thread_features"))


def living_thread(pid: int) -> int | None:
    """Return a thread of a process that has not ended: the main thread, or else any other."""
    try:
        others = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return None
    for tid in (pid, *others):
        state = status_fields(tid).get("State", "X")[:1]
        if state not in "ZX":
            return tid
    return None


def signal_sets(tid: int) -> dict[str, int]:
    """Read the sets of signals by their names there, bit N - 1 for signal N."""
    fields = status_fields(tid)
    return {name: int(fields[name], 16) for name in SETS if name in fields}


def has_handler(tid: int, number: int) -> bool:
    """Tell whether the program handles a signal itself."""
    return bool(signal_sets(tid).get("SigCgt", 0) >> (number - 1) & 1)
