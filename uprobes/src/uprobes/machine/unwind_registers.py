"""The numbers by which unwind tables know registers, by architecture (psABI: DWARF register
numbers); the last of each is the column of the return address.
"""

UNWIND_REGISTERS: dict[str, tuple[str, ...]] = {
    "x86_64": (
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
    ),
}  # fmt: skip
