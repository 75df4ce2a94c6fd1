"""The command on real processes: reports, exit codes, and targets that notice nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import uprobes
from uprobes.command.entry import run

pytestmark = [pytest.mark.live, pytest.mark.needs("gcc", package="gcc")]

CALLS = 100
"""What a victim does for each line that it reads."""

DOCUMENT = {"target", "elapsed_s", "hits", "misses", "lost", "probes", "refused"}
PROBE = {
    "spec", "object", "function", "address", "instruction", "method", "why_not", "hits", "misses",
    "cost_ns", "sampled", "latency",
}  # fmt: skip


@pytest.fixture
def victim(compiled, waiting):
    return waiting(compiled("names"))


@pytest.fixture
def on_victim(victim):
    """Begin a command on the victim, wait until it is attached, let the victim call: the result."""
    started = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "uprobes", *arguments, "-p", str(victim.pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        before = text_of(victim.pid)
        while text_of(victim.pid) == before and process.poll() is None:
            time.sleep(0.01)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def text_of(pid, path=""):
    """Read a program's first code mapping, or that of the object whose path contains this.

    What we map in front of it is none: it is there before anything leads to it.
    """
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            if " r-xp " in line and "/" in line and path in line:
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                memory.seek(start)
                return memory.read(end - start)
    raise AssertionError("the process has no code")


def program(compiled):
    return str(compiled("names"))


def test_count_of_a_command_reports_on_stderr_and_exits_as_it_does(compiled, uprobes_command):
    done = uprobes_command("count", "alone", "libc:fgets", "--", program(compiled), input="\n\n\n")
    assert done.returncode == 7
    assert done.stdout.splitlines()[-1] == "ready"
    assert "304 hits, 0 misses, 0 lost, 0 refused" in done.stderr
    assert "exited with 7" in done.stderr


def test_output_of_the_command_is_its_own_with_every_function_probed(compiled, uprobes_command):
    plain = subprocess.run(
        [compiled("names", "-no-pie")], input="\n", capture_output=True, text=True
    )
    probed = uprobes_command("count", "--json", "--", compiled("names", "-no-pie"), input="\n")
    assert (probed.returncode, probed.stdout) == (plain.returncode, plain.stdout)
    document = json.loads(probed.stderr)
    hits = {probe["function"]: probe["hits"] for probe in document["probes"]}
    assert hits["alone"] == hits["other_twin"] == CALLS
    assert hits["main"] == 1
    assert len(hits) > 1000


def test_the_document_has_every_key(compiled, uprobes_command):
    done = uprobes_command(
        "count", "alone", "nosuch", "libnone:x", "--json", "--", program(compiled), input="\n"
    )
    document = json.loads(done.stderr)
    assert set(document) == DOCUMENT
    assert set(document["target"]) == {"pid", "command", "exit_code", "signal"}
    assert document["target"]["command"] == [program(compiled)]
    assert document["target"]["exit_code"] == 7
    assert document["target"]["signal"] is None
    [probe] = document["probes"]
    assert set(probe) == PROBE
    assert (probe["spec"], probe["object"], probe["function"]) == ("alone", "names", "alone")
    assert (probe["hits"], probe["misses"]) == (CALLS, 0)
    assert probe["method"] == "jump"
    assert probe["instruction"]
    assert probe["why_not"] == {}
    refused = {error["spec"]: error["code"] for error in document["refused"]}
    assert refused == {"nosuch": "no-such-symbol", "libnone:x": "no-such-object"}
    assert all(set(e) == {"code", "spec", "address", "why", "hint"} for e in document["refused"])


def test_counting_a_running_process_reports_on_stdout_and_leaves_its_code_as_it_was(
    victim, on_victim
):
    before = text_of(victim.pid)
    count = on_victim("count", "alone", "-n", str(CALLS))
    victim.go()
    out, err = count.communicate(timeout=60)
    assert (count.returncode, err) == (0, "")
    assert f"{CALLS} hits, 0 misses" in out
    assert "still running" in out
    assert text_of(victim.pid) == before
    assert victim.finish() == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_the_report_and_the_target_goes_on(victim, on_victim, number):
    before = text_of(victim.pid)
    count = on_victim("count", "alone", "--json")
    count.send_signal(number)
    out, err = count.communicate(timeout=60)
    assert (count.returncode, err) == (0, "")
    assert json.loads(out)["hits"] == 0
    assert text_of(victim.pid) == before
    assert victim.finish() == 7


def test_the_time_that_was_given_ends_the_run(victim, uprobes_command):
    done = uprobes_command("count", "alone", "-d", "0.1", "-p", victim.pid)
    assert done.returncode == 0
    assert "0 hits, 0 misses, 0 lost, 0 refused" in done.stdout
    assert victim.finish() == 7


def test_an_object_is_waited_for_and_its_first_call_is_counted(compiled, waiting):
    library = compiled("late", "-shared", "-fPIC")
    victim = waiting(compiled("opener"), library)
    before = text_of(victim.pid, "/ld-")
    arguments = ["count", "late:late", "-w", "--json", "-p", str(victim.pid)]
    count = subprocess.Popen(
        [sys.executable, "-m", "uprobes", *arguments], stdout=subprocess.PIPE, text=True
    )
    while text_of(victim.pid, "/ld-") == before and count.poll() is None:
        time.sleep(0.01)
    victim.go()
    assert victim.finish() == 7
    out, _ = count.communicate(timeout=60)
    document = json.loads(out)
    assert count.returncode == 0
    assert document["refused"] == []
    assert [probe["hits"] for probe in document["probes"]] == [CALLS + 1]


LOOP = "i=0; while [ $i -lt 120000 ]; do i=$((i+1)); done; exit 3"


def test_probes_over_the_budget_are_sampled_and_told(uprobes_command):
    command = ["count", "*", "--max-overhead", "1", "--top", "0"]
    shell = [shutil.which("dash") or "sh", "-c", LOOP]
    done = uprobes_command(*command, "--json", "--", *shell)
    assert done.returncode == 3
    document = json.loads(done.stderr)
    sampled = [probe for probe in document["probes"] if probe["sampled"] is not None]
    assert sampled
    for probe in sampled:
        assert 0 < probe["sampled"]["share"] < 1
        assert probe["sampled"]["estimate"] >= probe["hits"]
    assert not [error for error in document["refused"] if error["code"] == "over-budget"]
    done = uprobes_command(*command, "--", *shell)
    assert done.returncode == 3
    told = re.findall(
        r"^\S+: sampled [\d.]+ % of the time: [\d,]+ hits seen, about [\d,]+$", done.stderr, re.M
    )
    assert told


def test_probes_that_even_the_shortest_window_makes_too_dear_are_taken_out(uprobes_command):
    shell = [shutil.which("dash") or "sh", "-c", LOOP]
    done = uprobes_command("count", "*", "--max-overhead", "0.001", "--json", "--", *shell)
    assert done.returncode == 3
    document = json.loads(done.stderr)
    over = {error["spec"] for error in document["refused"] if error["code"] == "over-budget"}
    assert over
    assert over <= {probe["spec"] for probe in document["probes"]}
    assert all(error["hint"] for error in document["refused"])


def test_something_refused_is_told_and_exit_code_1(victim, uprobes_command):
    done = uprobes_command("count", "alone", "twin", "-d", "0.1", "-p", victim.pid)
    assert done.returncode == 1
    assert "1 refused" in done.stdout
    assert "refused (ambiguous): twin" in done.stdout


def test_a_report_goes_to_the_file_that_was_named(compiled, uprobes_command, tmp_path):
    report = tmp_path / "report"
    done = uprobes_command("count", "alone", "-o", report, "--", program(compiled), input="\n")
    assert done.stderr == ""
    assert f"{CALLS} hits" in report.read_text()


def test_a_command_killed_by_a_signal_kills_us_by_the_same(uprobes_command):
    done = uprobes_command("count", "libc:kill", "--", "sh", "-c", "kill -USR1 $$")
    assert done.returncode == -signal.SIGUSR1
    assert f"ended by signal {signal.SIGUSR1:d}" in done.stderr


def test_a_command_outlives_the_time_given_and_its_exit_code_is_ours(compiled, uprobes_command):
    script = "read line; sleep 0.5; echo later; exit 5"
    done = uprobes_command(
        "count", "libc:malloc", "-d", "0.1", "--json", "--", "sh", "-c", script, input="\n"
    )
    assert done.returncode == 5
    assert done.stdout == "later\n"
    document = json.loads(done.stderr)
    assert document["target"]["exit_code"] == 5
    assert document["elapsed_s"] < 60


def test_a_signal_for_us_is_handed_on_to_our_command():
    process = subprocess.Popen(
        [sys.executable, "-m", "uprobes", "count", "libc:malloc", "--json", "--",
         "sh", "-c", "trap 'exit 9' TERM; echo on; while :; do sleep 0.01; done"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "on\n"
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 9
    assert json.loads(err)["target"]["exit_code"] == 9


def test_trace_writes_a_line_for_each_hit_and_each_return(compiled, uprobes_command):
    done = uprobes_command(
        "trace", "alone", "--show", "arg0:int,rdi", "-r", "--", program(compiled), input="\n"
    )
    assert done.returncode == 7
    lines = [line for line in done.stderr.splitlines() if "names:alone" in line]
    entries = [line for line in lines if "alone(" in line]
    returns = [line for line in lines if " = 0x" in line]
    assert (len(entries), len(returns)) == (CALLS, CALLS)
    assert "alone(1, 0x1)" in entries[0]
    assert returns[0].split(" = ")[1].startswith("0x6 after")


def test_trace_for_scripts_is_a_document_a_line_and_a_summary(compiled, uprobes_command):
    done = uprobes_command(
        "trace", "libc:puts", "libc:fputs", "alone", "--json", "--where", "arg0 == 1",
        "--", program(compiled), input="\n",
    )  # fmt: skip
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["hit", "summary"]
    assert events[0]["function"] == "alone"
    assert events[0]["args"]["arg0"] == 1
    assert events[0]["tid"] == events[0]["pid"] == events[1]["target"]["pid"]
    assert set(events[1]) == DOCUMENT | {"event"}
    assert events[1]["hits"] == 1


def test_trace_shows_strings(uprobes_command):
    done = uprobes_command(
        "trace", "libc:chdir", "--show", "arg0:str", "--", "sh", "-c", "cd /usr; echo there"
    )
    assert done.stdout == "there\n"
    assert 'chdir("/usr")' in done.stderr


def test_trace_ends_quietly_when_nobody_reads_on(victim, on_victim):
    trace = on_victim("trace", "alone")
    trace.stdout.close()
    for _ in range(3):
        victim.go()
    assert trace.wait(60) == 1
    assert trace.stderr.read() == ""
    trace.stdout = None
    assert victim.finish() == 7


def test_a_condition_that_can_not_be_read_is_an_error(victim, uprobes_command):
    done = uprobes_command("trace", "alone", "--where", "arg0 >", "-p", victim.pid)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_latency_has_a_histogram_of_every_call(compiled, uprobes_command):
    done = uprobes_command(
        "latency", "alone", "main", "--json", "--", program(compiled), input="\n"
    )
    assert done.returncode == 7
    document = json.loads(done.stderr)
    assert set(document) == DOCUMENT
    latencies = {probe["function"]: probe["latency"] for probe in document["probes"]}
    assert latencies["alone"]["count"] == sum(latencies["alone"]["log2_ns"]) == CALLS
    assert latencies["main"]["count"] == 1
    # A thread that moves between two calls of a clock to a CPU whose clock is behind measures 0.
    assert latencies["main"]["max_ns"] > latencies["alone"]["min_ns"] >= 0


def test_latency_draws_what_it_measured(compiled, uprobes_command):
    done = uprobes_command("latency", "alone", "--", program(compiled), input="\n")
    assert "█" in done.stderr
    assert f"{CALLS} hits, 0 misses" in done.stderr


@pytest.mark.parametrize("method", ["inline", "step", "boost", "emulate", "trap", "jump"])
def test_a_method_can_be_forced(compiled, uprobes_command, method):
    done = uprobes_command(
        "count", "libc:malloc", "main", "--method", method, "--json", "--", program(compiled),
        input="\n",
    )  # fmt: skip
    document = json.loads(done.stderr)
    assert done.returncode == 7
    for probe in document["probes"]:
        assert probe["method"] == method
    assert document["probes"]
    assert document["refused"] == []


@pytest.mark.parametrize("command", ["count", "latency"])
def test_where_nothing_can_be_installed_probes_stop_the_program(
    compiled, monkeypatch, capsys, tmp_path, command
):
    def install(*_arguments, **_options):
        raise uprobes.CannotMap("there is no room")

    monkeypatch.setattr("uprobes.target.Target.install", install)
    (tmp_path / "input").write_text("\n")
    script = f"exec {program(compiled)} < {tmp_path / 'input'}"
    arguments = ["--json", "-o", str(tmp_path / "report"), "--", "sh", "-c", script]
    assert run([command, "names:alone", "libc:chdir", *arguments]) == 7
    document = json.loads((tmp_path / "report").read_text())
    assert document["refused"] == []
    hits = {probe["function"]: (probe["hits"], probe["method"]) for probe in document["probes"]}
    assert hits["alone"][0] == CALLS
    assert hits["alone"][1] in ("boost", "emulate")


def test_children_run_on_unprobed_and_unharmed(uprobes_command):
    script = "cd /; for i in 1 2 3; do (cd /usr && pwd); done"
    done = uprobes_command("count", "libc:chdir", "--json", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "/usr\n/usr\n/usr\n")
    assert json.loads(done.stderr)["hits"] == 1


def test_list_shows_all_three_addresses(victim, uprobes_command):
    done = uprobes_command("list", "names:*twin*", "-p", victim.pid, "--json")
    assert done.returncode == 0
    places = json.loads(done.stdout)["places"]
    assert len(places) == 3
    other = next(place for place in places if place["function"] == "other_twin")
    assert other["address"] == victim.addresses["other_twin"]
    assert other["address"] - other["elf_address"] != 0
    text = uprobes_command("list", "names:*twin*", "-p", victim.pid).stdout
    assert hex(other["address"]) in text
    assert hex(other["elf_address"]) in text


def test_list_without_a_spec_shows_the_objects(victim, uprobes_command):
    done = uprobes_command("list", "-p", victim.pid, "--json")
    names = [row["object"] for row in json.loads(done.stdout)]
    assert names[0] == "names"
    assert any(name.startswith("libc.so") for name in names)


def test_list_and_check_take_files_without_any_process(compiled, uprobes_command):
    path = program(compiled)
    done = uprobes_command("list", path, "--json")
    functions = {place["function"] for place in json.loads(done.stdout)["places"]}
    assert {"alone", "main", "other_twin"} <= functions
    done = uprobes_command("check", f"{path}:alone", f"{path}:main", "--json")
    assert done.returncode == 0
    for answer in json.loads(done.stdout):
        assert set(answer) == {"object", "function", "address", "instruction", "methods"}
        assert answer["methods"]["step"] is None


def test_check_touches_nothing(victim, uprobes_command):
    before = text_of(victim.pid)
    done = uprobes_command("check", "alone", "libc:*", "--json", "-p", victim.pid)
    answers = json.loads(done.stdout)
    assert len(answers) > 1000
    assert answers[0]["function"] == "alone"
    assert text_of(victim.pid) == before
    refused = [a for a in answers if a["methods"]["inline"] is not None]
    assert done.returncode == (1 if refused else 0)
    with open(f"/proc/{victim.pid}/status") as status:
        assert "TracerPid:\t0\n" in status


def test_doctor_finds_nothing_wrong_with_our_own_child(victim, uprobes_command):
    done = uprobes_command("doctor", "-p", victim.pid, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, document
    assert document["may_trace"] is True
    topics = {finding["topic"] for finding in document["findings"]}
    assert {"machine", "privileges", "process", "permission"} <= topics


def test_doctor_says_why_a_process_can_not_be_traced(uprobes_command):
    done = uprobes_command("doctor", "-p", os.getppid() if os.getppid() == 1 else 1, "--json")
    assert done.returncode == 1
    problems = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "problem"]
    assert all(problem["advice"] for problem in problems)
    assert any("init" in problem["found"] for problem in problems)


def test_interrupting_a_command_ends_both_with_the_summary(compiled):
    process = subprocess.Popen(
        [sys.executable, "-m", "uprobes", "count", "alone", "--", program(compiled)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while process.stdout.readline().strip() != "ready":
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "0 hits, 0 misses" in err


AS_NOBODY = """
import contextlib, ctypes, io, os, sys
from uprobes.command.entry import main, run
quiet = io.StringIO()
with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
    assert run(["count", "libc:malloc", "--json", "--", "true"]) == 0
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an exec
main(sys.argv[1:])
"""
"""A first run imports everything: nobody may not be able to read the interpreter's files."""


def test_no_privilege_is_needed_for_a_process_of_ones_own():
    if os.geteuid():
        pytest.skip("needs root: to become an unprivileged user")
    arguments = ["count", "libc:chdir", "--json", "--", "sh", "-c", "cd /; cd /usr; id -u"]
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "65534\n")
    assert json.loads(done.stderr)["hits"] == 2


def test_doctor_names_the_tracer_of_a_traced_process(victim, uprobes_command):
    with uprobes.attach(victim.pid):
        done = uprobes_command("doctor", "-p", victim.pid, "--json")
    assert done.returncode == 1
    problems = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "problem"]
    assert [f"process {os.getpid()} " in problem["found"] for problem in problems] == [True]
