"""The errors of this package: one base, one subclass per thing a caller would do differently."""


class InsnError(Exception):
    """Anything this package refuses; `code` is stable, `address` is where, or None."""

    code = "insn"

    def __init__(self, why: str, *, address: int | None = None, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.address = address
        self.hint = hint

    def __str__(self) -> str:
        where = "" if self.address is None else f" at {self.address:#x}"
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.why}{where}{hint}"


class Truncated(InsnError):
    """The bytes end before the instruction does."""

    code = "truncated"


class Undecodable(InsnError):
    """No instruction of this architecture begins with these bytes."""

    code = "undecodable"


class DecodersDisagree(InsnError):
    """The rows and the second decoder read different lengths or flows."""

    code = "decoders-disagree"


class NotRelocatable(InsnError):
    """The instruction cannot run at another address in the way that was asked."""

    code = "not-relocatable"


class OutOfReach(NotRelocatable):
    """The place asked for is too far away for a displacement of the instruction."""

    code = "out-of-reach"


class NotEmulable(InsnError):
    """The instruction's work cannot be done on the registers alone."""

    code = "not-emulable"


class MalformedFile(InsnError):
    """The file is no ELF file that can be analysed."""

    code = "malformed-file"


class UnknownArchitecture(InsnError):
    """No record of that name exists."""

    code = "unknown-architecture"
