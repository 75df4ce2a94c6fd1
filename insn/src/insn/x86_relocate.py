"""Makes x86 code that does at another address what instructions do where they are."""

from collections.abc import Sequence
from dataclasses import replace

from insn.errors import NotRelocatable, OutOfReach
from insn.model import Calls, Fixups, Flow, Instruction, Method, Relocated
from insn.reasons import REASONS
from insn.x86_calls import Piece, indirect, pushes
from insn.x86_copies import DIRECT, any_jump, detail_of, displaced, far_jump, near_jump, require
from insn.x86_detail import Detail
from insn.x86_step import step_copy

_CALLS = frozenset({Flow.CALL, Flow.INDIRECT_CALL})
_NEVER_FALLS_THROUGH = frozenset({Flow.JUMP, Flow.INDIRECT_JUMP, Flow.RETURN}) | _CALLS


class _Run:
    """Builds the copy of several instructions that runs freely."""

    def __init__(self, run: Sequence[Instruction], to: int, back: int, calls: Calls) -> None:
        self.run = run
        self.to = to
        self.back = back & run[0].arch.address_mask
        self.calls = calls
        self.bits = run[0].arch.bits
        self.code = bytearray()
        self.boundaries: list[tuple[int, int]] = []
        self.starts: dict[int, int] = {}
        # (offset of the displacement, its size, original address): jumps to instructions of the
        # run itself
        self.inner: list[tuple[int, int, int]] = []
        # (offset of the displacement, constant): what is read from behind the code
        self.constants: list[tuple[int, bytes]] = []
        self.pushed: list[tuple[int, int]] = []
        self.overwrites = 0
        # A jump to the first instruction is a new visit to what replaced it: it must leave the
        # copy.
        self.inside = {instruction.address for instruction in run[1:]}

    def here(self) -> int:
        return self.to + len(self.code)

    def boundary(self, address: int) -> None:
        self.boundaries.append((len(self.code), address & self.run[0].arch.address_mask))

    def build(self) -> Relocated:
        alone = self.calls is Calls.REFUSE and len(self.run) == 1
        method = Method.BOOST if alone else Method.JUMP
        for instruction in self.run:
            require(instruction, method)
            self.starts[instruction.address] = len(self.code)
            self.boundary(instruction.address)
            detail = detail_of(instruction)
            if detail.row.flow in _CALLS:
                self.call(instruction, detail)
            elif detail.row.flow in DIRECT:
                self.branch(instruction, detail)
            elif detail.pc_relative:
                self.memory(instruction, detail)
            else:
                self.code += instruction.code
        last = self.run[-1].flow
        if last not in _NEVER_FALLS_THROUGH:
            self.boundary(self.back)
            self.jump(self.back)
        self.patch()
        return Relocated(
            self.to,
            bytes(self.code),
            Fixups.NONE,
            tuple(self.boundaries),
            pushed=tuple(self.pushed),
            overwrites=self.overwrites,
        )

    def memory(self, instruction: Instruction, detail: Detail) -> None:
        code = displaced(instruction, detail, self.here())
        if code is None:
            raise OutOfReach(
                f"{self.here():#x} cannot reach the memory that {instruction.name} addresses",
                address=instruction.address,
                hint="choose a slot within 2 GiB of what it addresses, or use step",
            )
        self.code += code

    def jump(self, target: int) -> None:
        if target in self.inside:
            size = 2 if self.bits == 16 else 4
            self.code += b"\xe9" + bytes(size)
            self.inner.append((len(self.code) - size, size, target))
        else:
            self.code += any_jump(self.bits, self.here(), target)

    def checked_target(self, instruction: Instruction) -> int:
        """Give the target of a branch; NotRelocatable when a copy cannot go there."""
        target = instruction.target
        assert target is not None
        if self.bits == 16 and target > 0xFFFF:
            raise NotRelocatable(
                f"it branches to {target:#x}, beyond the 64 KiB of a 16-bit segment",
                address=instruction.address,
                hint="use step",
            )
        first, *others = self.run
        covered = range(first.address + 1, self.run[-1].end)
        if others and target in covered and target not in self.inside:
            raise NotRelocatable(
                f"it branches to {target:#x}, into the middle of an instruction of the run",
                address=instruction.address,
                hint="displace fewer instructions",
            )
        return target

    def branch(self, instruction: Instruction, detail: Detail) -> None:
        target = self.checked_target(instruction)
        if detail.row.flow is Flow.JUMP:
            self.jump(target)
        elif detail.opcode_offset >= 0 and 0xE0 <= detail.opcode <= 0xE3:
            self.count_branch(instruction, detail, target)
        else:
            self.conditional(detail.opcode & 15, target)

    def conditional(self, condition: int, target: int) -> None:
        size = 2 if self.bits == 16 else 4
        near = near_jump(self.bits, self.here() + 1, target)
        if target in self.inside or near is not None:
            # 0f 80+c is one byte longer than e9 and ends where that would end.
            displacement = bytes(size) if near is None else near[1:]
            self.code += bytes((0x0F, 0x80 | condition)) + displacement
            if target in self.inside:
                self.inner.append((len(self.code) - size, size, target))
            return
        far = far_jump(target)
        self.code += bytes((0x70 | condition ^ 1, len(far)))
        self.boundary(target)
        self.code += far

    def count_branch(self, instruction: Instruction, detail: Detail, target: int) -> None:
        """loop and jcxz have no long form: branch over a short jump to a long one."""
        prefixes = instruction.code[: detail.opcode_offset + 1]
        self.code += prefixes + b"\x02"
        self.boundary(instruction.end)
        skip = len(self.code)
        self.code += b"\xeb\x00"
        self.boundary(target)
        self.jump(target)
        self.code[skip + 1] = len(self.code) - skip - 2

    def call(self, instruction: Instruction, detail: Detail) -> None:
        """Push the original return address, then jump."""
        if self.calls is Calls.REFUSE:
            why = REASONS["pushes-address"]
            raise NotRelocatable(why.why, address=instruction.address, hint=why.hint)
        if instruction is not self.run[-1]:
            raise NotRelocatable(
                "a call must come last: it returns to the original behind it, not into the copy",
                address=instruction.address,
                hint="end the run at the call",
            )
        if detail.row.flow is Flow.INDIRECT_CALL:
            self.indirect_call(instruction, detail)
        else:
            self.direct_call(instruction)

    def direct_call(self, instruction: Instruction) -> None:
        """Push with one instruction, so that the state behind it is already the callee's."""
        target = self.checked_target(instruction)
        if detail_of(instruction).operand_size * 8 != self.bits:
            raise NotRelocatable(
                "it pushes an address of another width than the code has",
                address=instruction.address,
                hint="use step",
            )
        self.pieces(instruction, pushes(instruction, self.calls))
        self.boundary(target)
        self.jump(target)

    def indirect_call(self, instruction: Instruction, detail: Detail) -> None:
        """See `x86_calls`: each instruction of it is a place where the call has not happened."""
        self.pieces(instruction, indirect(instruction, detail, self.calls))

    def pieces(self, instruction: Instruction, pieces: Sequence[Piece]) -> None:
        """Write instructions that stand for parts of a call."""
        begin = len(self.code)
        for piece in pieces:
            if len(self.code) > begin:
                self.boundary(instruction.address)
                if piece.pushed:
                    self.pushed.append((len(self.code), piece.pushed))
            self.overwrites = max(self.overwrites, piece.overwrites)
            if piece.operand and detail_of(instruction).pc_relative:
                self.memory(replace(instruction, code=piece.code), detail_of(instruction))
                continue
            self.code += piece.code
            if piece.constant:
                self.constants.append((len(self.code) - 4, piece.constant))

    def patch(self) -> None:
        for offset, size, target in self.inner:
            distance = self.starts[target] - (offset + size)
            self.code[offset : offset + size] = distance.to_bytes(size, "little", signed=True)
        for offset, constant in self.constants:
            distance = len(self.code) - (offset + 4)
            self.code[offset : offset + 4] = distance.to_bytes(4, "little")
            self.code += constant


def _is_plain(instruction: Instruction) -> bool:
    """Tell whether a copy of the instruction does the same anywhere."""
    detail = detail_of(instruction)
    plain = instruction.flow is Flow.NEXT and not detail.row.refusal
    return plain and instruction.pc_relative is None and not detail.apx


def relocate(run: Sequence[Instruction], to: int, back: int | None, calls: Calls) -> Relocated:
    """Make the copy; see `insn.relocate`."""
    first = run[0]
    if back is not None:
        if len(run) == 1 and _is_plain(first):
            # Most instructions are like this: no need to build anything.
            code = first.code
            jump = any_jump(first.arch.bits, to + len(code), back)
            boundaries = ((0, first.address), (len(code), back & first.arch.address_mask))
            return Relocated(to, code + jump, Fixups.NONE, boundaries)
        return _Run(run, to, back, calls).build()
    if len(run) > 1:
        raise NotRelocatable(
            "only one instruction can be single-stepped at a time",
            address=first.address,
            hint="say where the copy of several instructions goes on (back=)",
        )
    return step_copy(first, to)
