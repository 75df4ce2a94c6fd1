"""Finds the form of many x86 instructions at once: prefixes, opcode and ModRM as one number each.

Most are found directly, by their place in a table. The key of the others is the bytes from the
opcode to ModRM and the base of SIB, with the bits cleared that no row asks for, and in its top byte
the prefixes that were stripped; `x86_vector_forms` has those with a vector prefix. What has no key
(prefixes in odd orders, 3DNow!, registers that must differ, APX) is decoded one by one and
remembered by its bytes.
"""

import numpy as np
from numpy.typing import NDArray

from insn.arch import Arch
from insn.forms import NOTHING, NUMBERS, UNKNOWN, FormIndex, Forms, Found
from insn.x86_form_tables import (
    ALL_BUT_BASE,
    ALL_MASKS,
    BYTE,
    COUNT_AT,
    COUNTED,
    EIGHT,
    ESCAPE,
    ESCAPES,
    FLAGS,
    FLAGS_AT,
    LANE_PLACES,
    LONGEST,
    LOW_PAIR,
    MORE,
    NEVER,
    NEVER_LED,
    NOP,
    ODD,
    ONE_SKIPPED,
    PADDING,
    PAIR,
    PAIR_COUNT_AT,
    PREFIX,
    REP,
    REPNE,
    REX_AT,
    SEGMENT,
    SHAPE_SLOTS,
    SIB_AT,
    SKIPPED,
    UNSETTLED,
    Leads,
    Positions,
    Windows,
    Words,
    both_flags,
    escaped_table,
    first_table,
    flag_leads,
    lead_slots,
    leads,
    legacy_spaces,
    prefix_flags,
    prefix_pairs,
    shapes,
    start_scores,
    u64,
)
from insn.x86_vector_forms import VectorForms


def _wide_windows(windows: Windows, at: Positions) -> Words:
    """Give the eight bytes from each position on as a number."""
    high = windows.take(at + 4, mode="clip").astype(np.uint64)
    return windows.take(at) | high << np.uint64(32)


class _Direct:
    """The forms of opcode maps, directly by opcode, ModRM, SIB, REX.W, frequent prefixes."""

    def __init__(self, kinds: NDArray[np.uint8]) -> None:
        self._entries, count = shapes(kinds)
        self._numbers = np.zeros(count * SHAPE_SLOTS, np.uint16)

    def look_up(
        self, words: Windows, starts: Windows, slots: Leads
    ) -> tuple[Found, NDArray[np.uint32]]:
        """Find the numbers (or `UNKNOWN`) and their places.

        `words` begin with the opcode, `starts` are opcode and ModRM, above them which map it is.
        """
        places = words >> SIB_AT
        places |= ALL_BUT_BASE
        places &= self._entries.take(starts)
        places |= slots
        return self._numbers.take(places), places

    def remember(self, places: NDArray[np.uint32], found: Found) -> None:
        """Keep what was found in another way, at the places that `look_up` gave."""
        fit = (places >= SHAPE_SLOTS) & (places & NEVER != NEVER)
        self._numbers[places[fit]] = found[fit] & _NUMBER


# Arrays without dimensions: numpy takes them more quickly than numbers.
_NUMBER, _UNKNOWN, _NOTHING = (np.array(n, np.uint16) for n in (NUMBERS - 1, UNKNOWN, NOTHING))
_MAP_BYTES, _MAP_BYTE = np.array(0xFD, np.uint32), np.array(0x38, np.uint32)


