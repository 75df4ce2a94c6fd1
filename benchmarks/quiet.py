"""Wait until nobody else uses the machine's CPUs."""

import time

BUSY = 0.3
"""A CPU that is busy for more than this part of the time is not quiet."""
SAMPLE_S = 0.06
IDLE, WAITING = 3, 4


def _times() -> list[list[int]]:
    with open("/proc/stat", encoding="utf-8") as lines:
        return [
            [int(field) for field in line.split()[1:9]]
            for line in lines
            if line.startswith("cpu") and line[3] != " "
        ]


def is_quiet() -> bool:
    """Look for a moment whether every CPU is idle most of the time."""
    before = _times()
    time.sleep(SAMPLE_S)
    for old, new in zip(before, _times(), strict=True):
        spent = [b - a for a, b in zip(old, new, strict=True)]
        if sum(spent) and 1 - (spent[IDLE] + spent[WAITING]) / sum(spent) > BUSY:
            return False
    return True


def wait_for_quiet(patience: float) -> bool:
    """Wait at most so many seconds for a quiet machine; tell whether it is."""
    deadline = time.monotonic() + patience
    while not (quiet := is_quiet()) and time.monotonic() < deadline:
        time.sleep(SAMPLE_S)
    return quiet
