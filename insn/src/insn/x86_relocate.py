"""Makes x86 code that does at another address what instructions do where they are."""

from collections.abc import Sequence
from dataclasses import replace

from insn.errors import NotRelocatable, OutOfReach
from insn.model import Fixups, Flow, Instruction, Method, Relocated
from insn.reasons import REASONS
from insn.x86_calls import pieces
from insn.x86_detail import Detail, Encoding
from insn.x86_judge import judge

_SCRATCH = {"rsi": 6, "rdi": 7, "rbx": 3}
# By flow: what the copy leaves to repair when it was single-stepped.
_FLOW_FIXUPS = {
    Flow.NEXT: Fixups.IP,
    Flow.JUMP: Fixups.IP,
    Flow.CONDITIONAL_JUMP: Fixups.IP,
    Flow.INDIRECT_JUMP: Fixups.NONE,
    Flow.CALL: Fixups.IP | Fixups.RETURN_ADDRESS,
    Flow.INDIRECT_CALL: Fixups.RETURN_ADDRESS,
    Flow.RETURN: Fixups.NONE,
    Flow.SYSTEM_CALL: Fixups.IP,
}
# By refusal class: what comes on top.
_CLASS_FIXUPS = {
    "pushes-flags": Fixups.PUSHED_TRAP_FLAG,
    "loads-flags": Fixups.LOADED_FLAGS,
    "system-call": Fixups.SYSTEM_CALL,
}
_DIRECT = frozenset({Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.CALL})
_CALLS = frozenset({Flow.CALL, Flow.INDIRECT_CALL})
_NEVER_FALLS_THROUGH = frozenset({Flow.JUMP, Flow.INDIRECT_JUMP, Flow.RETURN}) | _CALLS
_S32 = range(-(1 << 31), 1 << 31)


def _detail(instruction: Instruction) -> Detail:
    detail = instruction.detail
    assert isinstance(detail, Detail)
    return detail


def _require(instruction: Instruction, method: Method) -> None:
    why = judge(instruction).why_not(method)
    if why is not None:
        raise NotRelocatable(
            f"{instruction.name} cannot run in a copy ({method}, {why.code}): {why.why}",
            address=instruction.address,
            hint=why.hint,
        )


def near_jump(bits: int, at: int, to: int) -> bytes | None:
    """Encode the jump from `at` to `to` with a relative displacement; None when it does not
    reach."""
    if bits == 16:
        return b"\xe9" + ((to - at - 3) & 0xFFFF).to_bytes(2, "little")
    distance = to - at - 5
    if bits == 64 and distance not in _S32:
        return None
    return b"\xe9" + (distance & 0xFFFFFFFF).to_bytes(4, "little")


def _any_jump(bits: int, at: int, to: int) -> bytes:
    """Encode a jump that reaches everything and changes no register."""
    return near_jump(bits, at, to) or _far_jump(to)


def _far_jump(to: int) -> bytes:
    """Encode the jump through the eight bytes behind it: 64-bit code only, all of memory."""
    return b"\xff\x25\0\0\0\0" + (to & (1 << 64) - 1).to_bytes(8, "little")


def _displaced(instruction: Instruction, detail: Detail, at: int) -> bytes | None:
    """Copy an instruction with its RIP-relative displacement made right for `at`; None when it
    does not reach."""
    assert instruction.pc_relative is not None
    displacement = instruction.pc_relative.target - (at + detail.length)
    if detail.address_size == 4:
        # EIP-relative: the sum is cut to 32 bits, so that everything below 4 GiB is in reach.
        displacement = (displacement + (1 << 31)) % (1 << 32) - (1 << 31)
    if displacement not in _S32:
        return None
    offset = detail.displacement_offset
    field = displacement.to_bytes(4, "little", signed=True)
    return instruction.code[:offset] + field + instruction.code[offset + 4 :]


def _with_scratch(instruction: Instruction, detail: Detail) -> tuple[bytes, str]:
    """Replace RIP by a register that the instruction does not use; the displacement stays."""
    used = instruction.reads | instruction.writes
    scratch = next((name for name in _SCRATCH if name not in used), None)
    if scratch is None:
        raise OutOfReach(
            "it uses every register that could stand for the program counter",
            address=instruction.address,
            hint="choose a slot within 2 GiB of what it addresses",
        )
    code = bytearray(instruction.code)
    code[detail.modrm_offset] = 0x80 | (detail.modrm & 0x38) | _SCRATCH[scratch]
    at = detail.encoding_offset
    # The bits that would extend the base register did not count before: they must say "not
    # extended" now.
    if detail.encoding is Encoding.LEGACY:
        if at >= 0:
            code[at] &= ~1
    elif code[at] != 0xC5:
        code[at + 1] |= 0x60
    return bytes(code), scratch


