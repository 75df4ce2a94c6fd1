"""Decodes one x86 instruction by the rows: prefixes, opcode map, row, fields, length."""

from insn.arch import Arch
from insn.errors import Truncated, Undecodable
from insn.model import Flow, Instruction
from insn.x86_check import Invalid, check
from insn.x86_detail import SEGMENTS, Detail, Encoding
from insn.x86_layout import (
    ADDRESS_SIZE,
    IMMEDIATE_SIZES,
    LOCK,
    OPERAND_SIZE,
    PREFIX_KINDS,
    REPEATS,
    REX,
    SEGMENT,
)
from insn.x86_place import Form, form_of, known, place
from insn.x86_row import LENGTH, MOD, MODE, PREFIX, REG, RM, Immediate, Property, Row, Space, W
from insn.x86_table import candidates

MAX_LENGTH = 15

# What a mod/reg/rm byte contributes to the one-hot conditions of a row.
_MODRM_CONDITIONS = tuple(
    1 << MOD + (m >= 0xC0) | 1 << REG + (m >> 3 & 7) | 1 << RM + (m & 7) for m in range(256)
)
_NO_MODRM = 1 << MOD | 1 << REG | 1 << RM
_MODE_CONDITIONS = {16: 1 << MODE, 32: 1 << MODE, 64: 1 << MODE + 1}

_VEX_SPACES = {1: Space.VEX1, 2: Space.VEX2, 3: Space.VEX3, 7: Space.VEX7}
_XOP_SPACES = {8: Space.XOP8, 9: Space.XOP9, 10: Space.XOPA}
_EVEX_SPACES = {
    1: Space.EVEX1, 2: Space.EVEX2, 3: Space.EVEX3, 4: Space.EVEX4, 5: Space.EVEX5, 6: Space.EVEX6,
}  # fmt: skip
_BRANCHES = frozenset(
    {
        Flow.JUMP,
        Flow.CONDITIONAL_JUMP,
        Flow.CALL,
        Flow.INDIRECT_JUMP,
        Flow.INDIRECT_CALL,
        Flow.RETURN,
    }
)
# Rows of 16 opcodes that cannot follow REX2.
_NOT_WITH_REX2 = {Space.ONE: (0x4, 0x7, 0xA, 0xE), Space.TWO: (0x3, 0x8)}
_BASES_16 = ((3, 6), (3, 7), (5, 6), (5, 7), (6, -1), (7, -1), (5, -1), (3, -1))
# Members of `Property` as numbers: & of two flags takes longer than all the rest of a decode.
_VSIB, _F64, _D64 = Property.VSIB.value, Property.F64.value, Property.D64.value
_NO66, _UD66, _MODREG = Property.NO66.value, Property.UD66.value, Property.MODREG.value
_VSIB_OR_SIBMEM = _VSIB | Property.SIBMEM.value


def _undecodable(code: bytes, address: int, why: str) -> Undecodable:
    return Undecodable(f"{code[:MAX_LENGTH].hex(' ')}: {why}", address=address)


def decode(code: bytes, address: int, arch: Arch) -> Instruction:
    """Decode the instruction that `code` begins with; Truncated or Undecodable when there is
    none."""
    mode = arch.bits
    window = bytes(code[:MAX_LENGTH])
    try:
        detail = _read(window, mode)
    except IndexError:
        if len(window) == MAX_LENGTH:
            raise _undecodable(window, address, "longer than 15 bytes") from None
        raise Truncated(
            f"{window.hex(' ')!r} ends before the instruction does", address=address
        ) from None
    except Invalid as invalid:
        raise _undecodable(window, address, str(invalid)) from None
    if not isinstance(detail, Form):
        detail = form_of(detail, window)
    return place(detail, window, address, arch)


