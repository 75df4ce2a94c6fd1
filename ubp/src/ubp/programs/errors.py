"""What is refused of a program: one base, told apart by its stable `code`."""

from ubp.errors import UbpError


class ProgramError(UbpError):
    """A program that cannot be, or cannot be put there; `code` says which way.

    `bad-program` (its parts don't fit together), `never` (a comparison that no value can meet or
    fail), `no-such-value` (the architecture or the place has it not), `needs-system-call` (memory
    would have to be read where none is allowed), `too-large` (limits of records, bits, nesting),
    `out-of-reach` (further than ±2 GiB), `no-ring`, `no-table`.
    """

    code = "bad-program"

    def __init__(self, why: str, *, code: str = "bad-program", hint: str = "") -> None:
        super().__init__(why, address=0, hint=hint)
        self.code = code

    def __str__(self) -> str:
        return f"{self.why} ({self.hint})" if self.hint else self.why


class BadExpression(ProgramError):
    """A text that is no expression: `text`, with the error at character `position`, from 0."""

    def __init__(self, why: str, *, text: str, position: int, hint: str = "") -> None:
        super().__init__(why, code="bad-expression", hint=hint)
        self.text = text
        self.position = position

    def __str__(self) -> str:
        message = f"{self.why}, at character {self.position + 1} of {self.text!r}"
        return f"{message} ({self.hint})" if self.hint else message
