"""Files that lie: names of a damaged or hostile ELF file are refused, never anything worse."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uprobes.errors import ProbeError
from uprobes.names import Resolver

pytestmark = [pytest.mark.needs("gcc", package="gcc")]

SPECS = ("*", "alone", "alone+1", "chosen", "elf:{}:0x1200", "off:{}:0x1200", "nosuch", "/a/")


@pytest.fixture(scope="module")
def damaged(compiled, tmp_path_factory):
    """Write a copy of a program with some bytes changed, and perhaps cut off."""
    content = compiled("names").read_bytes()
    place = tmp_path_factory.mktemp("damaged") / "names"

    def write(changes, length):
        copy = bytearray(content)
        for offset, value in changes:
            copy[offset % len(copy)] = value
        place.write_bytes(bytes(copy[: max(length, 1)]) if length is not None else bytes(copy))
        return place

    return write


EARLY = st.tuples(st.integers(0, 0x400), st.integers(0, 255))
ANYWHERE = st.tuples(st.integers(0, 1 << 20), st.integers(0, 255))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(EARLY, max_size=6),
    st.lists(ANYWHERE, max_size=200),
    st.none() | st.integers(1, 1 << 15),
)
def test_damaged_files_are_resolved_or_refused(damaged, early, anywhere, length):
    path = damaged(early + anywhere, length)
    names = Resolver()
    for spec in SPECS:
        text = spec.format(path) if "{}" in spec else f"{path}:{spec}"
        with contextlib.suppress(ProbeError):
            found = names.in_file(text)
            for location in found.locations:
                assert names.code_at(location, 16) is not None