def _read(code: bytes, mode: int) -> Detail | Form:
    """Measure the instruction; IndexError when the bytes end too early."""
    kinds = PREFIX_KINDS[mode]
    opsize = adsize = lock = False
    repeat = rex = 0
    segment = ""
    position = 0
    while kind := kinds[byte := code[position]]:
        position += 1
        if kind == REX:
            rex = byte
            continue
        rex = 0  # counts only directly before the opcode
        if kind == OPERAND_SIZE:
            opsize = True
        elif kind in REPEATS:
            repeat = byte
        elif kind == ADDRESS_SIZE:
            adsize = True
        elif kind == LOCK:
            lock = True
        elif kind < 15:
            segment = SEGMENTS[kind - SEGMENT]
    is64 = mode == 64
    encoding = Encoding.LEGACY
    encoding_offset = position - 1 if rex else -1
    extension = rex & 15
    high = vvvv = unused = mask = vector_length = 0
    zeroing = broadcast = apx = False
    prefix = (3 if repeat == 0xF2 else 2) if repeat else (1 if opsize else 0)

    # Opcode map.
    if byte == 0x0F:
        position += 1
        byte = code[position]
        if byte == 0x38 or byte == 0x3A:
            space = Space.THREE_38 if byte == 0x38 else Space.THREE_3A
            position += 1
            byte = code[position]
        elif byte == 0x0F:
            space = Space.NOW
        else:
            space = Space.TWO
    else:
        space = Space.ONE
        if (byte == 0xC5 or byte == 0xC4 or byte == 0x62) and (is64 or code[position + 1] >= 0xC0):
            encoding = Encoding.EVEX if byte == 0x62 else Encoding.VEX
        elif byte == 0x8F and code[position + 1] & 31 >= 8:
            encoding = Encoding.XOP
        elif byte == 0xD5 and is64:
            encoding = Encoding.REX2
    if encoding is not Encoding.LEGACY:
        if rex or ((lock or repeat or opsize) and encoding is not Encoding.REX2):
            raise Invalid(f"{encoding.value} after a prefix that cannot stand before it")
        encoding_offset = position
        first = code[position + 1]
        if encoding is Encoding.REX2:
            # APX: M0 R4 X4 B4 W R3 X3 B3
            apx = True
            space = Space.TWO if first & 128 else Space.ONE
            extension, high = first & 15, first >> 4 & 7
            position += 2
            byte = code[position]
            if candidates[Space.REX2 << 8 | byte] and space is Space.ONE:
                space = Space.REX2
            elif byte >> 4 in _NOT_WITH_REX2[space]:
                raise Invalid("REX2 before an opcode that cannot have it")
        elif encoding is Encoding.EVEX:
            second, third = code[position + 2], code[position + 3]
            found = _EVEX_SPACES.get(first & 7)
            extension = second >> 4 & 8 | ~first >> 5 & 7
            high = (~first >> 2 & 4) | (extension & 2) >> 1
            vvvv = (~second >> 3 & 15) | (~third & 8) << 1
            prefix, vector_length = second & 3, third >> 5 & 3
            zeroing, broadcast, mask = third >= 128, bool(third & 16), third & 7
            apx = bool(first & 8 or not second & 4) or found is Space.EVEX4
            if found is None or (not is64 and (apx or vvvv & 16)):
                raise Invalid("no such EVEX opcode map")
            space = found
            position += 4
        else:
            if byte == 0xC5:
                second = first
                extension = ~first >> 5 & 4
                space = Space.VEX1
                position += 2
            else:
                second = code[position + 2]
                found = (_VEX_SPACES if encoding is Encoding.VEX else _XOP_SPACES).get(first & 31)
                if found is None:
                    raise Invalid(f"no such {encoding.value.upper()} opcode map")
                space = found
                extension = second >> 4 & 8 | ~first >> 5 & 7
                position += 3
            vvvv, vector_length, prefix = ~second >> 3 & 15, second >> 2 & 1, second & 3
        unused = vvvv
        if not is64:
            extension &= 8
            high = 0
            vvvv &= 7
        byte = code[position]
    opcode_offset = position
    opcode = byte
    position += 1

    # Row.
    cell = candidates[space << 8 | opcode]
    if not cell:
        raise Invalid("no such opcode")
    row = cell[0]
    has_modrm = row.has_modrm
    modrm = code[position] if has_modrm else 0
    if len(cell) > 1 or row.forbidden:
        conditions = (
            (_MODRM_CONDITIONS[modrm] if has_modrm else _NO_MODRM)
            | 1 << PREFIX + prefix
            | 1 << W + (extension >> 3)
            | 1 << LENGTH + vector_length
            | _MODE_CONDITIONS[mode]
        )
        if broadcast and modrm >= 0xC0 and space >= Space.EVEX1:
            # The length bits hold a rounding mode: any value will do.
            conditions &= ~(15 << LENGTH)
        for row in cell:
            if not row.forbidden & conditions:
                break
        else:
            raise Invalid("no such opcode")
    bits = row.bits

    # Sizes.
    wide = bool(extension & 8) and is64
    if is64:
        if wide or bits & _F64:
            operand_size = 8
        elif opsize and not bits & _NO66:
            operand_size = 2
        else:
            operand_size = 8 if bits & _D64 else 4
        address_size = 4 if adsize else 8
    else:
        small = (mode == 16) != opsize
        operand_size = 2 if small else 4
        address_size = 2 if (mode == 16) != adsize else 4

    # Memory operand.
    modrm_offset = displacement_offset = immediate_offset = -1
    base = index = -1
    scale = 1
    displacement_size = 0
    pc_relative = False
    if has_modrm:
        modrm_offset = position
        position += 1
        mod = modrm >> 6
        if mod < 3 and not bits & _MODREG:
            rm = modrm & 7
            if address_size == 2:
                if bits & _VSIB_OR_SIBMEM:
                    raise Invalid("16-bit addresses cannot be used here")
                base, index = _BASES_16[rm]
                if mod == 0 and rm == 6:
                    base = -1
                    displacement_size = 2
                else:
                    displacement_size = mod
            else:
                displacement_size = (0, 1, 4)[mod]
                if rm == 4:
                    sib = code[position]
                    position += 1
                    base = sib & 7
                    if mod == 0 and base == 5:
                        base = -1
                        displacement_size = 4
                    else:
                        base |= (extension & 1) << 3
                    index = (sib >> 3 & 7) | (extension & 2) << 2
                    scale = 1 << (sib >> 6)
                    if bits & _VSIB:
                        index |= vvvv & 16
                    elif index == 4:
                        index = -1
                elif bits & _VSIB_OR_SIBMEM:
                    raise Invalid("the address must have a SIB byte")
                elif mod == 0 and rm == 5:
                    displacement_size = 4
                    pc_relative = is64
                else:
                    base = rm | (extension & 1) << 3
            if displacement_size:
                displacement_offset = position
                position += displacement_size

    # Immediate.
    kind_of_immediate = row.immediate
    immediate_size = 0
    if kind_of_immediate:
        immediate_size = (
            address_size
            if kind_of_immediate is Immediate.OFFSET
            else IMMEDIATE_SIZES[kind_of_immediate][operand_size]
        )
        immediate_offset = position
        position += immediate_size
        if cell[0].by_immediate >= 0:
            row = _by_immediate(cell, code[immediate_offset])
    if position > len(code):
        raise IndexError

    # The same bytes were read before: nothing more to find out.
    form = known.get((mode, code[:position]))
    if form is not None:
        return form

    detail = Detail(
        row=row,
        mode=mode,
        length=position,
        operand_size=operand_size,
        address_size=address_size,
        segment=segment,
        lock=lock,
        repeat=repeat,
        encoding=encoding,
        encoding_offset=encoding_offset,
        extension=extension,
        extension_high=high,
        opcode_offset=opcode_offset,
        opcode=opcode,
        modrm_offset=modrm_offset,
        modrm=modrm,
        base=base,
        index=index,
        scale=scale,
        displacement=_signed(code, displacement_offset, displacement_size),
        displacement_offset=displacement_offset,
        displacement_size=displacement_size,
        pc_relative=pc_relative,
        immediate_offset=immediate_offset,
        immediate_size=immediate_size,
        immediate=_signed(code, immediate_offset, immediate_size),
        vvvv=vvvv,
        mask=mask,
        zeroing=zeroing,
        wide=wide,
        unsettled=is64 and opsize and bool(bits & _F64) and row.flow in _BRANCHES,
        apx=apx,
    )
    if opsize and bits & _UD66:
        raise Invalid("66 cannot stand before it")
    check(detail, broadcast=broadcast, vvvv=unused)
    return detail


def _signed(code: bytes, offset: int, size: int) -> int:
    return int.from_bytes(code[offset : offset + size], "little", signed=True) if size else 0


def _by_immediate(cell: tuple[Row, ...], value: int) -> Row:
    for row in cell:
        if row.by_immediate in (value, -1):
            return row
    raise Invalid("no such opcode")
