"""Tells whether an address is the start of an instruction: proved, disproved, or unknown."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.bulk import scan
from insn.elf import Image
from insn.errors import InsnError
from insn.model import Instruction
from insn.stretch import Stretch
from insn.x86 import X86_64


class Boundary(enum.Enum):
    """Whether an instruction starts at an address."""

    PROVED = "proved"
    """Decoding from the start of the function arrives there, or one of its branches goes there."""
    DISPROVED = "disproved"
    """It lies inside an instruction of the function."""
    UNKNOWN = "unknown"
    """No function is known to contain it, or the function cannot be decoded so far."""


@dataclass(frozen=True, slots=True)
class BoundaryVerdict:
    """What is known about an address; `inside` is the instruction around it when disproved."""

    address: int
    boundary: Boundary
    inside: Instruction | None = None
    function: int | None = None

    @property
    def proved(self) -> bool:
        """Whether an instruction certainly starts there."""
        return self.boundary is Boundary.PROVED


def boundaries(
    origin: Image | bytes,
    addresses: int | Sequence[int],
    base: int = 0,
    arch: Arch = X86_64,
) -> list[BoundaryVerdict]:
    """Tell for each address whether an instruction starts there, in the order asked.

    With an image, functions are found by symbol or unwind entry; with bytes that stand at `base`,
    these are one function. Addresses outside of all code are unknown.
    """
    asked = [addresses] if isinstance(addresses, int) else list(addresses)
    if isinstance(origin, Image):
        return [_in_image(origin, address) for address in asked]
    function = Stretch(base, origin)
    return [_in_function(function, address, arch) for address in asked]


def _in_image(image: Image, address: int) -> BoundaryVerdict:
    function = image.function_at(address)
    if function is None:
        return BoundaryVerdict(address, Boundary.UNKNOWN)
    if function.address == address:
        return BoundaryVerdict(address, Boundary.PROVED, function=address)
    try:
        code = image.read(function.address, max(function.size, 1))
    except InsnError:
        return BoundaryVerdict(address, Boundary.UNKNOWN, function=function.address)
    return _in_function(Stretch(function.address, code), address, image.arch)


@lru_cache(maxsize=64)
def _instructions(code: bytes, base: int, arch: Arch) -> NDArray[np.void]:
    return scan(code, base, arch)


def _in_function(function: Stretch, address: int, arch: Arch) -> BoundaryVerdict:
    if not function.address <= address < function.end:
        return BoundaryVerdict(address, Boundary.UNKNOWN)
    found = _instructions(function.code, function.address, arch)
    addresses = found["address"]
    index = int(np.searchsorted(addresses, np.uint64(address), side="right")) - 1
    # Bytes that are no instruction are data, or the way there was wrong: nothing behind them is
    # certain.
    undecoded = np.flatnonzero(found["length"][: index + 1] == 0)
    if len(undecoded):
        known = bool((found["target"][found["kind"] == 1] == np.uint64(address)).any())
        boundary = Boundary.PROVED if known else Boundary.UNKNOWN
        return BoundaryVerdict(address, boundary, function=function.address)
    if int(addresses[index]) == address:
        return BoundaryVerdict(address, Boundary.PROVED, function=function.address)
    if bool((found["target"][found["kind"] == 1] == np.uint64(address)).any()):
        return BoundaryVerdict(address, Boundary.PROVED, function=function.address)
    start = int(addresses[index])
    inside = arch.decode(function.code[start - function.address :], start)
    return BoundaryVerdict(address, Boundary.DISPROVED, inside, function.address)
