"""The examined differences between the rows and capstone 5: where, what, and why the rows are
right.

`silent` entries are instructions that capstone does not decode at all; the others it decodes to
another length.
"""

from typing import NamedTuple

from insn.model import Flow
from insn.x86_detail import Detail, Encoding
from insn.x86_row import Space


class Known(NamedTuple):
    """One examined difference: it covers the rows of these maps with these names (none: all of
    them).

    Where `beside` is given, only behind prefixes of which at least one is in each of its sets.
    """

    name: str
    reason: str
    silent: bool
    spaces: frozenset[Space]
    names: frozenset[str] = frozenset()
    modes: frozenset[int] = frozenset((16, 32, 64))
    beside: tuple[frozenset[int], ...] = ()

    def covers(self, detail: Detail, prefixes: bytes, *, silent: bool) -> bool:
        """Tell whether the difference met is this one."""
        return (
            silent == self.silent
            and detail.mode in self.modes
            and detail.row.space in self.spaces
            and (not self.names or detail.row.names[0] in self.names)
            and not any(some.isdisjoint(prefixes) for some in self.beside)
        )


def _known(
    name: str,
    reason: str,
    *spaces: Space,
    names: str = "",
    silent: bool = True,
    modes: tuple[int, ...] = (16, 32, 64),
    beside: tuple[bytes, ...] = (),
) -> Known:
    return Known(
        name,
        reason,
        silent,
        frozenset(spaces),
        frozenset(names.split()),
        frozenset(modes),
        tuple(map(frozenset, beside)),
    )


