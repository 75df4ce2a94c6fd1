"""The names of the original interface: register and unregister probe objects, one or many, by
process number.

A process is attached when its first probe object is registered, and detached when the last one is
taken out.
"""

import threading
from collections.abc import Iterable

from uprobes.attach import attach
from uprobes.errors import NotRegistered, ProbeError
from uprobes.probe import Probe, Uprobe, Uretprobe
from uprobes.registration import Registration
from uprobes.target import Target

_lock = threading.RLock()
_targets: dict[int, Target] = {}
_registered: dict[int, set[int]] = {}


def register_uprobe(probe: Uprobe) -> None:
    """Put one probe in; raises ProbeError with the reason when it is refused."""
    _register_one(probe)


def register_uretprobe(probe: Uretprobe) -> None:
    """Put one return probe in; raises ProbeError with the reason when it is refused."""
    _register_one(probe)


def unregister_uprobe(probe: Uprobe) -> None:
    """Take one probe out; the object can be registered again at once. Raises NotRegistered."""
    _unregister([probe])


def unregister_uretprobe(probe: Uretprobe) -> None:
    """Take one return probe out; calls under way end unreported. Raises NotRegistered."""
    _unregister([probe])


def register_uprobes(probes: Iterable[Probe]) -> list[Registration]:
    """Put many probes in, per process in one go; return a Registration for each process.

    What is refused is in the results, never raised.
    """
    by_pid: dict[int, list[Probe]] = {}
    for probe in probes:
        by_pid.setdefault(_pid(probe), []).append(probe)
    return [_register(pid, group) for pid, group in by_pid.items()]


def unregister_uprobes(probes: Iterable[Probe]) -> None:
    """Take many probes out, per process in one go; raises NotRegistered when one is not in."""
    _unregister(list(probes))


register_uretprobes = register_uprobes
unregister_uretprobes = unregister_uprobes


def _register_one(probe: Probe) -> None:
    registration = _register(_pid(probe), [probe])
    if registration.refused:
        raise registration.refused[0]


def _register(pid: int, probes: list[Probe]) -> Registration:
    with _lock:
        target = _targets.get(pid)
        if target is None or target.detached or target.exit_status is not None:
            target = _targets[pid] = attach(pid)
            _registered[pid] = set()
        try:
            registration = target.register_probes(probes)
        finally:
            _registered[pid] |= {id(probe) for probe in probes if probe.registered}
            _detach_if_idle(pid)
        return registration


def _unregister(probes: list[Probe]) -> None:
    with _lock:
        by_pid: dict[int, list[Probe]] = {}
        for probe in probes:
            pid = _pid(probe)
            if id(probe) not in _registered.get(pid, ()):
                raise NotRegistered(
                    "the probe object is not registered", spec=probe.spec, hint="register it first"
                )
            by_pid.setdefault(pid, []).append(probe)
        for pid, group in by_pid.items():
            _targets[pid].unregister(group)
            _registered[pid] -= {id(probe) for probe in group}
            _detach_if_idle(pid)


def _detach_if_idle(pid: int) -> None:
    """Let a process go that has no probe left; not from within a handler."""
    target = _targets[pid]
    if not _registered[pid] and not target.in_handler:
        del _targets[pid], _registered[pid]
        target.detach()


def _pid(probe: Probe) -> int:
    if probe.pid is None:
        raise ProbeError(
            "the probe object names no process",
            spec=probe.spec,
            code="no-pid",
            hint="give it a pid",
        )
    return probe.pid
