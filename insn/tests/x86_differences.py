"""The examined differences between the x86 rows and other decoders: who, what, and why.

What capstone does not decode, or decodes otherwise, is listed in `insn.second_known`, since
`decode` asks for it. Here stand the others: iced-x86, Zydis and objdump; and what capstone alone
decodes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from insn import Flow, Instruction
from insn.x86_layout import PREFIX_KINDS, REX
from insn.x86_row import Space


@dataclass(frozen=True)
class Case:
    """A byte string, and what the rows and another decoder say of it (None, "": no instruction)."""

    code: bytes
    mode: int
    ours: Instruction | None
    name: str

    @property
    def prefixes(self) -> bytes:
        """All legacy and REX prefixes that lead."""
        kinds, count = PREFIX_KINDS[self.mode], 0
        while count < len(self.code) and kinds[self.code[count]]:
            count += 1
        return self.code[:count]

    @property
    def rest(self) -> bytes:
        """What stands behind the prefixes."""
        return self.code[len(self.prefixes) :]

    @property
    def row(self) -> str:
        """The first name of the row."""
        return self.ours.detail.row.names[0] if self.ours else ""

    @property
    def is_apx(self) -> bool:
        """Whether only a CPU with APX runs it."""
        return self.ours is not None and self.ours.detail.apx

    def within(self, *spaces: Space) -> bool:
        """Tell whether the row stands in one of these opcode maps."""
        return self.ours is not None and self.ours.detail.row.space in spaces


class Named(NamedTuple):
    """One examined difference: a name, the reason, and which cases it covers."""

    name: str
    reason: str
    covers: Callable[[Case], bool]


def _rows(names: str) -> Callable[[Case], bool]:
    listed = frozenset(names.split())
    return lambda case: case.row in listed


PADLOCK = _rows(
    "montmul xcryptcbc xcryptcfb xcryptctr xcryptecb xcryptofb xsha1 xsha256 xsha512 xstore"
    " via_undocumented ccs_encrypt ccs_hash"
)
NEW_AFTER_2022 = _rows(
    """aadd aand aor axor urdmsr uwrmsr lkgs wrmsrns rdmsrlist wrmsrlist pbndkb rmpquery rmpread
    cmpbexadd cmpbxadd cmplexadd cmplxadd cmpnbexadd cmpnbxadd cmpnlexadd cmpnlxadd
    cmpnoxadd cmpnpxadd cmpnsxadd cmpnzxadd cmpoxadd cmppxadd cmpsxadd cmpzxadd
    tdpfp16ps tcmmimfp16ps tcmmrlfp16ps vbcstnebf162ps vbcstnesh2ps vcvtneebf162ps vcvtneeph2ps
    vcvtneobf162ps vcvtneoph2ps vcvtneps2bf16 vpdpbssd vpdpbssds vpdpbsud vpdpbsuds vpdpbuud
    vpdpbuuds vpdpwsud vpdpwsuds vpdpwusd vpdpwusds vpdpwuud vpdpwuuds vpmadd52huq vpmadd52luq
    vsha512msg1 vsha512msg2 vsha512rnds2 vsm3msg1 vsm3msg2 vsm3rnds2 vsm4key4 vsm4rnds4
    prefetchit0 prefetchit1 erets eretu"""
)

APX = Named("apx", "APX: recognised by the rows, so that it is refused by name", lambda c: c.is_apx)

# What the rows decode and another decoder does not.
SILENT: dict[str, tuple[Named, ...]] = {
    "iced": (
        APX,
        Named("newer", "added to the CPUs after iced-x86 1.21", _rows("urdmsr uwrmsr jmpabs")),
        Named(
            "padlock-multiply", "iced-x86 wants rm = 0 and no address-size prefix", _rows("montmul")
        ),
    ),
    "zydis": (
        APX,
        Named("newer", "added to the CPUs after Zydis 4.0 (2022)", NEW_AFTER_2022),
        Named(
            "w-outside-64",
            "EVEX.W of a general register outside of 64-bit mode, which the CPU ignores",
            lambda c: c.mode != 64 and c.within(Space.EVEX1, Space.EVEX5) and c.rest[2] >= 0x80,
        ),
        Named("padlock", "VIA PadLock with other rm fields, which the CPU ignores", PADLOCK),
        Named(
            "mpx-operands",
            "Zydis checks the operands of MPX; CPUs that have left it out do nothing",
            _rows("reservednop"),
        ),
    ),
    "objdump": (
        APX,
        Named("newer", "added to the CPUs after binutils 2.40", NEW_AFTER_2022),
        Named("padlock", "VIA PadLock with other rm fields, which the CPU ignores", PADLOCK),
        Named(
            "mpx-operands",
            "objdump checks the operands of MPX; CPUs that have left it out do nothing",
            _rows("reservednop"),
        ),
        Named(
            "x87-alias",
            "undocumented encodings that every CPU executes",
            _rows("fcom fcomp fstp fstpnce fxch salc ffreep"),
        ),
        Named(
            "ignored-prefix",
            "F2, F3 or 66 before it, which the CPU ignores",
            lambda c: c.within(Space.TWO) and bool(set(c.prefixes) & {0x66, 0xF2, 0xF3}),
        ),
        Named(
            "ignored-bits",
            "fences with any rm; fields of VEX and EVEX that the CPU ignores",
            lambda c: (
                c.row in ("lfence", "mfence", "sfence") or c.ours.code[0] in (0xC4, 0xC5, 0x62)
            ),
        ),
    ),
}

_KNC = ("jk", "k", "tzcnt", "lzcnt", "popcnt", "clevict", "delay", "spflt", "v")

# What another decoder decodes and the rows do not.
TDX = Named(
    "64-bit-only",
    "instructions of TDX outside of 64-bit mode: #UD",
    lambda c: c.mode != 64 and c.rest[:2] == b"\x0f\x01" and c.rest[2] in range(0xCC, 0xD0),
)

ALONE: dict[str, tuple[Named, ...]] = {
    "iced": (TDX,),
    "zydis": (
        TDX,
        Named(
            "prefix-not-allowed",
            "66 beside the F3 of ptwrite, F2 or F3 before rdpru: #UD",
            lambda c: c.name in ("ptwrite", "rdpru") and bool(set(c.prefixes) & {0x66, 0xF2, 0xF3}),
        ),
        Named(
            "knc",
            "Knights Corner, a coprocessor whose vector instructions no other CPU has",
            lambda c: c.rest[:1] in (b"\xc4", b"\xc5", b"\x62") and c.name.startswith(_KNC),
        ),
    ),
    "capstone": (
        Named("lock", "LOCK before what cannot be locked: #UD", lambda c: 0xF0 in c.prefixes),
        Named(
            "vector-fields",
            "fields of VEX, EVEX and XOP that are reserved, or name no register: #UD",
            lambda c: c.rest[:1] in (b"\xc4", b"\xc5", b"\x62", b"\x8f"),
        ),
        Named(
            "mandatory-prefix",
            "66, F2 or F3 makes it another instruction, which there is not: #UD",
            lambda c: c.rest[:1] == b"\x0f" and bool(set(c.prefixes) & {0x66, 0xF2, 0xF3}),
        ),
        Named(
            "mandatory-prefix-absent",
            "67 taken for the 66 that movdir64b must have: #UD",
            lambda c: c.name == "movdir64b" and 0x67 in c.prefixes,
        ),
        Named(
            "no-such-register",
            "control, debug or segment registers that there are not, and writing cs: #UD",
            lambda c: (
                c.rest[0] == 0x8E or (c.rest[0] == 0x0F and c.rest[1] in (0x20, 0x21, 0x22, 0x23))
            ),
        ),
        Named(
            "padlock",
            "VIA PadLock without F3: #UD",
            lambda c: c.rest[:2] in (b"\x0f\xa6", b"\x0f\xa7"),
        ),
        Named("64-bit-only", "swapgs outside 64-bit mode: #UD", lambda c: c.name == "swapgs"),
    ),
}

# What another decoder calls the flow of these rows, and why the rows call it otherwise.
FLOWS: dict[str, dict[str, str]] = {
    "zydis": {
        "iret": "a return from an interrupt is far",
        "iretd": "the same",
        "iretq": "the same",
        "bound": "goes on, unless it traps",
        "ud0": "a trap that programs use on purpose",
        "ud1": "the same",
        "ud2": "the same",
        "xabort": "does nothing outside of a transaction",
        "xend": "the same",
        "int": "int 80 is a system call of Linux",
    },
    "iced": {
        "xabort": "does nothing outside of a transaction",
        "xend": "the same",
    },
}


def explain(listed: tuple[Named, ...], case: Case) -> str | None:
    """Name the difference that covers a case, or None."""
    return next((named.name for named in listed if named.covers(case)), None)


def explains_flow(decoder: str, ours: Instruction, theirs: Flow | None) -> bool:
    """Tell whether the rows and another decoder agree on the flow, or why not is known.

    What is refused anyway need not agree.
    """
    return ours.flow is theirs or ours.name in FLOWS[decoder] or bool(ours.detail.row.refusal)


def explains_target(decoder: str, ours: Instruction) -> bool:
    """Tell whether it is known why another decoder computes another address."""
    # MPX ignored 67 in 64-bit mode; where it has been left out, nothing is addressed.
    return decoder == "zydis" and ours.name == "reservednop" and ours.detail.address_size == 4


def explains_length(ours: Instruction, listed: bytes) -> bool:
    """Tell whether it is known why objdump lists other bytes for an instruction."""
    # A REX prefix that another prefix follows stands on a line of its own. 66 before a near branch
    # is read as AMD does.
    return _only_prefixes(listed, ours.detail.mode) or ours.detail.unsettled


def _only_prefixes(code: bytes, mode: int) -> bool:
    """Tell whether all of these bytes are prefixes: objdump lists a REX that another follows so."""
    kinds = PREFIX_KINDS[mode]
    return bool(code) and all(kinds[byte] for byte in code) and kinds[code[-1]] == REX
