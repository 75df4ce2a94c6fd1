"""Compares the x86 rows with four decoders that others wrote, string by string."""

from collections import Counter

import capstone
from x86_differences import (
    ALONE,
    SILENT,
    Case,
    explain,
    explains_flow,
    explains_length,
    explains_target,
)
from x86_others import ADDRESS, iced, objdump_readings
from x86_samples import ARCHES

import insn
from insn import second

_CAPSTONE_MODES = {64: capstone.CS_MODE_64, 32: capstone.CS_MODE_32, 16: capstone.CS_MODE_16}


class Comparison:
    """Counts what agreed, which listed differences were met, and lists the others."""

    def __init__(self, mode, zydis, folder):
        self.mode = mode
        self.zydis = zydis
        self.folder = folder
        self.decode = ARCHES[mode].decode
        self.capstone = capstone.Cs(capstone.CS_ARCH_X86, _CAPSTONE_MODES[mode])
        self.strings = self.instructions = 0
        self.met = Counter()
        self.unlisted = []

    def _note(self, decoder, kind, listed, case):
        """Name a difference, or keep it as one that is not listed."""
        name = explain(listed, case)
        if name is not None:
            self.met[decoder, kind, name] += 1
        else:
            self.unlisted.append(f"{decoder} {kind}: {case.code.hex()} {case.name} {case.ours}")

    def read(self, codes, objdump_asked):
        """Compare all that is read in strings of at most 15 bytes, all at one address."""
        readings = self.zydis.readings(codes, self.mode)
        found = [self._read(*both) for both in zip(codes, readings, strict=True)]
        self._ask_objdump([ours for ours in found if ours is not None][:objdump_asked])

    def _read(self, code, zydis_reading):
        self.strings += 1
        try:
            ours = self.decode(code, ADDRESS)
        except (insn.Truncated, insn.Undecodable):
            ours = None
            found = next(self.capstone.disasm_lite(code, ADDRESS, 1), None)
            if found is not None:
                self._note(
                    "capstone", "alone", ALONE["capstone"], Case(code, self.mode, None, found[2])
                )
        else:
            self.instructions += 1
            try:
                second.compare(ours)
            except insn.DecodersDisagree as error:
                self.unlisted.append(f"capstone: {code.hex()}: {error}")
        for decoder, theirs in (("zydis", zydis_reading), ("iced", iced(code, self.mode))):
            self._compare(decoder, code, ours, theirs)
        return ours

    def _compare(self, decoder, code, ours, theirs):
        """Compare the rows' reading with one other."""
        if ours is None or theirs is None:
            if ours is not theirs:
                kind = "alone" if ours is None else "silent"
                listed = (ALONE if ours is None else SILENT)[decoder]
                self._note(
                    decoder,
                    kind,
                    listed,
                    Case(code, self.mode, ours, theirs.name if theirs else ""),
                )
            return
        if ours.detail.apx:
            self.met[decoder, "other", "apx"] += 1
            return
        target = ours.pc_relative.target if ours.pc_relative else None
        if ours.length != theirs.length:
            self.unlisted.append(f"{decoder}: {ours}, {ours.length}: {theirs}")
        if target != theirs.target and not explains_target(decoder, ours):
            self.unlisted.append(f"{decoder}: {ours}, {target}: {theirs}")
        if not explains_flow(decoder, ours, theirs.flow):
            self.unlisted.append(f"{decoder}: {ours}, {ours.flow}: {theirs}")

    def _ask_objdump(self, chosen):
        """Compare the lengths of instructions with objdump's."""
        for ours, line in zip(
            chosen, objdump_readings([i.code for i in chosen], self.mode, self.folder), strict=True
        ):
            assert line is not None, f"objdump lost its way before {ours}"
            code, text = line
            if "(bad)" in text:
                self._note(
                    "objdump", "silent", SILENT["objdump"], Case(ours.code, self.mode, ours, text)
                )
            elif code != ours.code and not explains_length(ours, code):
                self.unlisted.append(f"objdump: {ours}: {code.hex()} {text}")

    def check(self):
        """Say what was compared; fail for a difference that is not listed."""
        print(f"{self.mode} bits: {self.strings:,} strings, {self.instructions:,} instructions")
        for (decoder, kind, name), times in sorted(self.met.items()):
            print(f"  {times:9,} {decoder} {kind}: {name}")
        assert self.unlisted == [], "\n".join(self.unlisted)
