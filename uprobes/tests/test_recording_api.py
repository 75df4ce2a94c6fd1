"""A recording over a memory that the test writes: reading, counting, several parts, its end."""

import struct

import numpy as np
import pytest
from installations import FakeInstalled

from ubp.programs.cells import cells_of
from uprobes import ProbeError
from uprobes.machine import machine_of_host
from uprobes.recording.clock import Clock, take_sample
from uprobes.recording.plan import Plan
from uprobes.recording.recorded import Place
from uprobes.recording.recording import Recording
from uprobes.recording.store import load, save

REGISTERS = machine_of_host().arch.registers


def begin(*functions, parts=1, **plan):
    """Make a recording of a process that has these functions, in so many parts."""
    given = {"fields": ("number=arg0", "twin=arg1"), "rings": 2, "capacity": 8, **plan}
    made = Plan(**given)
    recording = Recording(made, REGISTERS, pid=17, command=["x", "y"])
    for part in range(parts):
        names = functions[part::parts] or ("f",)
        recording.add(FakeInstalled(made, recording.program, REGISTERS, names))
    return recording


def installed(recording, part=0):
    return recording.parts[part].installed


def test_records_are_read_with_the_names_of_their_places():
    recording = begin("open", "close")
    one, other = installed(recording).writers
    one.write(5, probe=1)
    other.write(6, probe=0)
    records = recording.read()
    names = recording.names[records["probe"]].tolist()
    numbers = records["number"].tolist()
    assert dict(zip(names, numbers, strict=True)) == {"x.so:close": 5, "x.so:open": 6}
    assert (records["number"] == records["twin"]).all()
    assert recording.lost == recording.damaged == 0


def test_objects_that_were_mapped_later_make_further_parts_of_one_recording():
    recording = begin("open", "close", "read", parts=3)
    assert [place.function for place in recording.places] == ["open", "close", "read"]
    for part in range(3):
        installed(recording, part).writers[0].write(part)
    records = recording.read()
    assert records["probe"].tolist() == records["number"].tolist() == [0, 1, 2]
    assert recording.names[records["probe"]].tolist() == ["x.so:open", "x.so:close", "x.so:read"]
    assert records.dtype == recording.dtype


def test_parts_are_read_in_the_order_of_time():
    recording = begin(
        "open", "close", parts=2, fields=("time", "number=arg0"), **began_now()
    )  # a record: time, number
    for part in (1, 0, 1, 0):
        installed(recording, part).writers[0].write(take_sample().ticks)
    records = recording.read()
    assert records["probe"].tolist() == [1, 0, 1, 0]
    assert (np.diff(records["time"]) > 0).all()
    assert abs(int(records["time"][0]) - Clock().samples[0].ns) < 60e9


def began_now():
    plan = Plan().timed(Clock())
    return {"ns_per_tick": plan.ns_per_tick, "began": plan.began}


