"""Recordings of real processes: every record is right, and every hit is a record or counted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import live
import numpy as np
import pytest

import uprobes
from uprobes.command.entry import run
from uprobes.patch import adopting
from uprobes.recording import load, open_recordings, save

pytestmark = [pytest.mark.live, pytest.mark.needs("gcc", package="gcc")]

ARGUMENTS = "time,tid,arg0,arg1,arg2,arg3,arg4,arg5"


@pytest.fixture
def records(victim):
    """Start the victim: `records(threads, calls)`; its text must be as it was at the end."""
    return lambda threads, calls: victim("records", threads, calls)


def rounds(running, number=1):
    """Let the victim call everything so many times, and wait until it has."""
    for _ in range(number):
        running.go()
        assert running.line().startswith("total ")


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "uprobes", *map(str, arguments)],
        capture_output=True, text=True, timeout=live.PATIENCE, **options,
    )  # fmt: skip


def said(capsys, *arguments):
    """Run the command here, which must succeed; return what it printed."""
    code = run([*map(str, arguments)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def refused(capsys, *arguments):
    """Run the command here, which must fail; return the code of the error that scripts get."""
    code = run([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert (code, err) == (2, "")
    error = json.loads(out)["error"]
    assert error["hint"]
    return error["code"]


def test_every_call_of_every_thread_is_recorded_once_with_its_arguments_and_time(records):
    threads, calls = 8, 5_000
    running = records(threads, calls)
    with uprobes.attach(running.pid) as target, target.record("work", ARGUMENTS) as recording:
        assert [str(site.method) for site in recording.sites] == ["jump"]
        begin = time.monotonic_ns()
        rounds(running)
        end = time.monotonic_ns()
        events = recording.read()
    assert len(events) == threads * calls
    assert recording.lost == recording.damaged == 0
    assert recording.hits.tolist() == [threads * calls]
    assert (np.diff(events["time"]) >= 0).all()
    assert begin - 1000 <= events["time"][0] <= events["time"][-1] <= end + 1000
    assert (events["arg0"] == events["arg1"]).all()
    for number, value in ((2, 3), (3, 4), (4, 5), (5, 6)):
        assert (events[f"arg{number}"] == value).all()
    tids = np.unique(events["tid"])
    assert len(tids) == threads
    for tid in tids:
        assert events["arg0"][events["tid"] == tid].tolist() == list(range(calls))


@pytest.mark.parametrize("mode", ["drop", "overwrite"])
def test_what_was_read_and_what_was_lost_are_all_that_happened(records, mode):
    threads, calls = 4, 100_000
    running = records(threads, calls)
    read = []
    with uprobes.attach(running.pid) as target:
        with target.record("work", "arg0,arg1,tid", size="256K", mode=mode) as recording:
            running.go()
            for _ in range(50):
                read.append(recording.read())
                time.sleep(0.001)
            assert running.line().startswith("total ")
        read.append(recording.read())
    events = np.concatenate(read)
    assert len(events) + recording.lost == threads * calls == int(recording.hits.sum())
    assert recording.lost > 0
    assert recording.damaged == 0
    assert (events["arg0"] == events["arg1"]).all()
    seen = set(zip(events["tid"].tolist(), events["arg0"].tolist(), strict=True))
    assert len(seen) == len(events), "a record came twice"


def test_a_flight_recorder_holds_the_last_records(records):
    running = records(1, 100_000)
    with uprobes.attach(running.pid) as target:
        fields = "arg0"
        with target.record("work", fields, size="64K", mode="overwrite") as recording:
            rounds(running)
        events = recording.read()
    assert events["arg0"].max() == 99_999
    assert len(events) + recording.lost == 100_000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"where": "arg0 >= 10 and arg0 < 20"}, list(range(10, 20))),
        ({"where": "arg0 % 100 == 7 and u64(sp) > 4096"}, list(range(7, 1000, 100))),
        ({"sample": 250}, [0, 250, 500, 750]),
        ({"limit": 3}, [0, 1, 2]),
        ({"where": "arg0 > 500", "sample": 100, "limit": 2}, [501, 601]),
    ],
)
def test_conditions_sampling_and_limits_choose_exactly(records, options, expected):
    running = records(1, 1000)
    with uprobes.attach(running.pid) as target:
        with target.record("work", "arg0", **options) as recording:
            rounds(running)
        assert recording.read()["arg0"].tolist() == expected
        assert recording.hits.tolist() == [1000]
        assert recording.counts.tolist() == [len(expected)]


@pytest.mark.parametrize("method", ["jump", "trap"])
def test_returns_are_recorded_with_their_values_and_durations(records, method):
    threads, calls = 4, 1000
    running = records(threads, calls)
    fields = "time,tid,elapsed,ret,arg0,third=arg2"
    with uprobes.attach(running.pid) as target:
        recording = target.record(
            ["work", "libc:pthread_join"], fields, measures="log2(elapsed),sum(ret)",
            returns=True, method=method,
        )  # fmt: skip
        with recording:
            assert {str(site.method) for site in recording.sites} == {method}
            begin = time.monotonic_ns()
            rounds(running)
            end = time.monotonic_ns()
    events = recording.read()
    assert recording.lost == 0
    assert recording.unhooked.tolist() == [0, 0]
    calls_of = dict(zip(recording.names.tolist(), recording.hits.tolist(), strict=True))
    assert calls_of == {"records:work": threads * calls, "libc.so.6:pthread_join": threads}
    work = events[recording.names[events["probe"]] == "records:work"]
    assert (work["ret"] == 2 * work["arg0"] + 18).all()
    assert (work["third"] == 3).all()
    assert sorted(work["arg0"].tolist()) == sorted(threads * list(range(calls)))
    assert (events["elapsed"] >= 0).all()
    assert (begin - 1000 <= events["time"] - events["elapsed"]).all()
    assert (events["time"] <= end + 1000).all()
    of_work, of_join = recording.results()
    assert sum(of_work.measures["log2(elapsed)"]) == threads * calls
    assert of_work.measures["sum(ret)"] == int(work["ret"].sum())
    assert of_join.measures["sum(ret)"] == 0


def test_breakpoints_record_as_jumps_do(records):
    threads, calls = 4, 500
    running = records(threads, calls)
    with uprobes.attach(running.pid) as target:
        where = "arg0 % 2 == 1"
        with target.record("work", "time,tid,arg0", where=where, method="trap") as recording:
            assert [str(site.method) for site in recording.sites] == ["trap"]
            rounds(running)
        events = recording.read()
    assert recording.hits.tolist() == [threads * calls]
    assert sorted(events["arg0"].tolist()) == sorted(threads * list(range(1, calls, 2)))
    assert len(np.unique(events["tid"])) == threads


def test_memory_is_read_where_it_can_be_and_marked_where_not(records):
    running = records(1, 1)
    fields = "str(arg0),short=str(arg0, 3),u32(arg1),before=s32(arg1 - 4),bytes(arg0, 4)"
    with uprobes.attach(running.pid) as target:
        with target.record("named", fields) as recording:
            rounds(running)
        events = recording.read()
    good, bad = events
    assert good["str(arg0)"] == b"a name"
    assert good["short"] == b"a n"
    assert (good["u32(arg1)"], good["before"]) == (70000, -5)
    assert good["bytes(arg0, 4)"].tobytes() == b"a na"
    recorded = recording.recorded(events)
    for column in recorded.columns:
        assert recorded.faulty(column.name).tolist() == [False, True]
    assert bad["str(arg0)"] == b""


def test_measures_are_exact_under_many_threads(records):
    threads, calls = 8, 20_000
    running = records(threads, calls)
    measures = "sum(arg0),min(arg0 + 5),max(arg0),log2(arg0),linear(arg0, 0, 1000, 10)"
    with uprobes.attach(running.pid) as target:
        with target.record("work", (), measures=measures) as recording:
            rounds(running)
        [result] = recording.results()
    total, least, most, log2, linear = result.measures.values()
    assert total == threads * sum(range(calls))
    assert (least, most) == (5, calls - 1)
    expected = [0] * 64
    for number in range(calls):
        expected[max(number.bit_length() - 1, 0)] += threads
    assert list(log2) == expected == recording.histogram().tolist()
    assert list(linear[:10]) == [threads * 1000] * 10
    assert linear[11] == threads * (calls - 10_000)
    assert recording.hits.tolist() == [threads * calls]


def test_records_are_lent_without_copying(records):
    running = records(1, 1000)
    with uprobes.attach(running.pid) as target, target.record("work", "arg0") as recording:
        rounds(running)
        with recording.borrow() as parts:
            numbers = np.concatenate([part["arg0"] for part in parts])
        assert sorted(numbers.tolist()) == list(range(1000))
        assert len(recording.read()) == 0


def test_the_records_of_a_process_that_ended_can_be_read(records):
    running = records(2, 1000)
    with uprobes.attach(running.pid) as target:
        recording = target.record("work", "time,tid,arg0")
        rounds(running)
        running.process.stdin.write(b"q")
        status = target.run(live.PATIENCE)
        assert status.code == 7
    running.process.wait(live.PATIENCE)
    assert len(recording.read(final=True)) == 2000
    assert recording.lost == 0


def test_functions_of_libraries_that_are_mapped_later_are_recorded_from_their_first_call():
    with uprobes.spawn(["sh", "-c", "cd /; cd /usr; cd /"]) as target:
        recording = target.record(["libc:chdir", "libc:_exit"], "str(arg0)")
        assert recording.pending == ["libc:chdir", "libc:_exit"]
        assert target.run(live.PATIENCE).code == 0
        events = recording.read(final=True)
    names = recording.names[events["probe"]].tolist()
    assert [name.split(":")[1] for name in names] == ["chdir"] * 3 + ["_exit"]
    assert events["str(arg0)"].tolist()[:3] == [b"/", b"/usr", b"/"]


def test_the_next_program_of_a_process_is_recorded_too():
    with uprobes.spawn(["sh", "-c", "cd /; exec sh -c 'cd /usr; cd /tmp'"]) as target:
        recording = target.record("libc:chdir", "str(arg0)")
        assert target.pending == ("libc:chdir",)
        assert target.run(live.PATIENCE).code == 0
        events = recording.read(final=True)
    assert sorted(events["str(arg0)"].tolist()) == [b"/", b"/tmp", b"/usr"]
    assert int(recording.hits.sum()) == 3
    assert target.pending == ()


def test_a_recording_goes_on_without_a_tracer_and_is_read_and_removed_by_others(
    records, tmp_path, capsys
):
    running = records(2, 1000)
    done = command("record", "work", "-f", "time,tid,arg0", "-p", running.pid, "--detach")
    assert (done.returncode, done.stderr) == (0, "")
    assert live.tracer_of(running.pid) == 0
    rounds(running, 2)

    # Nobody is in the way of another tracer, which leaves the recording alone.
    with uprobes.attach(running.pid) as target:
        seen = []
        target.uprobe("named", seen.append)
        rounds(running)
    assert len(seen) == 2

    [listed] = json.loads(said(capsys, "list", running.pid, "--json"))["recordings"]
    assert (listed["hits"], listed["records"], listed["lost"]) == (6000, 6000, 0)
    assert listed["places"] == ["records:work"]
    [told] = json.loads(said(capsys, "report", running.pid, "--json"))["recordings"]
    assert (told["records"], told["lost"], told["damaged"]) == (6000, 0, 0)
    [function] = told["functions"]
    assert (function["label"], function["records"]) == ("records:work", 6000)
    assert len(next(top for top in told["tops"] if top["column"] == "tid")["values"]) == 6

    saved = tmp_path / "x.npz"
    assert said(capsys, "export", running.pid, "--take", "-o", saved) == ""
    loaded = load(saved)
    assert sorted(loaded.records["arg0"].tolist()) == sorted(6 * list(range(1000)))
    assert (np.diff(loaded.records["time"]) >= 0).all()
    [recording] = open_recordings(running.pid)
    assert len(recording.read()) == 0
    rounds(running)
    assert len(recording.read()) == 2000

    done = command("remove", running.pid)
    assert (done.returncode, done.stderr) == (0, "")
    running.check_untouched()
    assert refused(capsys, "list", running.pid) == "no-recording"
    rounds(running)


@pytest.mark.parametrize("mode", ["drop", "overwrite"])
def test_who_may_not_map_the_memory_of_a_process_copies_it(records, monkeypatch, capsys, mode):
    running = records(2, 1000)
    with uprobes.attach(running.pid) as target:
        target.record("work", "time,arg0", mode=mode, size="1M").detach()
    monkeypatch.setattr(adopting, "open_view", lambda pid, *where: adopting._copied(*where))
    [taker] = open_recordings(running.pid, keep=False)
    [looker] = open_recordings(running.pid)
    for number in range(40):
        rounds(running)
        assert len(looker.read()) == len(taker.read()) == 2000
        assert int(taker.hits.sum()) == 2000 * (number + 1)
    assert taker.lost == looker.lost == 0
    monkeypatch.undo()
    [late] = open_recordings(running.pid)
    assert (len(late.read()) == 0) is (mode == "drop")
    assert "1 recording was taken out" in said(capsys, "remove", running.pid)
    assert len(taker.read()) == 0


def test_a_tracer_is_not_taken_for_a_process_that_records(records):
    running = records(1, 10)
    tracer = subprocess.Popen(
        [sys.executable, "-c", TRACER, str(running.pid)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert tracer.stdout.readline() == "records\n"
        with pytest.raises(uprobes.ProbeError, match="nothing is recorded"):
            open_recordings(tracer.pid)
        with uprobes.attach(tracer.pid) as target:
            assert target.installed == ()
        rounds(running)
        assert tracer.communicate("\n", live.PATIENCE) == ("10\n", None)
    finally:
        tracer.kill()
        tracer.wait()


TRACER = """
import sys, uprobes
with uprobes.attach(int(sys.argv[1])) as target, target.record("work") as recording:
    print("records", flush=True)
    sys.stdin.readline()
    print(len(recording.read()))
