"""What the kernel says of a thread in /proc/TID/status; nothing of one that is gone."""

SETS = ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")


def status_fields(tid: int) -> dict[str, str]:
    """Read all fields by their names there; empty when the thread is gone."""
    try:
        with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in lines}


def signal_sets(tid: int) -> dict[str, int]:
    """Read the sets of signals by their names there, bit N - 1 for signal N."""
    fields = status_fields(tid)
    return {name: int(fields[name], 16) for name in SETS if name in fields}
