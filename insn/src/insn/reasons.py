"""Why a method may not be used on an instruction: every reason code of the package, with its
sentence and a hint."""

from insn.model import Method, Reason

_TABLE = {
    "trap-instruction": (
        "it raises a trap of its own, which cannot be told from a breakpoint",
        "probe the instruction before or after it",
    ),
    "always-faults": (
        "it always raises an invalid-opcode fault",
        "probe the instruction before it",
    ),
    "privileged": (
        "only the kernel may execute it, so the program faults here",
        "probe the instruction before it",
    ),
    "port-io": (
        "it accesses an I/O port, which faults without a permission that few programs have",
        "probe the instruction before it",
    ),
    "far-transfer": (
        "it loads a code segment together with the program counter",
        "probe the instruction before it, or the target",
    ),
    "enclave": (
        "it enters an enclave, which records where it was entered from",
        "probe the instruction before or after it",
    ),
    "apx": (
        "it is encoded with APX prefixes, whose registers are not handled",
        "probe the instruction before or after it",
    ),
    "vendor-dependent": (
        "CPU makers give these bytes different lengths or meanings",
        "probe the instruction before it",
    ),
    "masks-trap": (
        "it holds back the trap after it, so that a step does not end here",
        "use boost",
    ),
    "loads-flags": (
        "it may load the trap flag, which would then trap on the jump behind the copy",
        "use emulate or step",
    ),
    "system-call": (
        "the kernel records the address of the copy, and a thread it creates would begin there",
        "use step or inline",
    ),
    "returns-elsewhere": (
        "the kernel returns from it to an address of its own choice, not behind the copy",
        "use inline, or probe the instruction after it",
    ),
    "xbegin": (
        "it begins a transaction, which ends at the first stop",
        "use emulate (the transaction aborts at once), or probe the fallback path",
    ),
    "pushes-address": (
        "it pushes the address behind itself, which for a copy is inside the slot",
        "use emulate or step",
    ),
    "reads-own-address": (
        "what it does depends on its own address in a way that a copy cannot repeat",
        "use emulate or inline",
    ),
    "not-emulated": (
        "its work is not done on the registers alone",
        "use boost or step",
    ),
    "copy-would-escape": (
        "the same displacement from the copy leads to an address that the CPU refuses",
        "use emulate, or a slot nearer to the original",
    ),
    "not-supported": (
        "this method is not implemented for this architecture",
        "",
    ),
}  # fmt: skip

REASONS: dict[str, Reason] = {code: Reason(code, why, hint) for code, (why, hint) in _TABLE.items()}

ALL_METHODS = tuple(Method)


def reason(code: str) -> Reason:
    """Look up a reason by its stable code; KeyError when there is none."""
    return REASONS[code]
