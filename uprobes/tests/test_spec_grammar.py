"""The grammar of specs, case by case, and what must hold for every text."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprobes.errors import BadSpec
from uprobes.names.spec import Kind, Spec, parse, quote, quote_object

CASES = [
    line.split("\t")
    for line in (Path(__file__).parent / "cases" / "specs.txt")
    .read_text(encoding="utf-8")
    .split("\n")
    if "\t" in line and not line.startswith("#")
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0] or "empty")
def test_each_spec_is_read_as_the_corpus_says(case):
    text, kind, *rest = case
    if kind == "error":
        with pytest.raises(BadSpec) as caught:
            parse(text)
        assert rest[0] in str(caught.value)
        assert caught.value.hint or not text.strip() or "no spec" in caught.value.why
        return
    named, place, value, raw = rest
    expected = Spec(
        text.strip(),
        Kind(kind),
        None if named == "-" else named,
        "" if place == "-" else place,
        int(value),
        raw == "raw",
    )
    assert parse(text) == expected


@given(st.text(alphabet="ab:*'/+@0x1 .[]", max_size=20) | st.text(max_size=12))
def test_any_text_is_parsed_or_refused_as_a_bad_spec(text):
    with contextlib.suppress(BadSpec):
        assert parse(text).source == text.strip()


@given(
    st.text(alphabet="libv.-+_*: [/0@", min_size=1, max_size=8).filter(str.strip),
    st.text(alphabet="abz_09:*[]?+-/().~ ,&<>@", min_size=1, max_size=20).filter(str.strip),
)
def test_quoted_names_are_read_back_as_themselves(named, name):
    spec = parse(f"{quote_object(named)}:{quote(name)}")
    assert (spec.kind, spec.place, spec.number) == (Kind.NAME, name, 0)
    assert spec.object == named


def test_a_number_too_long_to_be_one_is_refused():
    with pytest.raises(BadSpec, match="64 bits"):
        parse("va:0x" + "f" * 400)


def test_control_characters_are_refused():
    with pytest.raises(BadSpec, match="control characters"):
        parse("libc:mal\x00loc")


def test_the_error_as_record_carries_the_stable_code():
    with pytest.raises(BadSpec) as caught:
        parse("0x1000")
    record = caught.value.as_record()
    assert record["code"] == "bad-spec"
    assert record["spec"] == "0x1000"
    assert "elf:OBJECT:0x1000" in str(record["hint"])
