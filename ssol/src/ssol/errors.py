"""The errors of this package: one base, one subclass per thing a caller would do differently."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssol.slot import Ticket


class SsolError(Exception):
    """Anything this package refuses.

    `code` is stable; `address` is the address it is about (None when it has none); `hint` says what
    to do instead.
    """

    code = "ssol"

    def __init__(self, why: str, *, address: int | None = None, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.address = address
        self.hint = hint

    def __str__(self) -> str:
        where = "" if self.address is None else f" at {self.address:#x}"
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.why}{where}{hint}"


class BadRequest(SsolError):
    """The question itself makes no sense: no pool could serve this size, reach or owner."""

    code = "bad-request"


class NoAreaInReach(SsolError):
    """No area that reaches all the addresses exists or can be mapped."""

    code = "no-area-in-reach"


class PoolFull(SsolError):
    """Every slot that would do is taken, and the policy is not to wait."""

    code = "pool-full"


class MustWait(PoolFull):
    """Every slot that would do is taken; `ticket` stands in the queue for one."""

    code = "must-wait"

    def __init__(self, why: str, ticket: "Ticket", *, hint: str = "") -> None:
        super().__init__(why, hint=hint)
        self.ticket = ticket


class NotTaken(SsolError):
    """The slot is not held by who says so: freed before, stolen since, or never taken."""

    code = "not-taken"


class BadArea(SsolError):
    """The mapper gave an area that cannot be used: unaligned, overlapping, or out of reach."""

    code = "bad-area"