"""


def test_whoever_detaches_goes_on_reading(records):
    running = records(2, 1000)
    with uprobes.attach(running.pid) as target:
        recording = target.record("work", "arg0")
        recording.detach()
    assert live.tracer_of(running.pid) == 0
    rounds(running, 3)
    assert len(recording.read()) == 6000
    with uprobes.attach(running.pid) as target:
        assert len(target.installed) == 1
        target.installed[0].remove()
    rounds(running)
    assert len(recording.read(final=True)) == 0


def test_a_process_that_scribbles_over_its_rings_harms_nobody_but_its_own_figures(records):
    running = records(1, 1000)
    with uprobes.attach(running.pid) as target, target.record("work", "time,arg0") as recording:
        rounds(running)
        memory = recording.parts[0].installed.memory
        over = threading.Event()

        def scribble():
            random = np.random.default_rng(5)
            content = np.frombuffer(memory, np.uint8)
            begin = recording.parts[0].installed.ring_at
            layout = recording.plan.layout(target.machine.arch.registers)
            while not over.is_set():
                for ring in range(layout.rings):
                    at = begin + layout.control(ring)
                    content[at : at + 72] = random.integers(0, 256, 72, np.uint8)
                at = begin + layout.data(0)
                content[at : at + 65536] = random.integers(0, 256, 65536, np.uint8)

        thread = threading.Thread(target=scribble)
        thread.start()
        try:
            most = recording.plan.rings * recording.plan.capacity
            end = time.monotonic() + live.PATIENCE
            while recording.damaged < 50:
                assert time.monotonic() < end, "nothing was noticed"
                events = recording.read()
                assert len(events) <= most
                assert (events["probe"] == 0).all()
                with recording.borrow() as parts:
                    assert sum(map(len, parts)) <= most
        finally:
            over.set()
            thread.join()
        rounds(running)


def test_the_description_of_a_recording_may_be_forged(records):
    running = records(1, 10)
    with uprobes.attach(running.pid) as target:
        recording = target.record("work", "arg0")
        recording.detach()
    random = np.random.default_rng(7)
    memory = np.frombuffer(recording.parts[0].installed.memory, np.uint8)
    notes = recording.parts[0].installed.notes_at
    original = memory.copy()
    for _ in range(40):
        at = random.integers(0, 64) if random.random() < 0.3 else notes + random.integers(0, 2000)
        memory[at] = random.integers(0, 256)
        try:
            for opened in open_recordings(running.pid):
                opened.read()
                opened.results()
        except uprobes.ProbeError as error:
            assert error.code  # noqa: PT017 - what was changed may as well not matter
    memory[:] = original
    with uprobes.attach(running.pid) as target:
        for installed in target.installed:
            installed.remove()


# -- the command -----------------------------------------------------------------------------------


def test_a_command_is_recorded_into_a_file(build, tmp_path, capsys):
    program, saved = build("records"), tmp_path / "x.npz"
    done = command(
        "record", "work", "libc:read", "-f", ARGUMENTS, "-o", saved, "--json", "--",
        program, 4, 10_000, input="\nq",
    )  # fmt: skip
    assert done.returncode == 7
    assert done.stdout.splitlines()[-1].startswith("total ")
    document = json.loads(done.stderr)
    assert document["recording"]["file"] == str(saved)
    assert document["recording"]["records"] + document["lost"] == 40_002
    assert {probe["function"]: probe["hits"] for probe in document["probes"]} == {
        "work": 40_000,
        "read": 2,
    }
    recorded = load(saved)
    assert len(recorded.records) == document["recording"]["records"]
    assert (np.diff(recorded.records["time"]) >= 0).all()
    told = said(capsys, "report", saved)
    assert "records:work" in told
    assert "▕" in told
    lines = said(capsys, "export", saved, "--csv").splitlines()
    assert len(lines) == len(recorded.records) + 1
    trace = tmp_path / "trace.json"
    assert said(capsys, "export", saved, "--chrome", "-o", trace) == ""
    assert len(json.loads(trace.read_text())["traceEvents"]) == len(recorded.records) + 1


BAD = {
    "unknown field": (["work", "-f", "nix"], "bad-field"),
    "a return value at an entry": (["work", "-f", "ret"], "bad-field"),
    "a condition": (["work", "--where", "arg0 >"], "bad-condition"),
    "a size": (["work", "--size", "much"], "bad-size"),
    "too small a size": (["work", "--size", "1"], "bad-size"),
    "a mode": (["work", "--mode", "sometimes"], "bad-mode"),
    "a sample": (["work", "--sample", "0"], "bad-program"),
    "a measure": (["work", "--measure", "mean(arg0)"], "bad-measure"),
    "a method with handlers": (["work", "--method", "step"], "usage"),
    "no spec": ([], "usage"),
    "no such function": (["nix"], "no-such-symbol"),
    "a file without anybody to write it": (["work", "--detach", "-o", "x"], "usage"),
    "a file in a folder that is not there": (["work", "-o", "/nowhere/x.npz"], "usage"),
    "an object that is not mapped": (["libnix:f", "--detach"], "no-such-object"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_can_not_be_recorded_is_said_with_what_to_do(records, capsys, what):
    running = records(1, 1)
    arguments, code = BAD[what]
    limits = [] if "--detach" in arguments else ["-d", "1"]
    assert refused(capsys, "record", *arguments, "-p", running.pid, *limits) == code
    rounds(running)


def test_a_command_line_that_fails_leaves_no_thread_behind(records, capsys):
    running = records(1, 1)
    assert refused(capsys, "record", "libnix:f", "-p", running.pid, "-d", "1") == "no-such-object"
    assert "uprobes drain" not in [thread.name for thread in threading.enumerate()]


def test_sources_that_are_none_are_refused(tmp_path, capsys):
    (tmp_path / "x").write_text("hello")
    for source, code in (
        (tmp_path / "none", "usage"),
        (tmp_path / "x", "bad-recording"),
        (os.getpid(), "no-recording"),
        (2**22 + 5, "no-such-process"),
    ):
        assert refused(capsys, "report", source) == code


def test_a_recording_is_saved_by_the_interface_too(records, tmp_path):
    running = records(1, 100)
    with uprobes.attach(running.pid) as target:
        with target.record("work") as recording:
            rounds(running)
        save(recording.recorded(recording.read()), tmp_path / "x.npz")
    loaded = load(Path(tmp_path / "x.npz"))
    assert len(loaded.records) == 100
    assert loaded.places[0].hits == 100
    assert 0 < loaded.error_ns < 1_000_000


def test_a_spawned_program_does_not_begin_before_it_is_run(build):
    argv = [str(build("records")), "1", "10"]
    with uprobes.spawn(argv) as target:
        recording = target.record(["work", "libc:pthread_create"], "tid")
        time.sleep(0.05)
        assert live.process_state(target.pid) == "t"
        assert recording.pending == ["libc:pthread_create"]
        target.kill()
        assert target.run(live.PATIENCE).signal == signal.SIGKILL