def test_hits_and_counts_stand_beside_the_sites():
    recording = begin("open", "close", where="arg0 > 5")
    memory = installed(recording)
    memory.hit(0, 7)
    memory.hit(1, 3)
    layout = cells_of(recording.program)
    memory.words[(memory.sites[1].cells + layout.passed) // 8] = 2
    assert recording.hits.tolist() == [7, 3]
    assert recording.counts.tolist() == [0, 2]
    first, second = recording.results()
    assert (first.site.location.function, first.hits, first.passed) == ("open", 7, 0)
    assert (second.hits, second.passed) == (3, 2)
    assert [(place.hits, place.passed) for place in recording.places] == [(7, 0), (3, 2)]


def test_a_limit_is_not_exceeded_by_counts_of_threads_that_came_too_late():
    recording = begin("f", fields=(), limit=5)
    memory = installed(recording)
    memory.words[(memory.sites[0].cells + cells_of(recording.program).passed) // 8] = 9
    assert recording.counts.tolist() == [5]


def test_measures_are_read_by_their_names():
    recording = begin(
        "f", "g", fields=(), measures=("sum(arg0)", "min(arg1)", "log2(arg2)", "linear(arg0,0,5,3)")
    )
    memory = installed(recording)
    layout = cells_of(recording.program)
    for site, number in ((0, 3), (1, 4)):
        at = memory.sites[site].cells // 8
        memory.words[at + layout.actions[0] // 8] = 10 * number
        memory.words[at + layout.actions[2] // 8 + number] = 2
    first, second = recording.results()
    assert (first.measures["sum(arg0)"], second.measures["sum(arg0)"]) == (30, 40)
    assert first.measures["min(arg1)"] is None
    bins = recording.histogram()
    assert bins.tolist() == recording.histogram("log2(arg2)").tolist()
    assert {at: int(n) for at, n in enumerate(bins) if n} == {3: 2, 4: 2}
    assert len(recording.histogram("linear(arg0,0,5,3)")) == 5
    with pytest.raises(KeyError):
        recording.histogram("log2(arg5)")


def test_a_recording_without_fields_has_no_records():
    recording = begin("f", fields=())
    assert len(recording.read()) == 0
    with recording.borrow() as parts:
        assert parts == []
    with pytest.raises(KeyError):
        recording.histogram()


def test_leaving_the_block_removes_and_what_is_unfinished_then_is_lost():
    with begin("f") as recording:
        writer = installed(recording).writers[0]
        writer.write(1)
        next(writer.steps(2))
        writer.write(3)
    assert installed(recording).done == ["remove"]
    assert recording.read()["number"].tolist() == [1, 3]
    assert recording.lost == 1


def test_a_detached_recording_is_left_in_the_process():
    with begin("f") as recording:
        recording.detach()
    assert installed(recording).done == ["detach"]
    installed(recording).writers[0].write(1)
    assert recording.read()["number"].tolist() == [1]
    late = FakeInstalled(recording.plan, recording.program, REGISTERS)
    recording.add(late)
    assert late.done == ["detach"]


def test_what_was_read_is_saved_with_all_that_explains_it(tmp_path):
    recording = begin("open", "close")
    installed(recording).refused.append(ProbeError("no", spec="z", code="nope"))
    installed(recording).writers[0].write(5, probe=1)
    save(recording.recorded(recording.read()), tmp_path / "x.npz")
    loaded = load(tmp_path / "x.npz")
    assert loaded.records["number"].tolist() == [5]
    assert loaded.command == ("x", "y")
    assert [place.label for place in loaded.places] == ["x.so:open", "x.so:close"]
    assert loaded.refused[0]["code"] == "nope"


def test_strings_that_could_not_be_read_are_known(tmp_path):
    recording = begin("f", fields=("path=str(arg0, 16)",))
    memory = installed(recording)
    memory.writers[0].write(0)
    at = memory.ring_at + memory.layout.data(0)
    struct.pack_into("<H", memory.memory, at + 14, 1)
    memory.writers[0].write(struct.unpack("<Q", b"/etc\0\0\0\0")[0])
    recorded = recording.recorded(recording.read())
    assert recorded.faulty("path").tolist() == [True, False]
    assert recorded.records["path"].tolist()[1].startswith(b"/etc")


def test_cells_that_would_lie_outside_of_the_memory_are_refused():
    plan = Plan(fields=())
    recording = Recording(plan, REGISTERS, pid=17)
    forged = FakeInstalled(plan, recording.program, REGISTERS, ("f", "g"))
    forged.sites[1].cells = 2**63
    with pytest.raises(ProbeError) as refused:
        recording.add(forged)
    assert refused.value.code == "bad-recording"


def test_names_from_a_process_do_not_reach_the_terminal_as_commands():
    assert Place("s", "\x1b[2J.so", "f\n\u202e", 1, "jump").label == "\\x1b[2J.so:f\\n\\u202e"
    assert Place("s", "é.so", "операция", 1, "jump").label == "é.so:операция"


def test_a_number_of_a_site_that_cannot_be_is_refused():
    plan = Plan(fields=())
    recording = Recording(plan, REGISTERS, pid=17)
    forged = FakeInstalled(plan, recording.program, REGISTERS)
    forged.sites[0].number = 2**60
    with pytest.raises(ProbeError) as refused:
        recording.add(forged)
    assert refused.value.code == "bad-recording"


def test_a_memory_smaller_than_its_description_says_is_refused():
    plan = Plan(fields=("tid",), rings=1, capacity=8)
    recording = Recording(plan, REGISTERS, pid=17)
    forged = FakeInstalled(plan, recording.program, REGISTERS)
    forged.ring_at += 4096
    with pytest.raises(ProbeError) as refused:
        recording.add(forged)
    assert refused.value.code == "ring-damaged"
