"""Scanning files, one or many, here or elsewhere."""

import csv
import io
import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from elf_files import Elf, Symbol
from test_insn_command import insn

from insn import Flow, MalformedFile, Method
from insn.corpus import scan_file, scan_files
from insn.forms import METHODS, refusals

CODE = bytes.fromhex("55 4889e5 e800000000 5d c3").ljust(16, b"\xcc") + bytes.fromhex("0f0b 06 c3")


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    symbols = [Symbol("f", 0x401000, 11), Symbol("g", 0x401010, 4)]
    path.write_bytes(Elf(code=CODE, symbols=symbols).build())
    return path


def test_instructions_functions_and_reasons_are_counted(program):
    found = scan_file(program)
    assert found.error is None
    assert found.names == ("f", "g")
    assert found.functions["instructions"].tolist() == [5, 2]
    assert found.functions["undecoded"].tolist() == [0, 1]
    assert found.functions["size"].tolist() == [11, 4]
    assert found.undecoded == 1
    assert found.flows()[Flow.RETURN.value] == 2
    assert found.refused()[Method.STEP] == {"trap-instruction": 5, "always-faults": 1}
    assert found.refused(found.entry_verdicts)[Method.STEP] == {"always-faults": 1}
    step = METHODS.index(Method.STEP)
    assert found.functions["allowed"][:, step].tolist() == [5, 1]


def test_a_file_that_cannot_be_read_is_a_result_with_its_error(tmp_path):
    path = tmp_path / "text"
    path.write_text("hello")
    found = scan_file(path)
    assert isinstance(found.error, MalformedFile)
    assert len(found.records) == 0
    with pytest.raises(FileNotFoundError):
        scan_file(tmp_path / "missing")


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param(None, id="here"),
        pytest.param(lambda: ThreadPoolExecutor(2), id="threads"),
        pytest.param(
            lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
            id="processes",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_many_files_are_scanned_in_their_order_wherever_the_work_is_done(program, executor):
    paths = [program, Path("/bin/gzip"), __file__, program]
    if executor is None:
        found = list(scan_files(paths))
    else:
        with executor() as pool:
            found = list(scan_files(paths, pool))
    assert [scan.path for scan in found] == [str(path) for path in paths]
    assert isinstance(found[2].error, MalformedFile)
    here = [scan_file(path) for path in paths]
    for scan, expected in zip(found, here, strict=True):
        # The numbers of verdicts were made one's own: they mean the same here.
        assert (scan.records == expected.records).all()
        assert (scan.entry_verdicts == expected.entry_verdicts).all()
        assert (scan.functions == expected.functions).all()


def test_the_command_prints_a_summary(program):
    done = insn("scan", str(program), "--functions")
    assert done.returncode == 0
    assert "2 functions" in done.stdout
    assert "always-faults 1" in done.stdout
    assert "belong to no instruction" in done.stdout
    assert "it always raises an invalid-opcode fault" in done.stdout
    f, g = done.stdout.splitlines()[-2:]
    assert f.split()[1] == "f"
    assert f.split()[-1] == "all"
    assert g.split()[1] == "g"
    assert g.split()[-1] == "none"


def test_the_command_prints_the_documented_document(program):
    (found,) = json.loads(insn("scan", str(program), "--json").stdout)
    assert found["object"] == str(program)
    assert found["bytes"] == len(CODE)
    assert found["instructions"] == 12
    assert found["undecoded_bytes"] == 1
    assert found["entries"]["methods"]["step"] == {"allowed": 1, "refused": {"always-faults": 1}}
    assert found["functions"][0]["function"] == "f"
    assert found["functions"][0]["allowed"]["boost"] == 4  # all but the call
    assert found["functions"][1]["entry"] == []


def test_the_command_prints_functions_as_csv(program):
    rows = list(csv.DictReader(io.StringIO(insn("scan", str(program), "--csv").stdout)))
    assert [row["function"] for row in rows] == ["f", "g"]
    assert rows[0]["address"] == "0x401000"
    assert rows[0]["allow_step"] == "5"
    assert rows[1]["entry_step"] == "0"


def test_the_command_writes_arrays_that_explain_themselves(program, tmp_path):
    out = tmp_path / "out.npz"
    assert insn("scan", str(program), "--npz", str(out)).returncode == 0
    with np.load(out) as content:
        records, meanings = content["instructions"], json.loads(str(content["verdicts"]))
        assert content["names"].tolist() == ["f", "g"]
    for record in records:
        meaning = meanings[str(record["verdict"])]
        expected = refusals(int(record["verdict"]))
        assert {m: r["code"] for m, r in meaning.items()} == {
            m.value: r.code for m, r in expected.items()
        }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["PROGRAM", "--json", "--csv"], "usage"),
        (["PROGRAM", "PROGRAM", "--npz", "x"], "usage"),
        (["PROGRAM", "--npz", "/no/such/directory/x"], "usage"),
        (["/no/such/file"], "no-such-file"),
        (["/etc/passwd"], "malformed-file"),
        ([], "usage"),
    ],
)
def test_what_cannot_be_scanned_is_one_clear_error(program, options, code):
    options = [option.replace("PROGRAM", str(program)) for option in options]
    done = insn("scan", *options, *([] if "--json" in options else ["--json"]))
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == code
