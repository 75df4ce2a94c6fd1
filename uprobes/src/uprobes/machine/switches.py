"""Which indirect jumps are those of a switch, by architecture: they stay inside their function."""

import re

SWITCHES: dict[str, re.Pattern[bytes]] = {
    # Intel SDM 2A, 2.1.5: FF /4 with a SIB byte whose scale is 8 or 4, without a base or with one;
    # 3E (notrack) is what compilers put before the jump of a switch under CET.
    "x86_64": re.compile(
        rb"\x3e[\x40-\x4f]?\xff[\x20-\x27\x60-\x67\xa0-\xa7\xe0-\xe7]"
        rb"|[\x40-\x4f]?\xff[\x24\x64\xa4][\x80-\xff]",
        re.DOTALL,
    ),
}
