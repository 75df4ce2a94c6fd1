"""Decodes one x86 instruction by the rows: prefixes, opcode map, row, fields, length."""

from insn.arch import Arch
from insn.errors import Truncated, Undecodable
from insn.model import Flow, Instruction
from insn.x86_check import Invalid, check
from insn.x86_detail import SEGMENTS, Detail, Encoding
from insn.x86_encodings import encoding_at, payload
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
_LEADING = b"\xc5\xc4\x62\x8f\xd5"
"""Bytes that may begin a prefix which holds the opcode map: see `x86_encodings`."""
_DISPLACEMENTS = (0, 1, 4)
_BASES_16 = ((3, 6), (3, 7), (5, 6), (5, 7), (6, -1), (7, -1), (5, -1), (3, -1))
# Base, index and size of the displacement by ModRM, below C0.
_ADDRESSES_16 = tuple(
    (-1, -1, 2) if modrm & 0xC7 == 6 else (*_BASES_16[modrm & 7], modrm >> 6)
    for modrm in range(0xC0)
)
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
        if byte in _LEADING:
            encoding = encoding_at(code, position, mode)
    if encoding is not Encoding.LEGACY:
        if rex or ((lock or repeat or opsize) and encoding is not Encoding.REX2):
            raise Invalid(f"{encoding.value} after a prefix that cannot stand before it")
        encoding_offset = position
        (
            position, space, extension, high, named, vvvv, vector_length, mask, zeroing, broadcast,
            apx,
        ) = payload(code, position, encoding, mode)  # fmt: skip
        if named >= 0:
            prefix = named
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
        if modrm < 0xC0 and not bits & _MODREG:
            if address_size == 2:
                if bits & _VSIB_OR_SIBMEM:
                    raise Invalid("16-bit addresses cannot be used here")
                base, index, displacement_size = _ADDRESSES_16[modrm]
            elif modrm & 7 == 4:
                base, index, scale, displacement_size = _sib(modrm, code[position], extension)
                position += 1
                if bits & _VSIB:
                    index |= vvvv & 16
                elif index == 4:
                    index = -1
            elif bits & _VSIB_OR_SIBMEM:
                raise Invalid("the address must have a SIB byte")
            elif modrm & 0xC7 == 5:
                displacement_size = 4
                pc_relative = is64
            else:
                base = modrm & 7 | (extension & 1) << 3
                displacement_size = _DISPLACEMENTS[modrm >> 6]
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


def _sib(modrm: int, sib: int, extension: int) -> tuple[int, int, int, int]:
    """Give base, index (4: none, unless it is a vector), scale and the displacement's size."""
    base, size = sib & 7, _DISPLACEMENTS[modrm >> 6]
    if base == 5 and modrm < 0x40:
        base, size = -1, 4
    else:
        base |= (extension & 1) << 3
    return base, (sib >> 3 & 7) | (extension & 2) << 2, 1 << (sib >> 6), size


def _signed(code: bytes, offset: int, size: int) -> int:
    return int.from_bytes(code[offset : offset + size], "little", signed=True) if size else 0


def _by_immediate(cell: tuple[Row, ...], value: int) -> Row:
    for row in cell:
        if row.by_immediate in (value, -1):
            return row
    raise Invalid("no such opcode")
