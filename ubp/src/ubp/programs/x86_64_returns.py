"""Programs of returns as x86-64 machine code; the table of calls under way stands in `returns`.

The entry's code takes the return address off the stack and *calls* the function: so the CPU's
prediction of returns, and a shadow stack, agree with what happens. Behind that call stands the code
of the return, which puts the real return address back and returns to it:

    [seldom run] entry: count, condition, claim an entry of the table, fill it
                 lea rsp, [rsp+8]; call 1f
           hook: find the entry, condition, actions, original to its place, release; ret
              1: (the displaced instructions follow)

Parts of the condition that need only arguments and the thread's number are judged at the entry: a
call that they rule out costs no more. All else, and memory, is looked at when the function returns.

A second entry at a place that has one: if the return address there is a hook (`MARK` stands where
it leads to), the call is a tail call, and gets an entry too (unless the function calls itself so:
`chained`); if not, the entries at that place were left behind by longjmp or an exception, and are
given up. A tail call from a function whose entry is in another table is known by the mark too.
"""

from collections.abc import Iterable

from ubp.programs import x86_64_actions as act
from ubp.programs import x86_64_guard as guard
from ubp.programs.cells import Cells, cells_of
from ubp.programs.conditions import And, Condition
from ubp.programs.errors import ProgramError
from ubp.programs.placement import NOTHING_DEAD
from ubp.programs.returns import (
    HOOK,
    ORIGINAL,
    PLACES_SIZE,
    SAVED,
    THREAD,
    TIME,
    WAYS,
    TableLayout,
)
from ubp.programs.shape import Shape
from ubp.programs.values import Argument, Binary, Cast, Constant, Elapsed, Scaled, Tid, Time
from ubp.programs.walk import Part, values_of, values_of_action
from ubp.programs.x86_64_calls import MARK, Claim, find_bucket
from ubp.programs.x86_64_frame import Frame, Used
from ubp.programs.x86_64_template import registers_of
from ubp.programs.x86_64_values import ARGUMENTS, Values
from ubp.x86_assembler import Assembler, Mem

AT_ENTRY = (Argument, Tid, Constant, Binary, Cast, Scaled)
"""What a part of the condition may be made of to be judged at the entry."""
BACK = "back"
"""The word on the stack that holds where the entry's place word is."""


def split(condition: Condition | None) -> tuple[Condition | None, Condition | None]:
    """Part a condition into what can be judged at the entry, and the rest."""
    parts = condition.parts if isinstance(condition, And) else (condition,) if condition else ()
    early = [p for p in parts if all(isinstance(value, AT_ENTRY) for value in values_of(p))]
    late = [p for p in parts if p not in early]
    return _joined(early), _joined(late)


def _joined(parts: list[Condition]) -> Condition | None:
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


