"""Recordings in files: what was saved is loaded, what is no recording is refused, and what other
programs get is right.
"""

import contextlib
import csv
import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprobes import ProbeError
from uprobes.recording.export import EXPORTS
from uprobes.recording.recorded import Column, Kind, Place, Recorded
from uprobes.recording.store import Spool, in_order, load, save
from uprobes.recording.summary import distribution, log2_bins, summarise

DTYPE = np.dtype(
    {
        "names": ["probe", "time", "elapsed", "tid", "path", "raw"],
        "formats": ["<u4", "<i8", "<i8", "<u4", "S8", "V2"],
        "offsets": [8, 16, 24, 32, 40, 48],
        "itemsize": 56,
    }
)
COLUMNS = (
    Column("time", Kind.TIME),
    Column("tid", Kind.NUMBER),
    Column("elapsed", Kind.DURATION),
    Column("path", Kind.STRING),
    Column("raw", Kind.BYTES),
)
PLACES = (
    Place("libc:open", "libc.so.6", "open", 0x1000, "jump", returns=True, hits=3, passed=3),
    Place("va:0x2000", "", None, 0x2000, "trap", returns=True),
)


def recorded(*rows, **more):
    records = np.zeros(len(rows), DTYPE)
    for at, row in enumerate(rows):
        records[at] = row
    return Recorded(
        records, COLUMNS, PLACES, pid=17, command=("cat", "x y"), wall_ns=5, lost=2, **more
    )


@pytest.fixture
def example():
    return recorded(
        (0, 1_000_000, 500, 7, b"/etc", b"\x00\xff"),
        (1, 2_000_000, 1000, 8, b"\xff\xfe", b"ab"),
        (0, 4_000_500, 1500, 7, b"", b"\x00\x00"),
    )


def test_what_was_saved_is_loaded(example, tmp_path):
    save(example, tmp_path / "x.npz")
    again = load(tmp_path / "x.npz")
    assert again.description() == example.description()
    assert again.records.dtype.names == DTYPE.names
    assert again.records.tolist() == example.records.tolist()


