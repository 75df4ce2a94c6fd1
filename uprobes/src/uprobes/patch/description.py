"""What is installed in a process, written down in its shared memory for whoever comes later.

One word of the header says where the description begins (upper half) and how long it is, so that it
is replaced in one store. The text is compressed JSON.
"""

import json
import mmap
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uprobes.errors import ProbeError
from uprobes.patch.shared import HEAD, MAGIC
from uprobes.patch.site import Site

if TYPE_CHECKING:
    from uprobes.patch.installed import Installed

WORD = 24
"""Offset in the header."""
PER_SITE, BASE = 1024, 1 << 16
LONGEST = 1 << 26
"""No description read back is longer, unpacked."""


def room(sites: Sequence[Site], note: object) -> int:
    """Return how many bytes two descriptions of these sites may take."""
    return BASE + PER_SITE * len(sites) + 2 * len(json.dumps(note))


def write(installed: "Installed") -> None:
    """Write the description where there is room for it, not over the one that stands there.

    Raises ProbeError where there is none.
    """
    at = installed.notes_at
    content = {
        "note": installed.note,
        "stays": installed.stays,
        "notes_at": at,
        "ring_at": installed.ring_at,
        "areas": [[area.start, area.end] for area in installed.arena.areas],
        "places": installed.shared.places,
        "tables": None if installed.calls is None else installed.calls.tables,
        "sites": [_site(site) for site in installed.every],
    }
    packed = zlib.compress(json.dumps(content).encode(), 1)
    view = installed.shared.view
    (word,) = struct.unpack_from("<Q", view, WORD)
    old, length = word >> 32, word & 0xFFFF_FFFF
    start = at
    if length and old - at < len(packed):
        start = old + length
    if start + len(packed) > installed.shared.size:
        start = at
    if start + len(packed) > installed.shared.size:
        raise ProbeError("the description is too long for the shared memory", code="too-many-sites")
    view[start : start + len(packed)] = packed
    struct.pack_into("<Q", view, WORD, start << 32 | len(packed))


def _site(site: Site) -> list[object]:
    location = site.location
    return [
        site.number,
        site.address,
        str(site.method),
        site.form,
        str(site.kind),
        site.trampoline,
        site.size,
        site.moved,
        site.end,
        site.cells,
        [[p.address, p.original.hex(), p.code.hex(), p.kept] for p in site.patches],
        location.spec,
        location.object,
        location.function,
    ]


def read(view: "bytes | mmap.mmap") -> dict[str, Any]:
    """Read the description in shared memory of ours; raises ProbeError where there is none.

    It comes from the process and proves nothing: whoever uses it checks each number.
    """
    if len(view) < HEAD.size or view[: len(MAGIC)] != MAGIC:
        raise ProbeError("the shared memory is not ours", code="bad-description")
    (word,) = struct.unpack_from("<Q", view, WORD)
    start, length = word >> 32, word & 0xFFFF_FFFF
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(view[start : start + length], LONGEST)
        content = json.loads(text)
    except (zlib.error, ValueError) as error:
        raise ProbeError(
            f"the description in the shared memory can't be read: {error}", code="bad-description"
        ) from None
    if not isinstance(content, dict):
        raise ProbeError("the description in the shared memory is none", code="bad-description")
    return content
