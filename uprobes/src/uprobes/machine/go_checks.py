"""How Go's functions begin that look whether their stack has room, by architecture.

Where it has none they call the runtime, which makes a larger one, and begin anew: the check runs
twice in one call (cmd/internal/obj/x86/obj6.go, `stacksplit`). No argument has moved behind it.
"""

import re

NEAR = rb"(?:\x76.|\x0f\x86....)"  # jbe
NEW = rb"\x66\x10"  # [r14+16]: the goroutine is in r14 since Go 1.17
OLD = rb"\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff"  # mov rcx, fs:[-8]

STACK_CHECKS: dict[str, re.Pattern[bytes]] = {
    "x86_64": re.compile(
        b"|".join(
            (
                rb"\x49\x3b" + NEW + NEAR,  # cmp rsp, [r14+16]
                rb"\x4c\x8d(?:\x64\x24.|\xa4\x24....)\x4d\x3b" + NEW + NEAR,  # lea r12, [rsp-N]
                rb"\x49\x89\xe4\x49\x81\xec....(?:\x72.|\x0f\x82....)\x4d\x3b" + NEW + NEAR,
                OLD + rb"\x48\x3b\x61\x10" + NEAR,  # cmp rsp, [rcx+16]
                OLD + rb"\x48\x8d(?:\x44\x24.|\x84\x24....)\x48\x3b\x41\x10" + NEAR,
            )
        ),
        re.DOTALL,
    ),
}
LONGEST = 32
"""The most bytes that a check takes."""