def _step_copy(instruction: Instruction, to: int) -> Relocated:
    """Make the bare copy of one instruction, with what must be repaired after it was stepped."""
    _require(instruction, Method.STEP)
    detail = _detail(instruction)
    flow = detail.row.flow
    fixups = _FLOW_FIXUPS[flow] | _CLASS_FIXUPS.get(detail.row.refusal, Fixups.NONE)
    if detail.repeats:
        fixups |= Fixups.REPEATS
    code: bytes | None = instruction.code
    scratch = None
    if detail.pc_relative:
        code = _displaced(instruction, detail, to)
        if code is None:
            code, scratch = _with_scratch(instruction, detail)
            fixups |= Fixups.SCRATCH
    elif flow in _DIRECT and detail.mode == 64:
        _require_canonical(instruction, to)
    assert code is not None
    return Relocated(
        to,
        code,
        fixups,
        ((0, instruction.address), (len(code), instruction.end)),
        scratch,
        instruction.end if scratch else 0,
    )


def _require_canonical(instruction: Instruction, to: int) -> None:
    assert instruction.target is not None
    landing = (to + instruction.target - instruction.address) & (1 << 64) - 1
    if 0 < landing >> 47 < (1 << 17) - 1:
        raise NotRelocatable(
            f"the copy would branch to {landing:#x}, which is no address (step, copy-would-escape)",
            address=instruction.address,
            hint="use emulate, or a slot nearer to the original",
        )


class _Run:
    """Builds the copy of several instructions that runs freely."""

    def __init__(
        self, run: Sequence[Instruction], to: int, back: int, *, expand_calls: bool
    ) -> None:
        self.run = run
        self.to = to
        self.back = back & run[0].arch.address_mask
        self.expand_calls = expand_calls
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
        method = Method.JUMP if self.expand_calls or len(self.run) > 1 else Method.BOOST
        for instruction in self.run:
            _require(instruction, method)
            self.starts[instruction.address] = len(self.code)
            self.boundary(instruction.address)
            detail = _detail(instruction)
            if detail.row.flow in _CALLS:
                self.call(instruction, detail)
            elif detail.row.flow in _DIRECT:
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
        code = _displaced(instruction, detail, self.here())
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
            self.code += _any_jump(self.bits, self.here(), target)

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
        far = _far_jump(target)
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
        if not self.expand_calls:
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
        if _detail(instruction).operand_size * 8 != self.bits:
            raise NotRelocatable(
                "it pushes an address of another width than the code has",
                address=instruction.address,
                hint="use step",
            )
        pushed = instruction.end & instruction.arch.address_mask
        if self.bits == 64:
            self.code += b"\xff\x35\0\0\0\0"
            self.constants.append((len(self.code) - 4, pushed.to_bytes(8, "little")))
        else:
            self.code += b"\x68" + pushed.to_bytes(self.bits // 8, "little")
        self.boundary(target)
        self.jump(target)

    def indirect_call(self, instruction: Instruction, detail: Detail) -> None:
        """See `x86_calls`: each instruction of it is a place where the call has not happened."""
        for piece in pieces(instruction, detail):
            if piece.pushed:
                self.boundary(instruction.address)
                self.pushed.append((len(self.code), piece.pushed))
            self.overwrites = max(self.overwrites, piece.pushed)
            if piece.operand and detail.pc_relative:
                self.memory(replace(instruction, code=piece.code), detail)
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
    detail = _detail(instruction)
    plain = instruction.flow is Flow.NEXT and not detail.row.refusal
    return plain and instruction.pc_relative is None and not detail.apx


def relocate(
    run: Sequence[Instruction], to: int, back: int | None, expand_calls: bool
) -> Relocated:
    """Make the copy; see `insn.relocate`."""
    first = run[0]
    if back is not None:
        if len(run) == 1 and _is_plain(first):
            # Most instructions are like this: no need to build anything.
            code = first.code
            jump = _any_jump(first.arch.bits, to + len(code), back)
            boundaries = ((0, first.address), (len(code), back & first.arch.address_mask))
            return Relocated(to, code + jump, Fixups.NONE, boundaries)
        return _Run(run, to, back, expand_calls=expand_calls).build()
    if len(run) > 1:
        raise NotRelocatable(
            "only one instruction can be single-stepped at a time",
            address=first.address,
            hint="say where the copy of several instructions goes on (back=)",
        )
    return _step_copy(first, to)
