"""Find recordings that run in a process without a tracer, and read them from outside."""

import contextlib

from uprobes.attaching import read_status
from uprobes.errors import ProbeError
from uprobes.machine import machine_of_host
from uprobes.patch.adopting import read_installed
from uprobes.patch.shared import find_shared
from uprobes.process import Process
from uprobes.recording.plan import Plan
from uprobes.recording.recording import Recording


def open_recordings(pid: int, *, keep: bool = True) -> tuple[Recording, ...]:
    """Open what is recorded in a process right now, stopping and changing nothing in it.

    With `keep`, what is read stays there for later readers; else it makes room for new records,
    where the kernel lets us map the process's memory (root may). What the process says of itself
    is believed only as far as nothing but its own figures depends on it.
    Raises NoSuchProcess or NotPermitted; ProbeError with the code `no-recording` without any.
    """
    read_status(pid)
    machine = machine_of_host()
    registers = machine.arch.registers
    try:
        process = Process(pid, machine)
    except PermissionError:
        from uprobes.errors import NotPermitted

        raise NotPermitted(
            f"the memory of process {pid} may not be read", hint="see uprobes doctor"
        ) from None
    found: dict[Plan, Recording] = {}
    broken: list[ProbeError] = []
    for start, size in find_shared(pid):
        try:
            installed = read_installed(process, start, size)
            plan = Plan.from_note(installed.note)
            if plan not in found:
                found[plan] = Recording(plan, registers, pid=pid, command=_command(pid), keep=keep)
            found[plan].add(installed)
        except ProbeError as error:
            broken.append(error)
        except (OSError, ValueError, TypeError, KeyError) as error:
            broken.append(ProbeError(f"what it says is garbled: {error}", code="bad-description"))
    for plan in [plan for plan, recording in found.items() if not recording.parts]:
        del found[plan]
    if not found:
        raise (
            broken[0]
            if broken
            else ProbeError(
                f"nothing is recorded in process {pid}",
                code="no-recording",
                hint=f"begin with: uprobes record SPEC -p {pid} --detach",
            )
        )
    return tuple(found.values())


def _command(pid: int) -> list[str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return [part.decode("utf-8", "replace") for part in file.read().split(b"\0")[:-1]]
    return []
