"""Finds the form of many x86 instructions at once: prefixes, opcode and ModRM as one number each.

The key of a form is the bytes from the opcode (or VEX, EVEX, XOP prefix) to ModRM and the base of
SIB, with the bits cleared that no row asks for, and in its top byte the prefixes that were
stripped. What has no key (prefixes in odd orders, 3DNow!, registers that must differ, APX) is
decoded one by one and remembered by its bytes.
"""

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.forms import NOTHING, NUMBERS, UNKNOWN, FormIndex, Forms, Found
from insn.x86_form_tables import (
    ALL_MASKS,
    BYTE,
    CASES,
    CODE_SEGMENT,
    COUNT_AT,
    EIGHT,
    EIGHT_BITS,
    ESCAPE,
    ESCAPE_BYTE,
    EVEX,
    EVEX_MASK,
    FLAGS_AT,
    LANE_PLACES,
    LONGEST,
    LOW_BYTE,
    LOW_PAIR,
    MORE,
    NEVER,
    NOP,
    ODD,
    ONE_SKIPPED,
    PADDING,
    PAIR,
    PREFIX,
    REP,
    REPNE,
    REX_AT,
    SEGMENT,
    SHAPE_SLOTS,
    SKIPPED,
    UNASKED,
    UNSETTLED,
    VEX2,
    Leads,
    Positions,
    Windows,
    Words,
    all_spaces,
    first_table,
    flag_leads,
    lead_slots,
    leads,
    prefix_flags,
    shapes,
    space_table,
    start_scores,
    u64,
)
from insn.x86_row import Space


def _wide_windows(windows: Windows, at: Positions) -> Words:
    """Give the eight bytes from each position on as a number."""
    high = windows.take(at + 4, mode="clip").astype(np.uint64)
    return windows.take(at) | high << np.uint64(32)


class _Direct:
    """The forms of one opcode map, directly by opcode, ModRM, SIB, REX.W, frequent prefixes."""

    def __init__(self, kinds: NDArray[np.uint8]) -> None:
        self._entries, count = shapes(kinds)
        self._numbers = np.zeros(count * SHAPE_SLOTS, np.uint16)

    def look_up(self, words: Windows, slots: Leads) -> tuple[Found, NDArray[np.uint32]]:
        """Find the numbers (or `UNKNOWN`) by words that begin with the opcode, and their places."""
        places = words >> _SIB_AT
        places |= _ALL_BUT_BASE
        places &= self._entries.take(words & LOW_PAIR)
        places |= slots
        return self._numbers.take(places), places

    def remember(self, places: NDArray[np.uint32], found: Found) -> None:
        """Keep what was found in another way, at the places that `look_up` gave."""
        numbers = found & _NUMBER
        # Where nothing is, no prefix counts either.
        fit = (places >= SHAPE_SLOTS) & (places & NEVER != NEVER) & (numbers != NOTHING)
        self._numbers[places[fit]] = numbers[fit]


# Arrays without dimensions: numpy takes them more quickly than numbers.
_SIB_AT, _ALL_BUT_BASE = np.array(16, np.uint32), np.array((1 << 32) - 8, np.uint32)
_NUMBER, _UNKNOWN = np.array(NUMBERS - 1, np.uint16), np.array(UNKNOWN, np.uint16)


