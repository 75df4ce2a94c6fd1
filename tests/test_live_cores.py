"""A program that dies under probes leaves the core dump that it would leave without.

Registers, siginfo and mappings are the same, and text is what its file says.
"""

import os
import resource
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import live
import pytest
from elftools.elf.elffile import ELFFile

import uprobes

pytestmark = pytest.mark.live

PATTERN = Path("/proc/sys/kernel/core_pattern")
NT_PRSTATUS, NT_FPREGSET, NT_SIGINFO = 1, 2, 0x53494749
SIGNAL, REGISTERS, WORDS = 12, 112, 27
"""Where elf_prstatus holds the signal and the registers (include/linux/elfcore.h)."""
IP = 16
DYING = (
    "load_null",  # SIGSEGV
    "load_rip",
    "push_rip",
    "push_without_stack",
    "call_memory_without_stack",
    "ret_nowhere",
    "not_canonical",
    "rep_movsb_into_guard",
    "push_not_canonical",  # SIGBUS
    "load_behind_end",
    "store_behind_end",
    "div_by_zero",  # SIGFPE
    "idiv_overflow",
    "not_of_amd",  # SIGILL
    "not_of_intel",
    "after_ud2",
    "before_int3",  # SIGTRAP
    "stepped_nop",
    "stepped_mov",
    "stepped_call",
)
OF_SOME_CPUS = {"not_of_amd", "not_of_intel"}


@pytest.fixture
def cores(tmp_path):
    """Give a folder into which processes dump core; the kernel's setting is put back."""
    before = PATTERN.read_text()
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        PATTERN.write_text(f"{tmp_path}/core.%p")
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    except (OSError, ValueError) as error:
        pytest.skip(f"only root may say where cores go: {error}")
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_CORE, limits)
    PATTERN.write_text(before)


@dataclass
class Core:
    """What a core dump says; `changed` are text addresses that differ from the file."""

    signals: list[int]
    registers: list[tuple[int, ...]]
    floating: list[bytes]
    siginfo: bytes
    mappings: list[tuple[int, int, int]]
    files: list[tuple[int, int, str]]
    changed: list[str]


def read_core(folder, pid):
    """Read the core dump of a process."""
    signals, registers, floating, siginfo, text = [], [], [], b"", []
    with open(folder / f"core.{pid}", "rb") as file:
        elf = ELFFile(file)
        notes = [
            note
            for segment in elf.iter_segments()
            if segment["p_type"] == "PT_NOTE"
            for note in segment.iter_notes()
        ]
        for note in notes:
            kind, raw = note["n_type"], note["n_descdata"]
            if kind in ("NT_PRSTATUS", NT_PRSTATUS):
                signals.append(struct.unpack_from("<h", raw, SIGNAL)[0])
                registers.append(struct.unpack_from(f"<{WORDS}Q", raw, REGISTERS))
            elif kind in ("NT_FPREGSET", NT_FPREGSET):
                floating.append(raw)
            elif kind in ("NT_SIGINFO", NT_SIGINFO):
                siginfo = raw
            elif kind == "NT_FILE":
                listed = note["n_desc"]
                pages = listed["page_size"]
                for name, entry in zip(
                    listed["filename"], listed["Elf_Nt_File_Entry"], strict=True
                ):
                    text.append((entry["vm_start"], entry["page_offset"] * pages, name.decode()))
        loads = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        mappings = [(s["p_vaddr"], s["p_memsz"], s["p_flags"]) for s in loads]
        changed = []
        for start, offset, name in text:
            for load in loads:
                if load["p_vaddr"] == start and load["p_flags"] & 1 and load["p_filesz"]:
                    code = load.data()
                    original = Path(name).read_bytes()[offset : offset + len(code)]
                    changed += [
                        hex(start + at)
                        for at, (a, b) in enumerate(zip(code, original, strict=False))
                        if a != b
                    ]
    return Core(signals, registers, floating, siginfo, mappings, text, changed)


def die(victim, cores, name, method, *, returns=False):
    """Let a victim die of a fault, under probes unless the method is `unprobed`; read its core.

    There is none where the CPU knows the instruction.
    """
    faults = victim("faults", name, "core", prefix=("env", "-i", "setarch", "-R"))
    if method == "unprobed":
        faults.go()
        code = faults.process.wait(live.PATIENCE)
    else:
        with uprobes.attach(faults.pid) as target:
            specs = [faults.spec(each) for each in faults.points]
            target.register(specs, lambda hit: None, method=method)
            if returns:
                target.register(["faults:main", f"faults:{name}"], lambda ret: None, returns=True)
            status = live.run_to_the_end(target, faults)
            assert not target.failures
        code = faults.process.returncode
        assert status == uprobes.ExitStatus(*((code, None) if code >= 0 else (None, -code)))
    assert code <= 0
    return code, read_core(cores, faults.pid) if code else None


@pytest.fixture(scope="module")
def expected():
    """Keep the unprobed cores by name."""
    return {}


@pytest.mark.needs("setarch", package="util-linux")
@pytest.mark.parametrize("method", [None, *live.METHODS])
def test_a_core_dump_is_that_of_an_unprobed_run(victim, cores, expected, method):
    """Case U13 again, and what a debugger is shown afterwards."""
    for name in DYING:
        if name not in expected:
            expected[name] = die(victim, cores, name, "unprobed")
        code, before = expected[name]
        probed, after = die(victim, cores, name, method, returns=method == "boost")
        assert probed == code, name
        if after is None:
            assert name in OF_SOME_CPUS
            continue
        assert after.changed == [], f"{name}: the core's text has breakpoints"
        assert after.mappings == before.mappings, name
        assert after.files == before.files, name
        assert after.siginfo[:40] == before.siginfo[:40], name
        assert after.signals[0] == before.signals[0] == -code, name
        assert after.registers[0] == before.registers[0], name
        assert after.floating[0] == before.floating[0], name
        assert len(after.registers) == len(before.registers) == 2
        other = [base for base, _, name in after.files if name.endswith("/faults")]
        assert min(other) <= after.registers[1][IP] < max(other) + 0x1000
    assert {-code for code, _ in expected.values()} >= {4, 5, 7, 8, 11}


@pytest.mark.needs("gdb", package="gdb")
@pytest.mark.needs("setarch", package="util-linux")
def test_a_debugger_reads_the_core_of_a_probed_program(victim, cores):
    """The stack shows callers, not the return trampoline."""
    code, _ = die(victim, cores, "div_by_zero", None, returns=True)
    [core] = cores.glob("core.*")
    program = victim("faults").process.args[0]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-ex", "bt", program, str(core)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBUGINFOD_URLS": ""},
    )
    assert code == -8
    assert "div_by_zero" in done.stdout, done.stdout + done.stderr
    assert "main (" in done.stdout, done.stdout
