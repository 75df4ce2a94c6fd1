"""User breakpoint assistance: put a breakpoint in, run the original instruction, repair what moved,
take it out.
"""

from ubp.breakpoints import Breakpoint, Breakpoints
from ubp.errors import (
    AlreadyInserted,
    Changed,
    ForeignBreakpoint,
    NotInserted,
    NotProbeable,
    UbpError,
)
from ubp.patches import Patch, Patches
from ubp.ports import Memory, Registers
from ubp.rules import StepRules
from ubp.stepper import Action, Plan, Step, Stepper
from ubp.x86 import X86_64

__all__ = [
    "X86_64",
    "Action",
    "AlreadyInserted",
    "Breakpoint",
    "Breakpoints",
    "Changed",
    "ForeignBreakpoint",
    "Memory",
    "NotInserted",
    "NotProbeable",
    "Patch",
    "Patches",
    "Plan",
    "Registers",
    "Step",
    "StepRules",
    "Stepper",
    "UbpError",
]
