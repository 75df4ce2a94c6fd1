"""Go's own table of functions: it says what the symbol table says; broken, it says nothing."""

import random
import re

import live
import pytest

from insn.elf import open_image
from uprobes.names.functions import Functions
from uprobes.names.go_table import go_functions

CHANGED = re.compile(r"\.abi(0|internal)$|\[(\d+|\.\.\.)\]")
"""What the two tables write differently: calling conventions, sizes of arrays."""


@pytest.fixture(scope="module")
def images(needs, tmp_path_factory):
    """Build the program with its symbols and without."""
    go = needs("go", package="golang-go")
    found = []
    for options in ((), ("-ldflags=-s -w",)):
        folder = tmp_path_factory.mktemp("go")
        found.append(live.build_go("goroutines", folder, go, *options))
    return found


def test_it_names_what_the_symbol_table_names(images):
    symbols = Functions(open_image(str(images[0]))).symbols
    named = {}
    for address, name in zip(symbols.addresses.tolist(), symbols.names, strict=True):
        named.setdefault(address, set()).add(CHANGED.sub("", name))
    found = go_functions(open_image(str(images[0])))
    assert len(found) > 1000
    assert [row for row in found if CHANGED.sub("", row[0]) not in named[row[1]]] == []
    assert named.keys() - {start for _, start, _ in found} <= {
        address for address, names in named.items() if names == {"runtime.etext"}
    }


def test_a_stripped_file_goes_by_it(images):
    whole, stripped = (Functions(open_image(str(path))) for path in images)
    [index] = stripped.exactly("main.climb")
    [other] = whole.exactly("main.climb")
    assert stripped.addresses[index] == whole.addresses[other]
    inside = stripped.addresses[index] + 5
    assert stripped.around(inside)[:2] == whole.around(inside)[:2]
    assert stripped.around(0) is None
    assert len({*stripped.addresses}) == len(stripped.addresses)


@pytest.mark.parametrize("seed", range(20))
def test_a_broken_table_names_what_it_can_and_breaks_nothing(images, tmp_path, seed):
    content = bytearray(images[1].read_bytes())
    image = open_image(str(images[1]))
    section = image.section(".gopclntab")
    start = content.index(image.contents(section)[:64])
    draw = random.Random(seed)
    for _ in range(1 + seed):
        at = start + draw.randrange(8, 72 if seed % 2 else section.size)
        content[at] = draw.choice([0, 0xFF, draw.randrange(256)])
    broken = tmp_path / "broken"
    broken.write_bytes(content)
    found = go_functions(open_image(str(broken)))
    assert all(name and size > 0 for name, _, size in found)
