"""A run of code with the address it is for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes `code` at `address`; `name` says where they come from (a section, a function)."""

    address: int
    code: bytes
    name: str = ""

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + len(self.code)