class ReturnProgram:
    """The code of one shape, attempted with what two earlier attempts used."""

    def __init__(self, shape: Shape, expected: tuple[Used, ...]) -> None:
        if shape.table_layout is None:
            raise ProgramError(
                "a program of returns needs a table of calls",
                code="no-table",
                hint="give Placement a table and its layout",
            )
        if not shape.at_entry:
            raise ProgramError(
                "a return address is only known to be there at a function's first instruction",
                code="no-such-value",
                hint="probe the function's entry",
            )
        program = shape.program
        self.shape = shape
        self.program = program
        self.table: TableLayout = shape.table_layout
        self.layout: Cells = cells_of(program, returns=True)
        self.early, self.late = split(program.when)
        used = list(values_of(self.late))
        for action in program.actions:
            used += values_of_action(action)
        self.saved = sorted(
            {value for value in used if isinstance(value, Argument)}, key=lambda a: a.number
        )
        if len(self.saved) > self.table.saved:
            raise ProgramError(
                f"{len(self.saved)} arguments of a call cannot be kept until it returns",
                code="too-large",
                hint=f"at most {self.table.saved} with this table; entries of 128 bytes keep 12",
            )
        self.timed = any(isinstance(value, Elapsed) for value in used)
        self.stamped = self.timed or any(isinstance(value, Time) for value in used)
        self.a = Assembler()
        self.entry = Frame(
            self.a, shape.dead, _read([*self.saved, *values_of(self.early)]), expected[0]
        )
        at_return = [value for value in used if not isinstance(value, Argument)]
        self.back = Frame(self.a, NOTHING_DEAD, _read(at_return), expected[1])
        self.marks: list[int] = []

    @property
    def used(self) -> tuple[Used, ...]:
        """What both parts used."""
        return self.entry.used, self.back.used

    def emit(self) -> None:
        """Put all of it into the assembler."""
        a = self.a
        entering = Values(a, self.entry, self.shape, "e")
        self._enter(entering)
        a.lea("rsp", Mem("rsp", 8))
        a.call("function")
        a.label("hook")
        a.raw(MARK.to_bytes(8, "little"))
        returning = Values(a, self.back, self.shape, "r")
        returning.returning = True
        self._return(returning)
        a.label("function")
        a.begin_cold()
        self.entry.emit_cold()
        self.back.emit_cold()
        guard.emit(a, entering.routines | returning.routines)

    # -- the entry ------------------------------------------------------------------------------

    def _enter(self, values: Values) -> None:
        a, frame, program, layout = self.a, self.entry, self.program, self.layout
        frame.begin()
        act.increment(values, layout.hits)
        if program.limit is not None:
            act.below_limit(values, program.limit, layout.passed, "skip")
        if self.early is not None:
            act.filter_(values, self.early, layout.faults, "skip")
        if layout.matched is not None and self.late is None:
            act.sample(values, program.sample, layout.matched, "skip")

        def skip() -> None:
            a.label("skip")
            frame.end()
            a.jump("function")

        frame.cold(skip)
        frame.begin_late()

        def leave() -> None:
            a.label("leave")
            frame.end_late()
            frame.end()
            a.jump("function")

        frame.cold(leave)
        claim = Claim(values, self.table, layout)
        claim.emit()
        self._fill(values, claim)
        frame.end_late()
        frame.end()

    def _fill(self, values: Values, claim: Claim) -> None:
        a = self.a
        entry = claim.entry
        a.mov("rax", Mem(claim.place))
        a.mov(Mem(entry, ORIGINAL), "rax")
        a.lea_label("rax", "hook")
        a.mov(Mem(entry, HOOK), "rax")
        if self.shape.tid_offset is not None:
            values.tid("rax")
            a.mov(Mem(entry, THREAD), "rax", size=4)
        else:
            a.mov(Mem(entry, THREAD), 0, size=4)
        for number, argument in enumerate(self.saved):
            self._keep(values, argument, Mem(entry, SAVED + 8 * number))
        if self.timed:
            a.rdtsc()
            a.mov(Mem(entry, TIME), "rax", size=4)
            a.mov(Mem(entry, TIME + 4), "rdx", size=4)
        else:
            a.mov(Mem(entry, TIME), 0)

    def _keep(self, values: Values, argument: Argument, where: Mem) -> None:
        """Keep an argument for the return; one on a stack that is not there as 0."""
        a, layout = self.a, self.layout
        values.fail = failed = values.new_label()
        done = values.new_label()
        register, _ = values.registers(argument, values.frame.pool())
        a.mov(where, register)
        a.label(done)
        values.fail = ""
        if argument.number < len(ARGUMENTS):
            return

        def cold() -> None:
            a.label(failed)
            act.increment(values, layout.faults or 0)
            a.mov(where, 0)
            a.jump(done)

        values.frame.cold(cold)

    # -- the return -----------------------------------------------------------------------------

    def _return(self, values: Values) -> None:
        a, frame, program, layout = self.a, self.back, self.program, self.layout
        frame.begin()
        entry = self._find(values)
        for number, argument in enumerate(self.saved):
            values.kept[argument] = Mem(entry, SAVED + 8 * number)
        values.kept[Elapsed()] = Mem(entry, TIME)
        values.kept[Time()] = Mem(entry, THREAD)
        over, done = "passed over", "done"
        if self.late is not None:
            if program.limit is not None:
                act.below_limit(values, program.limit, layout.passed, done)
            act.filter_(values, self.late, layout.faults, done)
            if layout.matched is not None:
                act.sample(values, program.sample, layout.matched, done)
        frame.begin_late()
        act.pass_(values, program, layout, over)
        self.marks = act.actions(values, program, layout)
        a.label(over)
        frame.end_late()
        a.label(done)
        frame.touch("rax", "rcx")
        a.mov("rax", Mem(entry, ORIGINAL))
        a.mov(Mem("rsp", frame.depth - 8), "rax")
        a.mov("rcx", frame.word(BACK))
        a.mov(Mem("rcx"), 0)
        frame.end(keep=8)
        a.ret()

    def _went_back(self) -> None:
        """The clocks of two CPUs differ by more than the call took: it took no time."""
        self.a.label("went back")
        self.a.mov("rcx", 0)
        self.a.jump("elapsed")

    def _find(self, values: Values) -> str:
        """Return the register with the entry's address; its clock is read."""
        a, frame = self.a, self.back
        entry, bucket, place = frame.pool()[:3]
        frame.touch("rax", "rcx", "rdx", entry, bucket, place)
        frame.touch_flags()
        if self.stamped:
            values.clock("rax")
            # bits 32 and up of the hash take rax: the time waits in rcx.
            a.mov("rcx", "rax")
        a.lea(place, Mem("rsp", frame.depth - 8))
        find_bucket(a, self.table, place, bucket)
        a.lea(entry, Mem(bucket, PLACES_SIZE))
        a.lea_label("rax", "hook")
        a.arithmetic("cmp", Mem(bucket), place)
        a.jump_if("ne", "search")
        a.arithmetic("cmp", Mem(entry, HOOK), "rax")
        a.jump_if("ne", "search")
        a.label("found")
        a.mov(frame.word(BACK), bucket)
        if self.stamped:
            a.mov(Mem(entry, THREAD), "rcx")
        if self.timed:
            a.arithmetic("sub", "rcx", Mem(entry, TIME))
            a.jump_if("b", "went back")
            a.label("elapsed")
            a.mov(Mem(entry, TIME), "rcx")
            frame.cold(self._went_back)
        frame.reserved.add(entry)

        def search() -> None:
            a.label("search")
            a.lea("rdx", Mem(bucket, 8 * WAYS))
            a.label("next way")
            a.arithmetic("add", entry, self.table.entry_size)
            a.arithmetic("add", bucket, 8)
            a.arithmetic("cmp", bucket, "rdx")
            a.jump_if("e", "nowhere")
            a.arithmetic("cmp", Mem(bucket), place)
            a.jump_if("ne", "next way")
            a.arithmetic("cmp", Mem(entry, HOOK), "rax")
            a.jump_if("ne", "next way")
            a.jump("found")
            a.label("nowhere")
            a.int3()

        frame.cold(search)
        return entry


def _read(parts: Iterable[Part]) -> frozenset[str]:
    return frozenset[str]().union(*(registers_of(part) for part in parts))
