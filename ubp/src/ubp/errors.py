"""The errors of this package: one base, one subclass per thing a caller would do differently."""


class UbpError(Exception):
    """Anything this package refuses; `code` is stable and `address` is where."""

    code = "ubp"

    def __init__(self, why: str, *, address: int, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.address = address
        self.hint = hint

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.why} at {self.address:#x}{hint}"


class AlreadyInserted(UbpError):
    """One of our own breakpoints stands there."""

    code = "already-inserted"


class ForeignBreakpoint(UbpError):
    """A trap instruction that we did not write stands there."""

    code = "foreign-breakpoint"


class NotInserted(UbpError):
    """No breakpoint of ours stands there."""

    code = "not-inserted"


class Changed(UbpError):
    """Somebody overwrote the breakpoint; what stands there now is left alone."""

    code = "changed"


class NotProbeable(UbpError):
    """The instruction may not be executed by that method; `reason` is the verdict's code."""

    code = "not-probeable"

    def __init__(self, why: str, *, address: int, reason: str, hint: str = "") -> None:
        self.reason = reason
        super().__init__(why, address=address, hint=hint)
