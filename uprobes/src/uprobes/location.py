"""Where a spec points: the records that name resolution hands to the engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from uprobes.errors import ProbeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from insn import Arch, Windows


@dataclass(frozen=True, slots=True)
class Location:
    """One probe point of one process, with the names it goes by.

    `address` is the run-time address. `elf_address` and `file_offset` are the other two ways to
    count; `function_address` and `function_size` bound the function around it (0 when unknown), and
    `offset` is where in it, 0 where the function itself is probed: in Go behind its stack check.
    `no_return` says why a return probe can't stand there, and is empty where it can. `exits_only`
    says that the return address must not be touched: returns are seen at the return instructions.
    `tight` says that the stack need not have room for anything of ours there.
    """

    address: int
    spec: str
    object: str = ""
    path: str = ""
    function: str | None = None
    offset: int = 0
    elf_address: int | None = None
    file_offset: int | None = None
    function_address: int = 0
    function_size: int = 0
    no_return: str = ""
    exits_only: bool = False
    tight: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a spec came to: `locations` to probe, `refused` ones with their reasons.

    `pending` says that the object is not mapped (yet).
    """

    locations: tuple[Location, ...] = ()
    refused: tuple[ProbeError, ...] = ()
    pending: bool = False


class Resolver(Protocol):
    """Turns specs into locations; the engine never reads names itself."""

    def resolve(self, spec: str, pid: int) -> Resolution:
        """Resolve a spec in a process; raises ProbeError when it means nothing or too much."""
        ...

    def at(self, address: int, pid: int) -> Location:
        """Resolve a run-time address; raises ProbeError when no instruction begins there."""
        ...

    def locate(self, address: int, pid: int) -> Location:
        """Name a run-time address of a process as well as can be."""
        ...

    def windows(self, location: Location) -> "Windows | None":
        """Return the judge of jumps over the code of a location's file; None without a file."""
        ...

    def linker_hook(self, pid: int) -> int | None:
        """Return the address that the dynamic linker calls whenever it changed what is mapped, None
        without one.
        """
        ...

    def unwinders(self, pid: int) -> tuple[int, ...]:
        """Return the addresses of the functions that walk the stack."""
        ...

    def callers(
        self,
        pid: int,
        arch: "Arch",
        registers: "Mapping[str, int]",
        word: "Callable[[int], int]",
        limit: int,
    ) -> tuple[int, ...]:
        """Return where a thread is, where its caller was called, and so on; `word` reads the stack
        as the program would see it.
        """
        ...

    def forget(self, pid: int) -> None:
        """Drop what is remembered of a process's mappings (they changed)."""
        ...
