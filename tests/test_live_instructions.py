"""Real programs with their single instructions probed: one at a time, and many at once."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import live
import pytest

import insn

pytestmark = pytest.mark.live

TEXT = "".join(f"{number * 7919 % 1009} line {number}\n" for number in range(60)).encode()
WAYS = (None, "step", "boost", "emulate", "inline")
MANY = 10_000


def instructions(path):
    """List the instructions of a file's own functions; nothing is guessed."""
    image = insn.open_image(path)
    addresses = [
        int(address)
        for stretch in image.text
        for address in insn.scan(stretch.code, stretch.address, image.arch)["address"]
    ]
    verdicts = insn.boundaries(image, addresses)
    return [v.address for v in verdicts if v.boundary is insn.Boundary.PROVED]


@pytest.fixture
def sample(tmp_path):
    """Give the file that the programs work on."""
    file = tmp_path / "text"
    file.write_bytes(TEXT)
    return file


@pytest.fixture
def chance():
    """Choose at random; the seed is printed, and can be given: SEED=…"""
    seed = int(os.environ.get("SEED", time.time_ns() % 2**32))
    print("seed", seed)
    return random.Random(seed)


def commands(name, sample, needs):
    """Give the command that runs a program on little input."""
    program = needs(name, package={"sort": "coreutils"}.get(name, name))
    options = {"gzip": ["-9", "-n", "-c"], "sort": ["--parallel=2", "-n"]}[name]
    return [program, *options, str(sample)]


def executed(argv, output):
    """Probe every instruction of a program's file at once; return those that were hit, and check
    what it wrote.
    """
    plain, code, _ = live.run_command(argv, output)
    path = Path(argv[0]).resolve()
    specs = [f"elf:{path}:{address:#x}" for address in instructions(path)]
    probed, same, registration = live.run_command(argv, output, specs)
    assert (probed, same) == (plain, code)
    assert all(error.code for error in registration.refused)
    assert len(registration.probes) > 0.99 * len(specs)
    assert sum(probe.misses for probe in registration.probes) == 0
    return plain, code, [probe.spec for probe in registration.probes if probe.hits]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gzip", "sort"])
def test_every_instruction_of_a_program_is_probed_at_once(tmp_path, sample, needs, name):
    _, _, hit = executed(commands(name, sample, needs), tmp_path / "output")
    assert len(hit) > 1000


@pytest.mark.torture
@pytest.mark.parametrize("name", ["gzip", "sort"])
def test_every_instruction_that_is_executed_is_probed_alone(tmp_path, sample, needs, name):
    """By every method in turn; where the instruction refuses one, by the cheapest.

    EVERY=10 in the environment takes one in ten.
    """
    argv, output = commands(name, sample, needs), tmp_path / "output"
    plain, code, hit = executed(argv, output)
    methods = dict.fromkeys((*WAYS, "cheapest instead"), 0)
    for number, spec in enumerate(hit[:: int(os.environ.get("EVERY", "1"))]):
        method = WAYS[number % len(WAYS)]
        probed, same, registration = live.run_command(argv, output, [spec], method=method)
        assert (probed, same) == (plain, code), (spec, method)
        if registration.refused:
            method = "cheapest instead"
            probed, same, registration = live.run_command(argv, output, [spec])
            assert (probed, same) == (plain, code), (spec, method)
        [probe] = registration.probes
        assert probe.hits > 0
        methods[method] += 1
    print(name, sum(methods.values()), "of", len(hit), "alone:", methods, flush=True)
    assert all(methods[way] > 10 for way in WAYS)


@pytest.mark.torture
@pytest.mark.parametrize("name", ["gzip", "sort"])
@pytest.mark.parametrize("method", live.METHODS[1:])
def test_every_instruction_that_is_executed_is_probed_by_one_method(
    tmp_path, sample, needs, name, method
):
    argv, output = commands(name, sample, needs), tmp_path / "output"
    plain, code, hit = executed(argv, output)
    probed, same, registration = live.run_command(argv, output, hit, method=method)
    assert (probed, same) == (plain, code)
    assert len(registration.probes) > 100
    assert sum(probe.misses for probe in registration.probes) == 0


PROGRAMS = {
    "openssl": ["openssl", "dgst", "-sha256", "{file}"],
    "openmp": ["openmp", "300"],
    "python3": [
        sys.executable,
        "-S",
        "-c",
        "import json; print(json.dumps({'a': [1, 2.5, None]}))",
    ],
}


@pytest.mark.torture
@pytest.mark.parametrize("name", list(PROGRAMS))
@pytest.mark.parametrize("turn", range(3))
def test_ten_thousand_random_instructions_are_probed(
    tmp_path, sample, needs, build, chance, name, turn
):
    program, *arguments = PROGRAMS[name]
    program = str(build(name)) if name == "openmp" else needs(program, package=name)
    argv = [program, *(word.replace("{file}", str(sample)) for word in arguments)]
    output = tmp_path / "output"
    plain, code, _ = live.run_command(argv, output)
    places = []
    for path in mapped_files(argv, output):
        places += [f"elf:{path}:{address:#x}" for address in instructions(path)]
    specs = sorted(chance.sample(places, min(MANY, len(places))))
    probed, same, registration = live.run_command(argv, output, specs)
    assert (probed, same) == (plain, code)
    assert len(registration.probes) > 0.95 * len(specs)
    hits = sum(probe.hits for probe in registration.probes)
    print(name, turn, len(registration.probes), "probes", hits, "hits", flush=True)
    assert hits > 0
    assert sum(probe.misses for probe in registration.probes) == 0


def mapped_files(argv, output):
    """List the files that a program has mapped as code from its start on, its libraries with it."""
    program = Path(argv[0]).resolve()
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    words = [word for word in done.stdout.split() if word.startswith("/")]
    return sorted({str(program), *(str(Path(word).resolve()) for word in words)})
