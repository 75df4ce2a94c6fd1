"""The command `insn`: what it prints, and how it leaves."""

import contextlib
import io
import json
import os
import subprocess
import sys
from typing import NamedTuple
from unittest import mock

import pytest
from elf_files import OBJECT, Elf, Symbol

from insn import Method
from insn.command import main

PROBED = bytes.fromhex("55 48 89 e5 5d c3").ljust(
    16, b"\x90"
)  # push rbp; mov rbp, rsp; pop rbp; ret


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def insn(*arguments: str) -> Done:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["insn", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main()
    return Done(left.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(
        Elf(
            code=PROBED + b"\x0f\x0b".ljust(16, b"\x90") + b"\x0f\x05\xc3",
            symbols=[
                Symbol("start", 0x401000, 6),
                Symbol("stop", 0x401010, 2),
                Symbol("call_kernel", 0x401020, 3),
                Symbol("table", 0x500000, 4, OBJECT),
            ],
            data=b"1234",
        ).build()
    )
    return str(path)


def test_decode_shows_instructions_flow_and_methods():
    done = insn("decode", "e8", "00000000", "c3", "--address", "0x401000")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split()[:6] == ["0x401000", "e8", "00", "00", "00", "00"]
    assert "call to 0x401005" in lines[1]
    assert "boost: pushes-address" in lines[1]
    assert lines[2].split()[0] == "0x401005"
    assert any(line.startswith("pushes-address: ") for line in lines)


@pytest.mark.parametrize("text", ["4889e5", "48 89 e5", "0x48,0x89,0xe5", r"\x48\x89\xe5"])
def test_bytes_may_be_written_as_people_write_them(text):
    (found,) = json.loads(insn("decode", text, "--json").stdout)
    assert found["instruction"] == "mov rbp, rsp"
    assert found["code"] == "4889e5"


def test_decode_prints_the_documented_fields_as_json():
    done = insn("decode", "488b0510000000", "cc", "--address", "0x1000", "--json")
    moved, trap = json.loads(done.stdout)
    assert moved["pc_relative"] == {"offset": 3, "size": 4, "kind": "memory", "target": 0x1017}
    assert moved["methods"]["step"] is None
    assert set(moved["methods"]) == {method.value for method in Method}
    assert trap["methods"]["step"]["code"] == "trap-instruction"
    assert trap["address"] == 0x1007


def test_other_architectures_can_be_named():
    (found,) = json.loads(insn("decode", "40", "--arch", "i386", "--json").stdout)
    assert found["instruction"] == "inc eax"


def test_what_precedes_a_bad_byte_is_still_shown():
    done = insn("decode", "90", "06")
    assert done.returncode == 2
    assert "nop" in done.stdout
    assert "at 0x1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["decode", "zz"], "usage"),
        (["decode", "123"], "usage"),
        (["decode", " "], "usage"),
        (["decode", "90", "--address", "here"], "usage"),
        (["decode", "90", "--address", "-1"], "usage"),
        (["decode", "90", "--arch", "pdp11"], "unknown-architecture"),
        (["decode", "06"], "undecodable"),
        (["decode", "48 8b"], "truncated"),
        (["decode"], "usage"),
        (["check", "/no/such/file"], "no-such-file"),
        (["check", "/etc/passwd"], "malformed-file"),
        (["check", "PROGRAM:nothing"], "no-such-symbol"),
        (["check", "PROGRAM:no*"], "no-such-symbol"),
        (["check", "PROGRAM:table"], "no-such-symbol"),
        (["check", "PROGRAM:start+2"], "not-a-boundary"),
        (["check", "PROGRAM:0x500000"], "not-executable"),
        (["check", "PROGRAM:0x10"], "not-executable"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, code, program):
    arguments = [argument.replace("PROGRAM", program) for argument in arguments]
    done = insn(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr
    done = insn(*arguments, "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"code", "spec", "address", "why", "hint"}
    assert error["code"] == code
    assert error["why"]


def test_a_similar_name_is_offered(program):
    assert "did you mean start?" in insn("check", f"{program}:strat").stderr


def test_check_answers_for_every_function_of_a_file(program):
    done = insn("check", program, "--json")
    assert done.returncode == 1  # ud2 is refused
    found = {row["function"]: row for row in json.loads(done.stdout)}
    assert list(found) == ["start", "stop", "call_kernel"]
    assert found["start"] == {
        "object": program,
        "function": "start",
        "address": 0x401000,
        "instruction": "push rbp",
        "methods": {method.value: None for method in Method},
    } | {"methods": found["start"]["methods"]}
    assert found["start"]["methods"]["step"] is None
    assert {reason["code"] for reason in found["stop"]["methods"].values()} == {"always-faults"}
    assert found["call_kernel"]["methods"]["boost"]["code"] == "system-call"


def test_check_shows_tables_to_people(program):
    done = insn("check", program)
    assert done.returncode == 1
    assert "push rbp" in done.stdout
    assert "3 functions" in done.stdout
    assert "1 cannot be probed at all" in done.stdout


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("start", ["start"]),
        ("st*", ["start", "stop"]),
        ("0x401020", ["call_kernel"]),
        ("start+1", ["start+0x1"]),
        ("4198401", ["start+0x1"]),
    ],
)
def test_check_looks_where_it_is_told(program, pattern, names):
    done = insn("check", f"{program}:{pattern}", "--json")
    assert [row["function"] for row in json.loads(done.stdout)] == names
    assert done.returncode == (1 if "stop" in names else 0)


def test_a_jump_is_refused_where_its_window_forbids_it(program):
    (found,) = json.loads(insn("check", f"{program}:start+1", "--json").stdout)
    assert found["methods"]["jump"] is None
    (found,) = json.loads(insn("check", f"{program}:start+5", "--json").stdout)
    assert found["instruction"] == "ret"
    assert found["methods"]["jump"] is None  # only padding follows
    (found,) = json.loads(insn("check", f"{program}:call_kernel", "--json").stdout)
    assert found["methods"]["jump"]["code"] == "system-call"


def test_several_places_are_one_document(program):
    done = insn("check", f"{program}:start", f"{program}:call_kernel", "--json")
    assert [row["function"] for row in json.loads(done.stdout)] == ["start", "call_kernel"]
    assert done.returncode == 0


def test_a_path_may_contain_colons(tmp_path):
    path = tmp_path / "a:b"
    path.write_bytes(Elf(code=PROBED, symbols=[Symbol("start", 0x401000, 6)]).build())
    assert insn("check", str(path)).returncode == 0
    assert insn("check", f"{path}:start").returncode == 0


def test_every_function_of_python_has_an_answer():
    done = insn("check", os.path.realpath("/usr/bin/python3"), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert len(found) > 5000
    assert len({row["address"] for row in found}) == len(found)
    assert all(row["instruction"] for row in found)


def test_the_command_is_installed_and_leaves_with_its_code():
    command = [sys.executable, "-c", "from insn.command import main; main()", "decode"]
    assert subprocess.run([*command, "c3"], capture_output=True, check=False).returncode == 0
    assert subprocess.run([*command, "06"], capture_output=True, check=False).returncode == 2


def test_a_reader_that_goes_away_is_no_error():
    run = f"{sys.executable} -c 'from insn.command import main; main()'"
    command = f"{run} check /bin/gzip --all | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "address" in done.stdout


def test_importing_the_package_brings_no_heavy_library():
    heavy = ("numpy", "capstone", "elftools", "typer", "rich")
    code = f"import insn, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
