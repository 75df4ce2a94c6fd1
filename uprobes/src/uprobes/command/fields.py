"""The values that `trace --show` writes: `arg0`, `arg1:str`, `rdi:int`, `arg2:16`.

NAME         an argument (arg0, arg1, …) or a register, in hexadecimal
NAME:int     as a signed number, of one machine word
NAME:int32   as a signed number of 32 bits
NAME:str     the C string it points to
NAME:SIZE    SIZE bytes of the memory it points to
"""

import re
from dataclasses import dataclass

from uprobes import Hit, ProbeError
from uprobes.command.options import usage
from uprobes.machine import machine_of_host

_ARGUMENT = re.compile(r"arg(\d{1,2})")
_SIGNED = {"int": 64, "int64": 64, "int32": 32, "int16": 16, "int8": 8}
_LONGEST_STRING = 256
_LARGEST = 4096

Value = int | str | None


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a hit: where it comes from and how it is shown."""

    text: str
    argument: int | None
    register: str
    form: str
    size: int

    def read(self, hit: Hit) -> Value:
        """Read the value at a hit; None where the memory it needs is not there."""
        try:
            if self.argument is not None:
                number = hit.arg(self.argument)
            else:
                number = hit.registers[self.register]
            if self.form == "str":
                return hit.memory.cstring(number, _LONGEST_STRING).decode(
                    "utf-8", "backslashreplace"
                )
            if self.form == "bytes":
                return hit.memory.read(number, self.size).hex()
        except ProbeError:
            return None
        if self.form == "int":
            number &= (1 << self.size) - 1
            return number - (1 << self.size) if number >> (self.size - 1) else number
        return number


def written(field: Field, value: Value) -> str:
    """Write a value for people."""
    if value is None:
        return "?"
    if isinstance(value, str):
        return f'"{value}"' if field.form == "str" else value
    return hex(value) if field.form == "hex" else str(value)


def parse_fields(text: str) -> list[Field]:
    """Parse the value of `--show`; raises ProbeError with the code `usage`."""
    return [_parse(part.strip()) for part in text.split(",") if part.strip()]


def _parse(text: str) -> Field:
    name, _, form = text.partition(":")
    match = _ARGUMENT.fullmatch(name)
    registers = machine_of_host().names
    if match is None and name not in registers:
        raise usage(
            f"--show: {name!r} is neither an argument nor a register",
            f"arg0, arg1, … or one of {', '.join(registers)}",
        )
    argument = int(match[1]) if match else None
    if form in _SIGNED:
        return Field(text, argument, name, "int", _SIGNED[form])
    if form.isdigit() and 0 < int(form) <= _LARGEST:
        return Field(text, argument, name, "bytes", int(form))
    if form not in ("", "hex", "str"):
        raise usage(
            f"--show: {text!r} asks for the form {form!r}, which does not exist",
            f"int, int32, int16, int8, str, hex, or a number of bytes up to {_LARGEST}",
        )
    return Field(text, argument, name, form or "hex", 0)