class X86Forms:
    """Looks up the forms of x86 instructions in a buffer of code."""

    def __init__(self, arch: Arch) -> None:
        self.forms = Forms(arch)
        self._index = FormIndex()
        self._first = first_table(arch.bits)
        self._flags = prefix_flags(arch.bits)
        self._leads = leads(arch.bits)
        self._flag_leads = flag_leads()
        self._one = _Direct(self._first)
        two = space_table(Space.TWO).copy()
        two.reshape(256, 256)[:, [0x0F, 0x38, 0x3A]] = ODD  # these lead to other maps
        self._two = _Direct(two)
        self._starts = start_scores(arch.bits)
        self._rex = arch.bits == 64
        self._vvvv = u64(15 if arch.bits == 64 else 7)

    def windows(self, buffer: NDArray[np.uint8], out: Windows | None = None) -> Windows:
        """Give the four bytes from each position on, but the last `PADDING`, as a number."""
        words = np.ndarray((len(buffer) - PADDING,), "<u4", buffer, 0, (1,))
        if out is None:
            return np.ascontiguousarray(words)
        np.copyto(out[: len(words)], words)
        return out[: len(words)]

    def lane_starts(self, windows: Windows, distance: int) -> Positions:
        """Choose positions about `distance` apart where an instruction probably starts.

        In 64-bit code that is what compilers write most: moves, additions and the like, which begin
        with 48 and one of a few opcodes; hardly anything else has such a pair of bytes inside.
        """
        lanes = len(windows) // distance
        rows = windows[: lanes * distance].reshape(lanes, distance)
        # One row for each place of a lane: numpy looks for the best one much faster this way.
        places = np.ascontiguousarray(rows[:, :LANE_PLACES].T)
        likely = self._starts.take(places & LOW_PAIR)
        likely += np.arange(LANE_PLACES, dtype=np.uint8)[::-1, None]  # the first of equal ones
        best = likely.max(axis=0, initial=0) % LANE_PLACES
        starts: Positions = np.arange(lanes) * distance + (LANE_PLACES - 1 - best)
        return np.concatenate([np.zeros(1, np.intp), starts[starts > 0]])

    def look_up(self, buffer: NDArray[np.uint8], windows: Windows, at: Positions) -> Found:
        """Find the form of the instruction at each position, with its number of stripped prefixes.

        New forms are learned. Nothing is known of what follows the last position: see `bulk` for
        the end of code.
        """
        words = windows.take(at)
        leads = self._leads.take(words & LOW_PAIR)
        words >>= leads & ONE_SKIPPED
        unsettled = (leads & UNSETTLED).nonzero()[0]
        if len(unsettled):
            some = self._skip_prefixes(windows, at[unsettled], leads[unsettled])
            leads[unsettled], words[unsettled] = some
        found, places = self._one.look_up(words, lead_slots(leads))
        rest = (found == _UNKNOWN).nonzero()[0]
        found |= leads & SKIPPED
        if len(rest):
            slow = np.ones(len(rest), np.bool_)
            escaped = ((words[rest] & LOW_BYTE) == ESCAPE_BYTE).nonzero()[0]
            if len(escaped):
                some = rest[escaped]
                skipped = leads[some]
                behind = windows.take(at[some] + (skipped >> COUNT_AT) + 1)
                direct, two_places = self._two.look_up(behind, lead_slots(skipped))
                found[some] |= direct
                slow[escaped] = direct == _UNKNOWN
            rest = rest[slow]
            if len(rest):
                found[rest] = self._look_up_rest(buffer, windows, at[rest])
                if (places[rest] >= SHAPE_SLOTS).any():
                    self._one.remember(places[rest], found[rest])
                unknown = slow[escaped].nonzero()[0]
                if len(unknown):
                    self._two.remember(two_places[unknown], found[some[unknown]])
        return found

    def _skip_prefixes(
        self, windows: Windows, at: Positions, leads: Leads
    ) -> tuple[Leads, Windows]:
        """Go on where a legacy prefix leads: what leads altogether, and the word behind it."""
        count = np.ones(len(at), np.int64)
        several = (leads & MORE).nonzero()[0]
        if len(several):
            some = at[several]
            count[several], flags = self._strip(windows, some, windows.take(some))
            leads[several] = self._flag_leads.take(flags) | (count[several] << COUNT_AT)
        words = windows.take(at + count)
        rex = self._leads.take(words & LOW_PAIR)
        rex[count == LONGEST] = 0  # nothing that has so many prefixes is an instruction
        words >>= rex & ONE_SKIPPED
        return (leads | rex & ~SKIPPED) + (rex & SKIPPED), words

    def _look_up_rest(self, buffer: NDArray[np.uint8], windows: Windows, at: Positions) -> Found:
        """Look up what is not in direct tables."""
        flags = self._flags.take(buffer.take(at))
        prefixed = flags.nonzero()[0]
        count = np.zeros(len(at), np.int64)
        if len(prefixed):
            some = at[prefixed]
            count[prefixed], flags[prefixed] = self._strip(windows, some, windows.take(some))
        keys, has_rex, odd = self._keys(_wide_windows(windows, at + count))
        if len(prefixed):
            # VEX, EVEX and XOP tolerate no prefix but segments and 67: the form hides neither.
            keys |= (flags & 255 - SEGMENT).astype(np.uint64) << FLAGS_AT
        count += has_rex
        numbers, missed = self._index.find(keys)
        if len(odd):
            view = memoryview(buffer)  # type: ignore[arg-type]  # an array is a buffer
            for where in odd.tolist():
                start = int(at[where])
                numbers[where] = self.forms.exactly(bytes(view[start : start + LONGEST]))
            count[odd] = 0
        if len(missed):
            missed = np.setdiff1d(missed, odd, assume_unique=True)
            self._learn(buffer, keys, at, count, numbers, missed)
        # No instruction has more prefixes than that.
        numbers[count > LONGEST] = NOTHING
        count[numbers == NOTHING] = 0
        found: Found = (numbers | count << COUNT_AT).astype(np.uint16)
        return found

    def _learn(
        self,
        buffer: NDArray[np.uint8],
        keys: Words,
        at: Positions,
        stripped: NDArray[np.int64],
        numbers: NDArray[np.int64],
        missed: Positions,
    ) -> None:
        wanted, first, back = np.unique(keys[missed], return_index=True, return_inverse=True)
        learned = np.zeros(len(wanted), np.int64)
        for n, key in enumerate(wanted.tolist()):
            where = int(missed[first[n]])
            start, count = int(at[where]), int(stripped[where])
            # Only as many prefixes as the key speaks of: a form must not depend on the 15-byte
            # limit.
            code = self._canonical(buffer, start, count)
            learned[n] = self.forms.learn(*code)
            self._index.add(key, int(learned[n]))
        numbers[missed] = learned[back]

    def _canonical(self, buffer: NDArray[np.uint8], start: int, count: int) -> tuple[bytes, int]:
        """Give the instruction without prefixes that repeat, and how many it still has."""
        prefixes: dict[int, None] = {}
        for byte in buffer[start : start + count].tolist():
            kind = int(self._flags[byte])
            if kind & (REP | REPNE):  # the last of the two counts
                prefixes.pop(0xF2, None)
                prefixes.pop(0xF3, None)
            if kind & SEGMENT:
                prefixes.pop(0x2E, None)
            if kind != SEGMENT:
                prefixes[byte] = None
        rest = buffer[start + count : start + count + LONGEST].tobytes()
        return bytes(prefixes) + rest, len(prefixes)

    def _strip(
        self, windows: Windows, at: Positions, words: Windows
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Count the legacy prefixes where one leads, and tell which (of F2, F3: the last)."""
        flags = self._flags.take(words & LOW_BYTE)
        count = np.ones(len(at), np.int64)
        more = self._flags.take(words >> EIGHT_BITS & LOW_BYTE)
        active = more.nonzero()[0]
        more = more[active]
        while len(active):
            old = flags[active]
            old[more & (REP | REPNE) != 0] &= 255 - REP - REPNE
            old[more & SEGMENT != 0] &= 255 - CODE_SEGMENT
            flags[active] = old | more
            count[active] += 1
            active = active[count[active] < LONGEST]
            more = self._flags.take(windows.take(at[active] + count[active]) & LOW_BYTE)
            active, more = active[more != 0], more[more != 0]
        return count, flags

    def _keys(self, words: Words) -> tuple[Words, NDArray[np.bool_], Positions]:
        """Make the keys of what has no legacy prefixes: keys, which have REX, which have no key."""
        has_rex = (words & u64(0xF0)) == u64(0x40) if self._rex else np.zeros(len(words), np.bool_)
        rex = words * has_rex & u64(8)
        words = words >> (has_rex * EIGHT)
        kinds = self._first.take((words & PAIR).view(np.int64))
        # Where the opcode is, and in which map: by what leads, and by the byte behind that.
        behind = words >> EIGHT & BYTE
        cases = CASES.take(kinds.astype(np.int64) << 8 | behind.view(np.int64))
        skips = cases & 7
        places = (cases >> 3) << 16 | (words >> (skips * 8).view(np.uint64) & PAIR).view(np.int64)
        shapes = all_spaces().take(places)
        keys = words & ALL_MASKS.take(skips << 4 | shapes)
        odd = (kinds == PREFIX) | (kinds == ODD) | (shapes == ODD)
        # Before VEX a REX prefix is illegal; with one, 90 is no NOP.
        odd |= has_rex & ((kinds > ESCAPE) | (words & BYTE == NOP))
        vector = (kinds > ESCAPE).nonzero()[0]
        if len(vector):
            keys[vector] = self._same_registers(keys[vector], kinds[vector])
        return keys | rex << REX_AT, has_rex, odd.nonzero()[0]

    def _same_registers(self, keys: Words, kinds: NDArray[np.uint8]) -> Words:
        """Clear what does not matter in the prefixes VEX, XOP and EVEX.

        Of vvvv that is whether, and in which half, it names a register; of the mask register
        whether there is one.
        """
        shift = np.where(kinds == VEX2, u64(11), u64(19))
        vvvv = keys >> shift
        names_none = (vvvv & self._vvvv) == self._vvvv
        keys = keys & ~(u64(7) << shift) | (names_none * u64(15)) << shift
        keys &= ~UNASKED.take(kinds)
        masked = (kinds == EVEX) & (keys & EVEX_MASK != 0)
        keys = np.where(kinds == EVEX, keys & ~EVEX_MASK, keys)
        same: Words = keys | masked.astype(np.uint64) << u64(24)
        return same
