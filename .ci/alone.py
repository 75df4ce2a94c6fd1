"""Install each package with nothing but what it declares, and use it: `alone.py [PACKAGE…]`.

A fresh environment a package: its wheel and those of the packages it declares, built from this
checkout; a few lines that do its job; a check that no other package is there; its own tests.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".build" / "alone"
QUICK = "not slow and not torture"


@dataclass(frozen=True, slots=True)
class Package:
    """One package, the siblings it declares, and a few lines that use it."""

    name: str
    siblings: tuple[str, ...]
    example: str


PACKAGES = (
    Package(
        "insn",
        (),
        """
import insn
instruction = insn.decode(bytes.fromhex("488b0578563412"), 0x1000, insn.X86_64)
assert instruction.length == 7, instruction
assert instruction.pc_relative.target == 0x1000 + 7 + 0x12345678, instruction
verdict = insn.judge(instruction)
assert verdict.allows(insn.Method.BOOST), verdict
print(instruction.text)
""",
    ),
    Package(
        "ssol",
        (),
        """
import ssol, ssol.testing
pool = ssol.Pool(ssol.testing.FakeMapper())
slot = pool.take((0x5555_0000_0000,))
assert pool.find(slot.address + 3) == slot
print(slot)
""",
    ),
    Package(
        "ubp",
        ("insn",),
        """
import insn, ubp, ubp.testing
memory = ubp.testing.FakeMemory({0x401000: bytes.fromhex("55c3") + bytes(30), 0x7ff000: bytes(64)})
breakpoints = ubp.Breakpoints(memory, insn.X86_64.breakpoint)
breakpoints.insert(0x401000)
assert memory.read(0x401000, 1) == insn.X86_64.breakpoint
code = breakpoints.read(0x401000, 15)
stepper = ubp.Stepper(ubp.X86_64)
verdict = insn.judge(insn.decode(code, 0x401000, insn.X86_64))
registers = ubp.testing.FakeRegisters(rip=0x401001, rsp=0x7ff020, rbp=7)
plan = stepper.plan(verdict, insn.Method.EMULATE)
action, step = stepper.before_step(plan, registers, memory)
assert action is ubp.Action.CONTINUE and registers["rsp"] == 0x7ff018, registers
print(plan)
""",
    ),
    Package(
        "uprobes",
        ("insn", "ssol", "ubp"),
        """
import uprobes
with uprobes.spawn(["/bin/echo", "probed"]) as target:
    registration = target.register(["libc:malloc"])
    status = target.run(timeout=60)
[probe] = registration.probes
assert status is not None and status.code == 0, status
assert probe.hits > 0 and probe.misses == 0, probe
print(probe)
""",
    ),
)
ABSENT = """
import importlib.util
found = [name for name in {names!r} if importlib.util.find_spec(name)]
assert not found, f"importable although not declared: {{found}}"
"""


def run(*command: str | Path) -> None:
    """Run a command in the root of the checkout; its failure is ours."""
    subprocess.run(command, check=True, cwd=ROOT)


def try_alone(package: Package) -> None:
    """Make the environment of one package and use it there."""
    place = PLACE / package.name
    shutil.rmtree(place, ignore_errors=True)
    run(sys.executable, "-m", "venv", place)
    python = place / "bin" / "python"
    # --group needs pip 25.1
    run(python, "-m", "pip", "install", "-q", "--upgrade", "pip>=25.1")
    wheels = [f"./{name}" for name in (*package.siblings, package.name)]
    run(python, "-m", "pip", "install", "-q", *wheels)
    others = [p.name for p in PACKAGES if p.name not in package.siblings and p.name != package.name]
    run(python, "-c", ABSENT.format(names=others) + package.example)
    group = f"{package.name}/pyproject.toml:test"
    run(python, "-m", "pip", "install", "-q", "--group", group)
    run(place / "bin" / "pytest", "-q", "-m", QUICK, f"{package.name}/tests")


def main() -> int:
    """Try the packages named on the command line, or all; report every one."""
    os.environ["PYTHONSAFEPATH"] = "1"  # else the folders insn/, ubp/ … are importable as empty
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    wanted = sys.argv[1:] or [package.name for package in PACKAGES]
    unknown = set(wanted) - {package.name for package in PACKAGES}
    if unknown:
        print(f"alone: no such package: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    outcomes = []
    for package in PACKAGES:
        if package.name in wanted:
            print(f"\n----- {package.name} alone", flush=True)
            begin = time.monotonic()
            try:
                try_alone(package)
                outcome = "passed"
            except subprocess.CalledProcessError as error:
                print(error, file=sys.stderr)
                outcome = "FAILED"
            outcomes.append((package.name, outcome, time.monotonic() - begin))
    print("\n----- alone")
    for name, outcome, seconds in outcomes:
        print(f"{name:8} {outcome:7} {seconds:4.0f} s")
    return int(any(outcome == "FAILED" for _, outcome, _ in outcomes))


if __name__ == "__main__":
    sys.exit(main())
