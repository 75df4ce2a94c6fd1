"""Stand-ins for a process, for tests of whatever drives breakpoints and steps."""

from collections.abc import Mapping


class NotThere(Exception):
    """The fake memory has nothing at that address."""


class FakeMemory:
    """Memory in pieces: `FakeMemory({0x1000: code})`; touching anything else raises NotThere.

    `writes` lists the (address, size) of every write in order.
    """

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self.pieces = {start: bytearray(code) for start, code in pieces.items()}
        self.writes: list[tuple[int, int]] = []

    def _piece(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, code in self.pieces.items():
            if start <= address and address + size <= start + len(code):
                return code, address - start
        raise NotThere(f"{size} bytes at {address:#x}")

    def read(self, address: int, size: int) -> bytes:
        """Read exactly `size` bytes."""
        code, offset = self._piece(address, size)
        return bytes(code[offset : offset + size])

    def write(self, address: int, code: bytes) -> None:
        """Write all of `code`."""
        piece, offset = self._piece(address, len(code))
        piece[offset : offset + len(code)] = code
        self.writes.append((address, len(code)))


class FakeRegisters(dict[str, int]):
    """Registers that are a dict; unset ones are 0."""

    def __missing__(self, name: str) -> int:
        return 0