def test_numpy_opens_a_recording_by_itself(example, tmp_path):
    save(example, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["records"]["tid"].tolist() == [7, 8, 7]


def test_a_spool_gives_back_everything_and_needs_no_name(tmp_path, example):
    spool = Spool(DTYPE, tmp_path)
    assert len(spool.records()) == 0
    for _ in range(3):
        spool.add(example.records)
    spool.add(example.records[:0])
    records = spool.records()
    assert len(spool) == len(records) == 9
    assert records.tolist() == example.records.tolist() * 3
    spool.close()
    assert records["tid"].sum() == 66
    assert list(tmp_path.iterdir()) == []


def test_records_are_put_in_the_order_of_time_and_left_alone_where_they_are(example):
    records = example.records
    assert in_order(records, "time") is records
    assert in_order(records, None) is records
    assert in_order(records[::-1], "time").tolist() == records.tolist()


@contextlib.contextmanager
def refusing():
    """Let nothing but our own error come out, as where it may or may not come."""
    try:
        yield
    except ProbeError as error:
        if error.code != "bad-recording":
            raise


BROKEN = {
    "no archive": lambda path: path.write_bytes(b"hello"),
    "an empty file": lambda path: path.write_bytes(b""),
    "an archive of something else": lambda path: np.savez(path, x=np.arange(3)),
    "pickled objects": lambda path: np.savez(
        path, records=np.array([{}], object), recording=np.array("{}")
    ),
    "a description that is no JSON": lambda path: np.savez(
        path, records=np.zeros(1, DTYPE), recording=np.array("{")
    ),
    "a description that is a list": lambda path: np.savez(
        path, records=np.zeros(1, DTYPE), recording=np.array("[]")
    ),
    "another version": lambda path: np.savez(
        path, records=np.zeros(1, DTYPE), recording=np.array('{"format": 99}')
    ),
    "records without fields": lambda path: np.savez(
        path,
        records=np.zeros(1),
        recording=np.array(json.dumps(recorded().description())),
    ),
    "records with other fields": lambda path: np.savez(
        path,
        records=np.zeros(1, [("probe", "u4")]),
        recording=np.array(json.dumps(recorded().description())),
    ),
    "a place that is not there": lambda path: save(recorded((2, 0, 0, 0, b"", b"")), path),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_recording_is_refused(what, tmp_path):
    path = tmp_path / "x.npz"
    BROKEN[what](path)
    with pytest.raises(ProbeError) as refused:
        load(path)
    assert refused.value.code == "bad-recording"
    assert refused.value.hint


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_damaged_file_is_refused_or_loaded_and_nothing_else(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    save(recorded((0, 1, 3, 2, b"x", b"yz")), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with refusing():
        summarise(load(path))


def test_a_description_with_anything_in_it_is_refused_or_taken(tmp_path):
    description = recorded().description()
    for name in description:
        for value in (None, -1, "x", [], {}, [None], [{}], {"name": 1}):
            changed = {**description, name: value}
            with refusing():
                summarise(Recorded.from_description(changed, np.zeros(0, DTYPE)))


def test_a_file_that_is_not_there_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


# -- for other programs --------------------------------------------------------------------------


def exported(form, example):
    file = io.StringIO()
    EXPORTS[form](example, file)
    return file.getvalue()


def test_csv_has_a_line_of_names_and_a_line_for_each_record(example):
    table = list(csv.reader(io.StringIO(exported("csv", example))))
    assert table[0] == ["place", "time", "tid", "elapsed", "path", "raw"]
    assert table[1] == ["libc.so.6:open", "1000000", "7", "500", "/etc", "00ff"]
    assert table[2] == ["0x2000", "2000000", "8", "1000", "\\xff\\xfe", "6162"]
    assert len(table) == 4


def test_json_has_an_object_a_line(example):
    objects = [json.loads(line) for line in exported("json", example).splitlines()]
    assert objects[0] == {
        "place": "libc.so.6:open", "time": 1_000_000, "tid": 7, "elapsed": 500, "path": "/etc",
        "raw": "00ff",
    }  # fmt: skip
    assert len(objects) == 3


def test_a_chrome_trace_has_a_slice_for_each_call(example):
    events = json.loads(exported("chrome", example))["traceEvents"]
    assert events[0]["args"] == {"name": "cat x y"}
    assert events[3] == {
        "name": "libc.so.6:open", "ph": "X", "pid": 17, "tid": 7, "ts": 3999.0, "dur": 1.5,
        "args": {"path": "", "raw": "0000"},
    }  # fmt: skip


def test_a_chrome_trace_without_durations_has_instants():
    records = np.zeros(2, [("probe", "<u4"), ("time", "<i8"), ("arg0", "<u8")])
    records["time"] = [3000, 5000]
    columns = (Column("time", Kind.TIME), Column("arg0", Kind.NUMBER))
    for made, expected in (
        (Recorded(records, columns, PLACES), [3.0, 5.0]),
        (Recorded(records, columns[1:], PLACES), [0.0, 1.0]),
    ):
        events = json.loads(exported("chrome", made))["traceEvents"][1:]
        assert [event["ts"] for event in events] == expected
        assert all(event["ph"] == "i" for event in events)


@pytest.mark.parametrize("form", EXPORTS)
def test_an_empty_recording_is_exported_too(form):
    assert exported(form, recorded()) is not None


# -- as a whole ----------------------------------------------------------------------------------


def test_the_summary_counts_by_function_thread_and_time(example):
    summary = summarise(example)
    assert (summary.records, summary.lost, summary.span_ns) == (3, 2, 3_000_500)
    first, second = summary.functions
    assert (first.place, first.records, second.records) == (PLACES[0], 2, 1)
    assert first.latency.log2_ns == (0,) * 8 + (1, 0, 1)
    assert (first.latency.min_ns, first.latency.mean_ns, first.latency.max_ns) == (500, 1000, 1500)
    tops = {top.column: top.values for top in summary.tops}
    assert tops == {
        "tid": ((7, 2), (8, 1)),
        "path": (("", 1), ("/etc", 1), ("\\xff\\xfe", 1)),
    }
    assert sum(summary.timeline.counts) == 3
    assert summary.timeline.counts[0] == summary.timeline.counts[-1] == 1
    json.dumps(summary.as_document())


def test_what_was_measured_is_saved_and_told(example, tmp_path):
    measured = {"sum(arg0)": 5, "min(arg0)": None, "log2(arg0)": [0, 3, 1]}
    places = (dataclasses.replace(PLACES[0], measures=measured), PLACES[1])
    save(dataclasses.replace(example, places=places), tmp_path / "x.npz")
    loaded = load(tmp_path / "x.npz")
    assert loaded.places == places
    [counted] = summarise(loaded).counted
    assert (counted.label, counted.hits, counted.measures) == ("libc.so.6:open", 3, measured)


def test_places_are_counted_where_nothing_is_recorded():
    places = (PLACES[0], dataclasses.replace(PLACES[1], hits=7))
    made = Recorded(np.zeros(0, [("probe", "<u4")]), (), places)
    assert [(c.label, c.hits) for c in summarise(made).counted] == [
        ("0x2000", 7),
        ("libc.so.6:open", 3),
    ]


def test_the_summary_of_nothing_is_empty():
    summary = summarise(recorded())
    assert (summary.records, summary.functions, summary.timeline) == (0, (), None)


def test_forged_times_do_not_break_the_summary():
    summary = summarise(
        recorded((0, -(2**63), -5, 0, b"", b""), (0, 2**63 - 1, 2**63 - 1, 0, b"", b""))
    )
    assert summary.span_ns == 2**64 - 1
    assert sum(summary.timeline.counts) == 2
    assert summary.functions[0].latency.min_ns == 0


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_bins_are_powers_of_two(times):
    bins = log2_bins(np.array(times, np.int64)).tolist()
    expected = [0] * 64
    for time in times:
        expected[max(time.bit_length() - 1, 0)] += 1
    assert bins == expected
    described = distribution(np.array(times, np.int64))
    assert (described.min_ns, described.max_ns) == (min(times), max(times))
    assert described.median_ns == sorted(times)[(len(times) - 1) // 2]


def test_a_recording_is_a_plain_zip_archive(example, tmp_path):
    save(example, tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["records.npy", "recording.npy"]
