"""Demangled names, case by case, and that no text at all breaks the demangler."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprobes.names.demangle import available, demangle, without_parameters
from uprobes.names.rust import demangle_rust

CASES = [
    line.split("\t")
    for line in (Path(__file__).parent / "cases" / "demangle.txt").read_text().splitlines()
    if "\t" in line and not line.startswith("#")
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_each_name_is_demangled_as_the_corpus_says(case):
    mangled, plain, short = case
    assert available(), "the C++ runtime library is missing: install libstdc++6"
    assert demangle(mangled) == plain
    assert without_parameters(plain) == short


@given(st.text(alphabet="NvCMXYIBRQPSATFDKLEGUpshjm_0123abz", max_size=60))
def test_no_name_of_rusts_form_breaks_the_demangler(text):
    assert isinstance(demangle_rust("_R" + text), str)


@given(st.text(max_size=40))
def test_no_name_breaks_the_demangler(text):
    assert isinstance(without_parameters(demangle("_Z" + text)), str)


def test_back_references_that_grow_without_end_are_given_up():
    bomb = "_RINvC1a1b" + "TB9_B9_E" * 60 + "E"
    assert demangle_rust(bomb) == bomb
