"""Why a place can't be probed, in words: one function for each kind of obstacle."""

import insn
import ubp
from insn import Method
from uprobes.errors import ForeignBreakpoint, NotExecutable, NotMapped, ProbeError, Refused
from uprobes.location import Location
from uprobes.maps import VSYSCALL, Mapping
from uprobes.methods import choose
from uprobes.point import ProbePoint
from uprobes.probe import Probe
from uprobes.process import Process


def unfit(mapping: Mapping | None, address: int, spec: str) -> ProbeError | None:
    """Say why memory can't hold a breakpoint, None when it can."""
    if mapping is None:
        return NotMapped(
            "nothing is mapped there",
            spec=spec,
            address=address,
            hint="`uprobes list` shows what can be probed",
        )
    if not mapping.executable:
        return NotExecutable(
            f"that memory ({mapping.path or 'anonymous'}, {mapping.permissions}) holds no code",
            spec=spec,
            address=address,
            hint="probes go on instructions; name a function",
        )
    if mapping.shared and mapping.inode:
        return NotExecutable(
            "the code is mapped shared: a breakpoint would reach the file and other processes",
            spec=spec,
            address=address,
            code="shared-mapping",
            hint="map the file privately",
        )
    if mapping.writable:
        return NotExecutable(
            "the program itself can write to this code, and would not expect a breakpoint in it",
            spec=spec,
            address=address,
            code="writable-code",
            hint="probe a function in a file's text instead",
        )
    if mapping.path == VSYSCALL:
        return NotExecutable(
            "the kernel emulates this page and nothing can be written to it",
            spec=spec,
            address=address,
            code="vsyscall",
            hint="probe the caller, or libc's function",
        )
    return None


def occupied(location: Location) -> ProbeError:
    """Say that a program runs at an address, which has no room for a handler."""
    return Refused(
        "a program is installed there, and hits would be lost to one of both",
        spec=location.spec,
        address=location.address,
        code="occupied",
        hint="remove the program first, or probe the next instruction",
    )


def unprobeable(point: ProbePoint, probes: tuple[Probe, ...]) -> ProbeError | None:
    """Say why an instruction can't be probed as these probes want, None when it can."""
    address, spec = point.address, probes[0].location.spec
    try:
        verdict = point.verdict
    except insn.InsnError as error:
        return Refused(error.why, spec=spec, address=address, hint=error.hint, code=str(error.code))
    except ProbeError as error:
        error.spec = spec
        return error
    if choose(verdict, probes):
        return None
    method = next((p.wanted for p in probes if p.wanted is not None), None)
    reason = verdict.why_not(method) if method is not None else verdict.why_not(Method.INLINE)
    if reason is None:
        return conflict(probes[0])
    way = f"by {method} " if method is not None else ""
    return Refused(
        f"`{verdict.instruction.text}` can't be probed {way}- {reason.why}",
        spec=spec,
        address=address,
        hint=reason.hint,
        code=reason.code,
    )


def conflict(probe: Probe) -> ProbeError:
    """Say that the probes at one place leave no method for this one."""
    return Refused(
        "every method that the instruction allows is forbidden, or another probe there forces one",
        spec=probe.location.spec,
        address=probe.location.address,
        code="no-method-left",
        hint="allow another method",
    )


def as_probe_error(error: Exception, location: Location) -> ProbeError:
    """Make an error of the packages below one of ours that names the spec."""
    if isinstance(error, ubp.ForeignBreakpoint):
        return ForeignBreakpoint(
            error.why, spec=location.spec, address=location.address, hint=error.hint
        )
    if isinstance(error, ProbeError):
        error.spec = location.spec
        return error
    return Refused(str(error), spec=location.spec, address=location.address)


def no_return(location: Location) -> ProbeError:
    """Say why the return of a function can't be probed."""
    return ProbeError(
        f"no return can be probed here: {location.no_return}",
        spec=location.spec,
        address=location.address,
        hint="probe the entry only, or the functions it calls",
        code="no-return",
    )


def shadowed(location: Location) -> ProbeError:
    """Say that the hardware would notice a return probe."""
    return ProbeError(
        "the hardware checks the return addresses of this process: one of ours would end it",
        spec=location.spec,
        address=location.address,
        code="shadow-stack",
        hint="start it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK, or probe entries only",
    )


def judge_at(process: Process, location: Location) -> insn.Verdict | ProbeError:
    """Say what may be done at a location, or why nothing can be said."""
    try:
        return process.judge(location.address)
    except insn.InsnError as error:
        return ProbeError(
            error.why, spec=location.spec, address=location.address, code=str(error.code)
        )
    except ProbeError as error:
        return error
