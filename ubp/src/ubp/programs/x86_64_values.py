"""Values as x86-64 instructions."""

from ubp.programs import x86_64_guard as guard
from ubp.programs.errors import ProgramError
from ubp.programs.shape import Shape
from ubp.programs.values import (
    Argument,
    Binary,
    Cast,
    Constant,
    Cpu,
    Elapsed,
    Operator,
    Pid,
    Register,
    ReturnValue,
    Scaled,
    StackPointer,
    Tid,
    Time,
    Value,
    Word,
    is_signed,
)
from ubp.programs.x86_64_frame import Frame
from ubp.x86_assembler import NUMBERS, Assembler, Mem, Operand, Thread

ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
SYS_GETPID, SYS_GETTID = 39, 186
CPU_SELECTOR = 0x7B
CPU_MASK = 0xFFF
PLAIN = {
    Operator.ADD: "add",
    Operator.SUBTRACT: "sub",
    Operator.AND: "and",
    Operator.OR: "or",
    Operator.XOR: "xor",
}


class Values:
    """Code for the values of one shape; `fail` is the label to go to when one can't be had."""

    def __init__(self, a: Assembler, frame: Frame, shape: Shape, name: str) -> None:
        self.a = a
        self.frame = frame
        self.shape = shape
        self.name = name
        self.fail = ""
        self.kept: dict[Value, Mem] = {}
        """Values that were computed before and are kept in memory: those of the entry."""
        self.returning = False
        self.routines: set[str] = set()
        """The routines of `x86_64_guard` that are called."""
        self._labels = 0

    def new_label(self) -> str:
        """Return a label that is not yet used."""
        self._labels += 1
        return f"{self.name}{self._labels}"

    # -- values ---------------------------------------------------------------------------------

    def source(self, value: Value) -> str | Mem | int | None:
        """Return what an instruction can name as it is, None for what must be computed."""
        match value:
            case Constant(number):
                number -= (1 << 64) if number >= (1 << 64) - (1 << 31) else 0
                return number if -(1 << 31) <= number < 1 << 31 else None
            case Argument(n) if n < len(ARGUMENTS):
                return self.kept.get(value) or self.frame.own(ARGUMENTS[n])
            case Register("rsp"):
                return None
            case Register(name):
                if name not in NUMBERS:
                    raise ProgramError(
                        f"there is no register {name!r} to be read",
                        code="no-such-value",
                        hint=", ".join(NUMBERS),
                    )
                return self.frame.own(name)
            case ReturnValue():
                self._only_at_returns("the return value")
                return self.frame.own("rax")
        return self.kept.get(value)

    def registers(self, value: Value, pool: list[str]) -> tuple[str, list[str]]:
        """Return a register that holds a value, its own one if it has one, and what is left."""
        source = self.source(value)
        if isinstance(source, str):
            return source, pool
        self.load(value, _spare(pool), pool[1:])
        return pool[0], pool[1:]

    def load(self, value: Value, to: str, pool: list[str]) -> None:
        """Put a value into a register; those of `pool` and the temporaries are overwritten."""
        a = self.a
        self.frame.touch(to)
        source = self.source(value)
        if isinstance(source, int):
            a.mov(to, source)
        elif source is not None:
            if source != to:
                a.mov(to, source)
        else:
            self._compute(value, to, pool)

    def _compute(self, value: Value, to: str, pool: list[str]) -> None:
        a, frame = self.a, self.frame
        match value:
            case Constant(number):
                a.mov(to, number)
            case Argument(n):
                self._stack_argument(n, to)
            case StackPointer() | Register("rsp"):
                a.lea(to, Mem("rsp", frame.depth))
            case Time():
                self.clock(to)
            case Elapsed():
                self._only_at_returns("the elapsed time")
                raise AssertionError("the elapsed time is always kept")
            case Tid():
                self.tid(to)
            case Pid():
                self.system_call(SYS_GETPID, to, "the number of the process")
            case Cpu():
                self.cpu(to)
            case Word(StackPointer(), offset, size, signed) if guard.is_near(self, offset, size):
                guard.load_from_stack(self, offset, size, signed, to)
            case Word(base, offset, size, signed):
                guard.load_word(self, base, offset, size, signed, to, pool)
            case Binary(operator, left, right):
                self._binary(operator, left, right, is_signed(value), to, pool)
            case Cast(inner, size, signed):
                self.load(inner, to, pool)
                if size < 8:
                    a.extend(to, to, size, signed)
            case Scaled(inner, multiplier, shift):
                self.load(inner, to, pool)
                frame.touch("rax", "rdx")
                frame.touch_flags()
                a.mov("rax", multiplier)
                a.unary("mul", to)
                if shift:
                    a.shift_pair_right("rax", "rdx", shift)
                a.mov(to, "rax")

    def clock(self, to: str) -> None:
        """Put the time stamp counter into a register."""
        self.frame.touch("rax", "rdx", to)
        self.frame.touch_flags()
        self.a.rdtsc()
        self.a.shift_left("rdx", 32)
        self.a.arithmetic("or", "rax", "rdx")
        if to != "rax":
            self.a.mov(to, "rax")

    def tid(self, to: str) -> None:
        """Put the thread's number into a register."""
        if self.shape.tid_offset is None:
            self.system_call(SYS_GETTID, to, "the number of the thread")
        else:
            self.a.mov(to, Thread(self.shape.tid_offset), size=4)

    def cpu(self, to: str) -> None:
        """Put the number of the CPU into a register."""
        if self.shape.cpu_offset is not None:
            self.a.mov(to, Thread(self.shape.cpu_offset), size=4)
            return
        if self.shape.has_rdpid:
            self.a.rdpid(to)
        else:
            self.a.mov(to, CPU_SELECTOR)
            self.frame.touch_flags(frozenset({"zf"}))
            self.a.lsl(to, to)
        self.frame.touch_flags()
        self.a.arithmetic("and", to, CPU_MASK, size=4)

    def system_call(self, number: int, to: str, what: str) -> None:
        """Make a system call without arguments; rcx and r11 are kept."""
        if not self.shape.may_call:
            raise ProgramError(
                f"{what} can only be had by a system call, and none may be made there",
                code="needs-system-call",
            )
        keep = self.frame.word("r11")
        self.frame.touch("rax", "rcx", to)
        self.a.mov(keep, "r11")
        self.a.mov("rax", number)
        self.a.syscall()
        self.a.mov("r11", keep)
        self.a.mov(to, "rax", size=4)

    def _stack_argument(self, number: int, to: str) -> None:
        """Load an argument from the stack."""
        if not self.shape.at_entry or self.returning:
            raise ProgramError(
                f"argument {number} is on the stack, and only known where the function begins",
                code="no-such-value",
                hint="probe the function's first instruction",
            )
        guard.load_from_stack(self, 8 * (number - len(ARGUMENTS) + 1), 8, False, to)

    def _only_at_returns(self, what: str) -> None:
        if not self.returning:
            raise ProgramError(
                f"{what} is only known where a function returns",
                code="no-such-value",
                hint="probe its return",
            )

    # -- two values to one ----------------------------------------------------------------------

    def _binary(
        self, operator: Operator, left: Value, right: Value, signed: bool, to: str, pool: list[str]
    ) -> None:
        a = self.a
        self.frame.touch_flags()
        if operator in (Operator.LEFT, Operator.RIGHT):
            assert isinstance(right, Constant)
            self.load(left, to, pool)
            names = {Operator.LEFT: "shl", Operator.RIGHT: "sar" if signed else "shr"}
            a.shift(names[operator], to, right.value)
            return
        other: Operand | int | None = self.source(right)
        if other is None or other == to:
            # The deeper side first: fewer registers are needed at a time.
            other = _spare(pool)
            if depth(right) > depth(left):
                self.load(right, other, [to, *pool[1:]])
                self.load(left, to, pool[1:])
            else:
                self.load(left, to, pool)
                self.load(right, other, pool[1:])
        else:
            self.load(left, to, pool)
        if operator in PLAIN:
            a.arithmetic(PLAIN[operator], to, other)
        elif operator is Operator.MULTIPLY:
            if isinstance(other, int):
                a.imul(to, to, other)
            else:
                a.imul(to, other)
        else:
            self._divide(operator, to, other, right, signed)

    def _divide(
        self, operator: Operator, to: str, by: Operand | int, right: Value, signed: bool
    ) -> None:
        """Divide, rounding down."""
        a = self.a
        rest = operator is Operator.MODULO
        if isinstance(right, Constant) and right.value > 0 and not right.value & (right.value - 1):
            if not rest:
                a.shift("sar" if signed else "shr", to, right.value.bit_length() - 1)
            elif right.value <= 1 << 31:
                a.arithmetic("and", to, right.value - 1)
            else:
                self.frame.touch("rax")
                a.mov("rax", right.value - 1)
                a.arithmetic("and", to, "rax")
            return
        self.frame.touch("rax", "rcx", "rdx")
        a.mov("rcx", by)
        if not isinstance(right, Constant):
            a.test("rcx", "rcx")
            a.jump_if("e", self.fail)
        if not signed:
            a.mov("rax", to)
            a.arithmetic("xor", "rdx", "rdx", size=4)
            a.unary("div", "rcx")
            a.mov(to, "rdx" if rest else "rax")
            return
        whole, done = self.new_label(), self.new_label()
        # The least number divided by -1 does not fit, and traps.
        a.arithmetic("cmp", "rcx", -1)
        a.jump_if("ne", whole)
        if rest:
            a.mov(to, 0)
        else:
            a.unary("neg", to)
        a.jump(done)
        a.label(whole)
        a.mov("rax", to)
        a.extend_sign()
        a.unary("idiv", "rcx")
        a.mov(to, "rdx" if rest else "rax")
        a.test("rdx", "rdx")
        a.jump_if("e", done)
        a.arithmetic("xor", "rdx", "rcx")
        a.jump_if("ns", done)
        if rest:
            a.arithmetic("add", to, "rcx")
        else:
            a.arithmetic("sub", to, 1)
        a.label(done)


def _spare(pool: list[str]) -> str:
    """Return a register that is free; raises ProgramError when none is left."""
    if not pool:
        raise ProgramError(
            "the expression is nested too deeply",
            code="too-large",
            hint="each pair of brackets inside brackets needs a register more, and 12 are there",
        )
    return pool[0]


def depth(value: Value) -> int:
    """Say how deeply a value is nested."""
    match value:
        case Binary(_, left, right):
            one, two = depth(left), depth(right)
            return max(one, two) if one != two else one + 1
        case Word(base):
            return max(depth(base), 1)
        case Cast(inner) | Scaled(inner):
            return max(depth(inner), 1)
        case Constant() | Register() | Argument() | ReturnValue():
            return 0
    return 1
