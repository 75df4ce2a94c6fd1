"""Relocation types that name resolution reads, by the machine and word size in an ELF file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelocationTypes:
    """Numbers of the machine's psABI: slots that hold a symbol's address, and indirect ones."""

    symbol_slots: frozenset[int]
    """The loader stores the address of a symbol (GLOB_DAT, JUMP_SLOT, and the plain word)."""
    indirect: int
    """The loader calls a function and stores what it returns (IRELATIVE)."""


RELOCATION_TYPES = {
    ("EM_X86_64", 64): RelocationTypes(frozenset({1, 6, 7}), 37),
}