KNOWN = (
    _known(
        "newer-system",
        "system and user instructions added after capstone 5",
        Space.TWO,
        names="""ccs_encrypt ccs_hash clrssbsy invlpgb lkgs pbndkb psmash pvalidate rdmsrlist
        rdpru rmpadjust rmpquery rmpupdate seamcall seamops seamret senduipi serialize
        tdcall testui tlbsync uiret via_undocumented wrmsrlist wrmsrns xresldtrk xsha512
        xsusldtrk""",
    ),
    _known(
        "newer-three-byte",
        "Key Locker, ENQCMD, RAO-INT, USER_MSR and HRESET",
        Space.THREE_38,
        Space.THREE_3A,
        names="""aadd aand aor axor aesdec128kl aesdec256kl aesdecwide128kl aesdecwide256kl
        aesenc128kl aesenc256kl aesencwide128kl aesencwide256kl encodekey128
        encodekey256 enqcmd enqcmds loadiwkey urdmsr uwrmsr hreset""",
    ),
    _known(
        "newer-vex",
        "AMX, CMPccXADD, AVX-VNNI, AVX-IFMA, AVX-NE-CONVERT, SHA512, SM3, SM4 and USER_MSR",
        Space.VEX2,
        Space.VEX3,
        Space.VEX7,
        names="""cmpbexadd cmpbxadd cmplexadd cmplxadd cmpnbexadd cmpnbxadd cmpnlexadd cmpnlxadd
        cmpnoxadd cmpnpxadd cmpnsxadd cmpnzxadd cmpoxadd cmppxadd cmpsxadd cmpzxadd
        ldtilecfg sttilecfg tcmmimfp16ps tcmmrlfp16ps tdpbf16ps tdpbssd tdpbsud tdpbusd
        tdpbuud tdpfp16ps tileloadd tileloaddt1 tilerelease tilestored tilezero
        vbcstnebf162ps vbcstnesh2ps vcvtneebf162ps vcvtneeph2ps vcvtneobf162ps
        vcvtneoph2ps vcvtneps2bf16 vpdpbssd vpdpbssds vpdpbsud vpdpbsuds vpdpbusd
        vpdpbusds vpdpbuud vpdpbuuds vpdpwssd vpdpwssds vpdpwsud vpdpwsuds vpdpwusd
        vpdpwusds vpdpwuud vpdpwuuds vpmadd52huq vpmadd52luq vsha512msg1 vsha512msg2
        vsha512rnds2 vsm3msg1 vsm3msg2 vsm3rnds2 vsm4key4 vsm4rnds4 urdmsr uwrmsr""",
    ),
    _known("newer-fp16", "AVX512-FP16", Space.EVEX5, Space.EVEX6),
    _known(
        "newer-evex",
        "AVX512-FP16, AVX512-BF16 and VP2INTERSECT",
        Space.EVEX2,
        Space.EVEX3,
        names="""vcvtne2ps2bf16 vcvtneps2bf16 vdpbf16ps vp2intersectd vp2intersectq vcmpph vcmpsh
        vfpclassph vfpclasssh vgetmantph vgetmantsh vreduceph vreducesh vrndscaleph
        vrndscalesh""",
    ),
    _known(
        "x87-alias",
        "undocumented encodings that every CPU executes",
        Space.ONE,
        names="fcom fcomp fstp fxch",
    ),
    _known("movsxd-32", "movsxd without REX.W under a prefix", Space.ONE, names="movsxd"),
    _known("pause", "pause after 67 in 16-bit code", Space.ONE, names="xchg", modes=(16,)),
    _known(
        "hint",
        "the hint space: no-operations until a CPU gives one a meaning",
        Space.TWO,
        names="reservednop prefetch",
    ),
    _known(
        "padlock",
        "VIA PadLock with other rm fields",
        Space.TWO,
        names="montmul xcryptcbc xcryptcfb xcryptctr xcryptecb xcryptofb xsha1 xsha256 xstore",
    ),
    _known(
        "prefix-combination",
        "66 or F2 beside a mandatory prefix, which the CPU ignores; fences with any rm",
        Space.TWO,
        names="""bsf bsr incssp ptwrite umonitor umwait tpause rdfsbase rdgsbase wrfsbase
        wrgsbase lfence mfence sfence""",
    ),
    _known(
        "prefix-order",
        "F2 or F3 beside 66 or 67: capstone knows some orders only, to the CPU they are all one",
        Space.ONE,
        Space.TWO,
        Space.THREE_38,
        Space.THREE_3A,
        Space.NOW,
        beside=(b"\xf2\xf3", b"\x66\x67"),
    ),
    _known(
        "ignored-bits-vex",
        "fields that the CPU ignores: W, B, the upper bit of a mask register",
        Space.VEX1,
        Space.VEX2,
        Space.VEX3,
        names="""kaddb kaddd kaddq kaddw kandb kandd kandnb kandnd kandnq kandnw kandq kandw
        kmovb kmovd kmovq kmovw knotb knotd knotq knotw korb kord korq kortestb kortestd
        kortestq kortestw korw ktestb ktestd ktestq ktestw kunpckbw kunpckdq kunpckwd
        kxnorb kxnord kxnorq kxnorw kxorb kxord kxorq kxorw vpextrw vpinsrw vpackusdw
        vphsubd kshiftlb kshiftld kshiftlq kshiftlw kshiftrb kshiftrd kshiftrq kshiftrw
        vpcmpistri vpcmpistrm vpcmpestri vpcmpestrm vpextrb vpinsrb""",
    ),
    _known(
        "ignored-bits-evex",
        "fields that the CPU ignores: vector length of scalars, W, extensions of a mask",
        Space.EVEX1,
        Space.EVEX2,
        Space.EVEX3,
        names="""vcmpsd vcmpss vcvtdq2pd vcvtsd2si vcvtsd2usi vcvtss2si vcvtss2usi vcvttsd2si
        vcvttsd2usi vcvttss2si vcvttss2usi vcvtudq2pd vcvtusi2sd vpextrw vpsllw vpsraw
        vpsrlw v4fmaddss v4fnmaddss vgetexpsd vgetexpss vpbroadcastmb2q vpbroadcastmw2d
        vpmovm2b vpmovm2d vpmovm2q vpmovm2w vrcp14sd vrcp14ss vrcp28sd vrcp28ss
        vrsqrt14sd vrsqrt14ss vrsqrt28sd vrsqrt28ss vscalefsd vscalefss vfpclasssd
        vfpclassss vpalignr vrndscalesd vrndscaless""",
    ),
    _known(
        "mandatory-66-in-16-bit",
        "capstone takes a mandatory 66 for an operand size in 16-bit code",
        Space.TWO,
        Space.THREE_38,
        Space.THREE_3A,
        modes=(16,),
    ),
    _known(
        "mandatory-66-in-16-bit",
        "capstone takes a mandatory 66 for an operand size in 16-bit code",
        Space.TWO,
        names="extrq insertq",
        silent=False,
        modes=(16,),
    ),
    _known(
        "dword-in-16-bit",
        "the immediate of these has 32 bits in 16-bit code too",
        Space.XOPA,
        silent=False,
        modes=(16,),
    ),
    _known(
        "ud-modrm",
        "ud0 and ud1 have a ModRM operand (on AMD and on newer Intel)",
        Space.TWO,
        names="ud0 ud1",
        silent=False,
    ),
)


# (flow by the rows, flow by capstone's name): why
KNOWN_FLOWS = {
    (Flow.FAR, Flow.INDIRECT_CALL): "capstone writes some calls through a far pointer as near ones",
    (Flow.FAR, Flow.INDIRECT_JUMP): "capstone writes some jumps through a far pointer as near ones",
}


def known_difference(detail: Detail, prefixes: bytes, *, silent: bool) -> str | None:
    """Name the examined difference that explains what was met behind these prefixes, or None."""
    if detail.unsettled:
        return "vendor-dependent"
    if detail.apx or detail.encoding is Encoding.REX2:
        return "apx"
    return next(
        (known.name for known in KNOWN if known.covers(detail, prefixes, silent=silent)), None
    )