class X86Forms:
    """Looks up the forms of x86 instructions in a buffer of code."""

    def __init__(self, arch: Arch) -> None:
        self.forms = Forms(arch)
        self._index = FormIndex()
        self._first = first_table(arch.bits)
        self._flags = prefix_flags(arch.bits)
        self._pairs, self._both = prefix_pairs(arch.bits), both_flags()
        self._leads = leads(arch.bits)
        self._flag_leads = flag_leads()
        self._one = _Direct(self._first)
        self._escaped = _Direct(escaped_table())
        self._vectors = VectorForms(self.forms)
        self._starts = start_scores(arch.bits)
        self._rex = arch.bits == 64

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
        found, places = self._one.look_up(words, words & LOW_PAIR, lead_slots(leads))
        rest = (found == _UNKNOWN).nonzero()[0]
        found |= leads & SKIPPED
        if len(rest):
            self._complete(buffer, windows, at, words, leads, found, places, rest)
        nothing = ((found & _NUMBER) == _NOTHING).nonzero()[0]
        if len(nothing):
            found[nothing] = NOTHING  # where nothing is, no prefix counts either
        return found

    def _complete(
        self,
        buffer: NDArray[np.uint8],
        windows: Windows,
        at: Positions,
        words: Windows,
        leads: Leads,
        found: Found,
        places: NDArray[np.uint32],
        rest: Positions,
    ) -> None:
        """Look up the rest, which is not in the direct table of the one-byte map."""
        kinds = self._first.take(words[rest] & LOW_PAIR)
        slow = np.ones(len(rest), np.bool_)
        vector = ((kinds > ESCAPE) & (kinds < ODD) & (leads[rest] < COUNTED)).nonzero()[0]
        if len(vector):
            some = rest[vector]
            found[some] = self._vectors.look_up(
                buffer, windows, at[some], words[some], kinds[vector]
            )
            slow[vector] = False
        escaped = (kinds == ESCAPE).nonzero()[0]
        if len(escaped):
            some = rest[escaped]
            skipped = leads[some]
            behind = at[some] + (skipped >> COUNT_AT) + 1
            direct, escaped_places = self._look_up_escaped(windows, behind, skipped)
            found[some] |= direct
            slow[escaped] = direct == _UNKNOWN
        rest = rest[slow]
        if len(rest):
            found[rest] = self._look_up_rest(buffer, windows, at[rest])
            self._one.remember(places[rest], found[rest])
            unknown = slow[escaped].nonzero()[0]
            if len(unknown):
                self._escaped.remember(escaped_places[unknown], found[some[unknown]])

    def _look_up_escaped(
        self, windows: Windows, at: Positions, leads: Leads
    ) -> tuple[Found, NDArray[np.uint32]]:
        """Look up what stands behind 0F, or 0F 38 or 0F 3A, in the direct table."""
        words = windows.take(at)
        starts = words & LOW_PAIR
        deeper = ((words & _MAP_BYTES) == _MAP_BYTE).nonzero()[0]
        if len(deeper):
            number = (words[deeper] & 2) + 2 << 15  # 1 or 2, above opcode and ModRM
            words[deeper] = windows.take(at[deeper] + 1)
            starts[deeper] = words[deeper] & LOW_PAIR | number
        return self._escaped.look_up(words, starts, lead_slots(leads))

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
        # Nothing that has so many prefixes is an instruction.
        rex[count == LONGEST] = 0
        leads[count == LONGEST] |= NEVER_LED
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
            keys |= (flags & 255 - SEGMENT).astype(np.uint64) << FLAGS_AT
        count += has_rex
        numbers, missed = self._index.find(keys)
        for where in odd.nonzero()[0].tolist():
            start = int(at[where])
            numbers[where] = self.forms.exactly(buffer[start : start + LONGEST].tobytes())
            count[where] = 0
        missed = missed[~odd[missed]]
        if len(missed):
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
        pairs = self._pairs.take(words & LOW_PAIR)
        flags, count = pairs & FLAGS, (pairs >> PAIR_COUNT_AT).astype(np.int64)
        active = (count == 2).nonzero()[0]
        while len(active):
            some = count[active]
            pairs = self._pairs.take(windows.take(at[active] + some) & LOW_PAIR)
            flags[active] = self._both.take(flags[active] << 7 | pairs & FLAGS)
            more = pairs >> PAIR_COUNT_AT
            count[active] = some = some + more
            active = active[(more == 2) & (some < LONGEST)]
        return np.minimum(count, LONGEST), flags.astype(np.uint8)

    def _keys(self, words: Words) -> tuple[Words, NDArray[np.bool_], NDArray[np.bool_]]:
        """Make the keys of what has no legacy prefixes: keys, which have REX, which have no key."""
        has_rex = (words & u64(0xF0)) == u64(0x40) if self._rex else np.zeros(len(words), np.bool_)
        rex = words * has_rex & u64(8)
        words = words >> (has_rex * EIGHT)
        kinds = self._first.take((words & PAIR).view(np.int64))
        # Where the opcode is, and in which map: by the byte behind what leads.
        cases = ESCAPES.take((words >> EIGHT & BYTE).view(np.int64)) * (kinds == ESCAPE)
        skips = cases & 7
        places = (cases >> 3) << 16 | (words >> (skips * 8).view(np.uint64) & PAIR).view(np.int64)
        shapes = legacy_spaces().take(places)
        keys = words & ALL_MASKS.take(skips << 4 | shapes)
        # A vector prefix comes here behind other prefixes only. With REX, 90 is no NOP.
        odd = (kinds == PREFIX) | (kinds > ESCAPE) | (shapes == ODD)
        odd |= has_rex & (words & BYTE == NOP)
        return keys | rex << REX_AT, has_rex, odd
