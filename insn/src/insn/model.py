"""The records that go in and come out: instruction, verdict, relocated copy."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from insn.arch import Arch


class Method(enum.StrEnum):
    """How a probe executes the instruction it displaced, cheapest last."""

    INLINE = "inline"
    STEP = "step"
    BOOST = "boost"
    EMULATE = "emulate"
    TRAP = "trap"
    JUMP = "jump"


class Flow(enum.Enum):
    """Where control goes after the instruction."""

    NEXT = "next"
    JUMP = "jump"
    CONDITIONAL_JUMP = "conditional jump"
    INDIRECT_JUMP = "indirect jump"
    CALL = "call"
    INDIRECT_CALL = "indirect call"
    RETURN = "return"
    SYSTEM_CALL = "system call"
    TRAP = "trap"
    FAR = "far transfer"


class Calls(enum.Enum):
    """What a copy that runs freely does about a call that comes last."""

    REFUSE = "refuse"
    EXPAND = "expand"
    """It pushes the original return address, and jumps."""
    BALANCE = "balance"
    """The same, but the CPU's return predictor is told that something was called."""


class PcRelativeKind(enum.Enum):
    """What the field that counts from the program counter addresses."""

    BRANCH = "branch"
    MEMORY = "memory"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True)
class PcRelative:
    """The field of an instruction that counts from the program counter.

    `offset` and `size` are in bytes from the instruction's first byte; `target` is the address it
    names.
    """

    offset: int
    size: int
    kind: PcRelativeKind
    target: int


class Fixups(enum.Flag):
    """What must be repaired after a copy was single-stepped elsewhere."""

    NONE = 0
    IP = enum.auto()
    """The program counter left by the copy is relative to it: add (original - copy)."""
    RETURN_ADDRESS = enum.auto()
    """The return address pushed by the copy points behind the copy: add (original - copy)."""
    PUSHED_TRAP_FLAG = enum.auto()
    """The flags image pushed by the copy carries the stepper's trap flag: clear it."""
    LOADED_FLAGS = enum.auto()
    """The copy loaded the flags itself: the trap flag it leaves is the program's own."""
    SCRATCH = enum.auto()
    """A scratch register held an address while the copy ran: put its value back."""
    SYSTEM_CALL = enum.auto()
    """The kernel put the copy's address and the stepper's flags in registers (x86: rcx, r11)."""
    REPEATS = enum.auto()
    """The step stops after each iteration with the program counter unmoved: step until it moves."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something may not be done: a stable `code`, a sentence, and what to do instead."""

    code: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction.

    `code` holds exactly its `length` bytes. `target` is where a direct branch goes. `reads` and
    `writes` name full-width registers, implicit ones included; `flags_read` and `flags_written`
    name single flags.
    """

    address: int
    code: bytes
    arch: "Arch"
    name: str
    flow: Flow
    target: int | None = None
    pc_relative: PcRelative | None = None
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    flags_read: frozenset[str] = frozenset()
    flags_written: frozenset[str] = frozenset()
    detail: object = field(default=None, compare=False, repr=False)

    @property
    def length(self) -> int:
        """The number of bytes of the instruction."""
        return len(self.code)

    @property
    def end(self) -> int:
        """The address of the next instruction in memory."""
        return self.address + len(self.code)

    @property
    def text(self) -> str:
        """The instruction as the second decoder writes it, or the row's name without one."""
        return self.arch.text(self)


@dataclass(frozen=True, slots=True)
class Effects:
    """What an instruction may do beside its registers and flags.

    `stack` is by how many bytes it moves the stack pointer (a push is negative), None when that is
    not known beforehand. `privileged` tells that only the kernel may execute it.
    """

    stack: int | None
    memory: bool
    may_fault: bool
    privileged: bool
    nothing: bool
    """It does nothing but move on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be done with an instruction: every method not in `refusals` may be used."""

    instruction: Instruction
    refusals: Mapping[Method, Reason] = field(default_factory=lambda: MappingProxyType({}))

    def allows(self, method: Method) -> bool:
        """Tell whether a probe may execute the instruction by this method."""
        return method not in self.refusals

    def why_not(self, method: Method) -> Reason | None:
        """Give the reason against a method, or None when it may be used."""
        return self.refusals.get(method)

    @property
    def probeable(self) -> bool:
        """Whether a handler can be run here by any method at all."""
        with_handler = (Method.INLINE, Method.STEP, Method.BOOST, Method.EMULATE)
        return any(self.allows(method) for method in with_handler)


@dataclass(frozen=True, slots=True)
class Relocated:
    """Code that does at `address` what the original instructions did where they were.

    `boundaries` pairs every offset in `code` at which a thread can be found with the original
    address that stands for it: the state there is what it would be there, and a thread may be
    moved there. At the offsets that `pushed` lists too (an indirect call under way), the stack
    pointer is that many bytes too low: they must be added; what lies below it is lost. `scratch`
    is the register that must hold `scratch_value` while the copy runs. Up to `overwrites` bytes
    below the stack pointer that the original leaves alone may be overwritten.
    """

    address: int
    code: bytes
    fixups: Fixups
    boundaries: tuple[tuple[int, int], ...]
    scratch: str | None = None
    scratch_value: int = 0
    pushed: tuple[tuple[int, int], ...] = ()
    overwrites: int = 0


class Registers(Protocol):
    """The registers of one thread by full-width name.

    On x86-64: rax … r15, rip, rflags, fs_base, gs_base.
    """

    def __getitem__(self, name: str) -> int: ...
    def __setitem__(self, name: str, value: int) -> None: ...


class Memory(Protocol):
    """The memory of one process.

    An address that is not there raises an exception of the implementer's choice.
    """

    def read(self, address: int, size: int) -> bytes:
        """Give `size` bytes of the memory at `address`."""
        ...

    def write(self, address: int, code: bytes) -> None:
        """Replace the bytes at `address`."""
        ...
