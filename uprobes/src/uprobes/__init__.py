"""Probes with Python handlers in live, unmodified Linux processes."""

from insn import Method
from uprobes.attach import attach, spawn
from uprobes.budget import Budget
from uprobes.classic import (
    register_uprobe,
    register_uprobes,
    register_uretprobe,
    register_uretprobes,
    unregister_uprobe,
    unregister_uprobes,
    unregister_uretprobe,
    unregister_uretprobes,
)
from uprobes.errors import (
    AlreadyRegistered,
    AlreadyTraced,
    Ambiguous,
    BadSpec,
    CannotMap,
    ForeignBreakpoint,
    NoSuchObject,
    NoSuchProcess,
    NoSuchSymbol,
    NotABoundary,
    NotExecutable,
    NotMapped,
    NotPermitted,
    NotRegistered,
    Overwritten,
    ProbeError,
    Refused,
    SpawnFailed,
    TargetGone,
    UnsupportedTarget,
)
from uprobes.hit import Hit, Outcome, Return
from uprobes.location import Location
from uprobes.policies import Request
from uprobes.probe import Probe, ProbeState, Uprobe, Uretprobe
from uprobes.recording.target import Target
from uprobes.registration import Registration
from uprobes.sampling import Sampling
from uprobes.session import ExitStatus

__all__ = [
    "AlreadyRegistered",
    "AlreadyTraced",
    "Ambiguous",
    "BadSpec",
    "Budget",
    "CannotMap",
    "ExitStatus",
    "ForeignBreakpoint",
    "Hit",
    "Location",
    "Method",
    "NoSuchObject",
    "NoSuchProcess",
    "NoSuchSymbol",
    "NotABoundary",
    "NotExecutable",
    "NotMapped",
    "NotPermitted",
    "NotRegistered",
    "Outcome",
    "Overwritten",
    "Probe",
    "ProbeError",
    "ProbeState",
    "Refused",
    "Registration",
    "Request",
    "Return",
    "Sampling",
    "SpawnFailed",
    "Target",
    "TargetGone",
    "UnsupportedTarget",
    "Uprobe",
    "Uretprobe",
    "attach",
    "register_uprobe",
    "register_uprobes",
    "register_uretprobe",
    "register_uretprobes",
    "spawn",
    "unregister_uprobe",
    "unregister_uprobes",
    "unregister_uretprobe",
    "unregister_uretprobes",
]
