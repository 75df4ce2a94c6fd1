"""How functions begin that take their own return address for a number, by architecture.

`call` serves them to learn where they are; they would find the address of a trampoline.
"""

READERS: dict[str, tuple[tuple[int, int], ...]] = {
    "x86_64": (
        (0x0000_00F8, 0x0000_0058),  # pop reg
        (0x0000_F8FF, 0x0000_5841),  # pop r8 … r15
        (0xFFC7_FFFB, 0x2404_8B48),  # mov reg, [rsp]
    ),
    "x86_32": (
        (0x0000_00F8, 0x0000_0058),  # pop reg
        (0x00FF_C7FF, 0x0024_048B),  # mov reg, [esp]
    ),
}
"""Masks and values of the first four bytes, the first byte lowest."""

LANDING = (0xFA1E_0FF3, 0xFB1E_0FF3)
"""What may stand in front, as the same four bytes: endbr64 and endbr32."""
