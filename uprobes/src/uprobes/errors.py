"""The errors of this package: what was asked, why it can't be, and what to do instead."""

from collections.abc import Sequence

HANDLER_RAISED = "handler-raised"
"""The code of a probe that was disarmed because its handler raised."""


class ProbeError(Exception):
    """Base of all refusals: `code` is stable; `spec` and `address` say what was asked for, `hint`
    what to do.
    """

    code = "probe"

    def __init__(
        self,
        why: str,
        *,
        spec: str | None = None,
        address: int | None = None,
        hint: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.spec = spec
        self.address = address
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        asked = f"{self.spec}: " if self.spec else ""
        where = f" at {self.address:#x}" if self.address is not None else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{asked}{self.why}{where}{hint}"

    def as_record(self) -> dict[str, object]:
        """Return the error as the JSON contract writes it."""
        return {
            "code": self.code,
            "spec": self.spec,
            "address": self.address,
            "why": self.why,
            "hint": self.hint,
        }


class BadSpec(ProbeError):
    """The probe spec does not follow the grammar, or could mean several things."""

    code = "bad-spec"


class NoSuchObject(ProbeError):
    """No file mapped into the process has that name."""

    code = "no-such-object"


class NoSuchSymbol(ProbeError):
    """The object has no function of that name; `similar` lists names that come close."""

    code = "no-such-symbol"

    def __init__(
        self, why: str, *, spec: str | None = None, similar: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.similar = tuple(similar)
        if similar and not hint:
            hint = "did you mean " + ", ".join(similar) + "?"
        super().__init__(why, spec=spec, hint=hint)


class Ambiguous(ProbeError):
    """The name fits several places; `candidates` lists specs that each fit one."""

    code = "ambiguous"

    def __init__(
        self, why: str, *, spec: str | None = None, candidates: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.candidates = tuple(candidates)
        if candidates and not hint:
            hint = "say which: " + ", ".join(candidates)
        super().__init__(why, spec=spec, hint=hint)


class NotABoundary(ProbeError):
    """The address lies inside an instruction."""

    code = "inside-instruction"


class NotMapped(ProbeError):
    """The process has nothing at that address."""

    code = "not-mapped"


class NotExecutable(ProbeError):
    """The memory there is not executable code that may be probed."""

    code = "not-executable"


class Refused(ProbeError):
    """The instruction there may not be probed (in the way that was asked)."""

    code = "refused"


class ForeignBreakpoint(ProbeError):
    """A breakpoint that is not ours stands there already."""

    code = "foreign-breakpoint"


class Overwritten(ProbeError):
    """The program changed its code where a breakpoint of ours was: since then nothing was hit."""

    code = "overwritten"


class NoSuchProcess(ProbeError):
    """No process has that number (any more)."""

    code = "no-such-process"


class NotPermitted(ProbeError):
    """The kernel, or the policy, does not let us trace that process."""

    code = "not-permitted"


class AlreadyTraced(ProbeError):
    """Another tracer holds the process; `tracer` is its number."""

    code = "already-traced"

    def __init__(self, why: str, *, tracer: int, hint: str = "") -> None:
        self.tracer = tracer
        super().__init__(why, hint=hint)


class UnsupportedTarget(ProbeError):
    """That kind of process can't be probed."""

    code = "unsupported-target"


class TargetGone(ProbeError):
    """The process ended, or turned into another program, before the work was done."""

    code = "target-gone"


class AlreadyRegistered(ProbeError):
    """The probe object is registered; unregister it first."""

    code = "already-registered"


class NotRegistered(ProbeError):
    """The probe object is not registered."""

    code = "not-registered"


class CannotMap(ProbeError):
    """The process gave no memory for the SSOL area."""

    code = "cannot-map"


class SpawnFailed(ProbeError):
    """The command could not be started."""

    code = "spawn-failed"
