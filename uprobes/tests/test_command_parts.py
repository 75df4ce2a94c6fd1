"""Parts of the command that need no process: arguments, values, histograms, documents."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insn import Method
from uprobes import Location, ProbeError
from uprobes.command.document import label
from uprobes.command.entry import run, split
from uprobes.command.fields import Field, parse_fields, written
from uprobes.command.histogram import Histogram, duration
from uprobes.command.options import Options


def test_the_command_begins_behind_the_first_two_dashes():
    assert split(["count", "x", "--", "cmd", "--", "-p"]) == (["count", "x"], ["cmd", "--", "-p"])
    assert split(["count", "x"]) == (["count", "x"], None)
    assert split(["count", "--"]) == (["count"], [])


@given(st.lists(st.integers(0, 1 << 63), min_size=1, max_size=30))
def test_a_histogram_counts_every_time_once_in_its_power_of_two(times):
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    record = histogram.as_record()
    assert record["count"] == sum(record["log2_ns"]) == len(times)
    assert (record["min_ns"], record["max_ns"]) == (min(times), max(times))
    assert record["mean_ns"] == sum(times) // len(times)
    for index, number in enumerate(record["log2_ns"]):
        low = (1 << index) if index else 0
        assert number == sum(low <= time < 2 << index for time in times)


def test_an_empty_histogram_has_every_key():
    record = Histogram().as_record()
    assert record == {"count": 0, "min_ns": None, "mean_ns": None, "max_ns": None, "log2_ns": []}


def test_a_clock_that_went_back_counts_as_no_time():
    histogram = Histogram()
    histogram.add(-5)
    assert (histogram.least, histogram.most, histogram.buckets[0]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_500_000_000, "1.50 s"),
        (86_400_000_000_000, "86400 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(time, text):
    assert duration(time) == text


class FakeHit:
    """A hit with given arguments, registers and memory."""

    def __init__(self, *arguments, memory=b"", **registers):
        self._arguments = arguments
        self.registers = registers
        self._memory = memory
        self.memory = self

    def arg(self, number):
        return self._arguments[number]

    def read(self, address, size):
        if address + size > len(self._memory):
            raise ProbeError("not there", code="not-mapped")
        return self._memory[address : address + size]

    def cstring(self, address, limit):
        return self.read(address, 1) and self._memory[address:].partition(b"\0")[0][:limit]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("arg0", "0x1"),
        ("arg1:int", "-1"),
        ("arg1:int32", "-1"),
        ("arg2:int32", "-2147483648"),
        ("arg2:int", "2147483648"),
        ("arg0:str", '"ello"'),
        ("arg0:4", "656c6c6f"),
        ("arg1:str", "?"),
        ("arg1:8", "?"),
        ("rdi", "0x10"),
        ("rdi:hex", "0x10"),
    ],
)
def test_values_are_shown_as_asked(text, shown):
    hit = FakeHit(1, (1 << 64) - 1, 1 << 31, memory=b"hello\0", rdi=16)
    [field] = parse_fields(text)
    assert written(field, field.read(hit)) == shown


@pytest.mark.parametrize("text", ["argx", "foo", "arg0:float", "arg0:0", "arg0:100000", "arg100"])
def test_values_that_do_not_exist_are_refused(text):
    with pytest.raises(ProbeError, match="--show") as caught:
        parse_fields(text)
    assert caught.value.code == "usage"
    assert caught.value.hint


def test_several_values_keep_their_order():
    assert [field.text for field in parse_fields(" arg1, rdi ,arg0:str,")] == [
        "arg1",
        "rdi",
        "arg0:str",
    ]
    assert parse_fields("") == []
    assert isinstance(parse_fields("arg0")[0], Field)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pid": 5, "command": ["x"]},
        {"command": []},
        {"pid": 5, "duration": 0.0},
        {"pid": 5, "duration": float("nan")},
        {"pid": 5, "most_hits": 0},
        {"pid": 5, "method": Method.JUMP, "follow_forks": True},
        {"pid": 5, "method": Method.TRAP, "max_overhead": 5.0},
        {"pid": 5, "max_overhead": 0.0},
        {"pid": 5, "max_overhead": 101.0},
    ],
)
def test_options_that_contradict_each_other_are_refused(options):
    with pytest.raises(ProbeError) as caught:
        Options(**options).check()
    assert caught.value.code == "usage"
    assert caught.value.hint


def test_a_location_is_called_by_the_shortest_name_it_has():
    assert label(Location(0x10, "s", "libc.so.6", function="read")) == "libc.so.6:read"
    assert label(Location(0x10, "s", "lib", function="f", offset=4)) == "lib:f+0x4"
    assert label(Location(0x7000, "s", "lib", elf_address=0x1000)) == "lib:0x1000"
    assert label(Location(0x7000, "s")) == "0x7000"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing-of-that-name"],
        ["count", "--bogus"],
        ["count", "x"],
        ["count", "x", "-p", "one"],
        ["count", "x", "--method", "magic", "-p", "1"],
        ["trace", "-p", "1"],
        ["latency", "-p", "1"],
        ["list"],
        ["check"],
        ["check", "/no/such/file:main"],
        ["check", "/etc/passwd:main"],
        ["list", "0x1000"],
        ["doctor", "--", "true"],
        ["count", "x", "--"],
    ],
)
def test_a_command_line_that_can_not_be_obeyed_is_an_error_and_exit_code_2(arguments, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_errors_are_documents_for_scripts(capsys):
    assert run(["list", "/no/such/file:main", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert set(error) == {"code", "spec", "address", "why", "hint"}
    assert error["code"] == "no-such-object"
    assert run(["count", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


@pytest.mark.parametrize("command", ["count", "trace", "latency", "check", "list", "doctor"])
def test_every_command_explains_itself_with_examples(command, capsys):
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: uprobes" in text
    assert f"uprobes {command}" in text.partition("Examples:")[2]
