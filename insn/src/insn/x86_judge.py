"""Judges x86 instructions: which methods may not be used, by the refusal class of the row and by
its flow."""

from types import MappingProxyType

from insn.model import Flow, Instruction, Method, Reason, Verdict
from insn.reasons import ALL_METHODS, REASONS
from insn.x86_detail import Detail
from insn.x86_emulate import is_emulated

_IN_SLOT = (Method.STEP, Method.BOOST, Method.TRAP, Method.JUMP)
_FREE_COPY = (Method.BOOST, Method.TRAP, Method.JUMP)

# Refusal class of a row -> methods it rules out, and the reason code to give.
_CLASSES: dict[str, tuple[tuple[Method, ...], str]] = {
    "": ((), ""),
    "trap-instruction": (ALL_METHODS, "trap-instruction"),
    "always-faults": (ALL_METHODS, "always-faults"),
    "privileged": (ALL_METHODS, "privileged"),
    "port-io": (ALL_METHODS, "port-io"),
    "far-transfer": (ALL_METHODS, "far-transfer"),
    "enclave": (ALL_METHODS, "enclave"),
    "apx": (ALL_METHODS, "apx"),
    "vendor-dependent": (ALL_METHODS, "vendor-dependent"),
    "masks-trap": ((Method.INLINE, Method.STEP), "masks-trap"),
    "pushes-flags": ((), ""),
    "loads-flags": (_FREE_COPY, "loads-flags"),
    "system-call": (_FREE_COPY, "system-call"),
    "system-call-interrupt": (_FREE_COPY, "system-call"),
    "returns-elsewhere": (_IN_SLOT, "returns-elsewhere"),
    "xbegin": ((Method.INLINE, *_IN_SLOT), "xbegin"),
}
# A call may still run in a trampoline, which pushes the original return address itself.
_FLOWS: dict[Flow, tuple[tuple[Method, ...], str]] = {
    Flow.CALL: ((Method.BOOST,), "pushes-address"),
    Flow.INDIRECT_CALL: ((Method.BOOST,), "pushes-address"),
}
_BY_IP_16 = frozenset({Flow.JUMP, Flow.CONDITIONAL_JUMP, Flow.CALL, Flow.INDIRECT_CALL})

_known: dict[tuple[str, Flow, bool, bool], MappingProxyType[Method, Reason]] = {}


def _refusals(
    refusal: str, flow: Flow, emulated: bool, short_ip: bool
) -> MappingProxyType[Method, Reason]:
    found: dict[Method, Reason] = {}
    if not emulated:
        found[Method.EMULATE] = REASONS["not-emulated"]
    if short_ip:
        found.update(dict.fromkeys(_IN_SLOT, REASONS["reads-own-address"]))
    for methods, code in (_FLOWS.get(flow, ((), "")), _CLASSES[refusal]):
        found.update(dict.fromkeys(methods, REASONS[code]) if methods else {})
    return MappingProxyType({method: found[method] for method in Method if method in found})


_by_code: dict[tuple[int, bytes], MappingProxyType[Method, Reason]] = {}
_KEPT = 1 << 16


def judge(instruction: Instruction) -> Verdict:
    """Tell for each method whether it may be used on the instruction, and if not, why."""
    key = (instruction.arch.bits, instruction.code)
    refusals = _by_code.get(key)
    if refusals is None:
        if len(_by_code) >= _KEPT:
            _by_code.clear()
        refusals = _by_code[key] = _judge(instruction)
    return Verdict(instruction, refusals)


def _judge(instruction: Instruction) -> MappingProxyType[Method, Reason]:
    detail = instruction.detail
    assert isinstance(detail, Detail)
    refusal = detail.row.refusal
    if detail.unsettled:
        refusal = "vendor-dependent"
    if detail.apx:
        refusal = "apx"
    flow = detail.row.flow
    # A 16-bit operand size cuts the program counter of 32-bit code to 16 bits: a copy cannot be
    # repaired.
    short_ip = flow in _BY_IP_16 and detail.mode == 32 and detail.operand_size == 2
    key = (refusal, flow, is_emulated(detail), short_ip)
    refusals = _known.get(key)
    if refusals is None:
        refusals = _known[key] = _refusals(*key)
    return refusals
