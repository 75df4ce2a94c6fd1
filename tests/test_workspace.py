"""The rules of the workspace that a program can check."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ["insn", "ssol", "ubp", "uprobes"]
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package / "src").rglob("*.py"))
SOURCES = sorted(
    path
    for folder in (*PACKAGES, "benchmarks", "docs", "tests", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)
assert MODULES


def name(path):
    return str(path.relative_to(ROOT))


def tokens(path):
    return tokenize.generate_tokens(io.StringIO(path.read_text()).readline)


def project(package):
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]


def declared_siblings(package):
    """The packages of this workspace that one needs, directly or not."""
    needed, todo = set(), [package]
    while todo:
        for requirement in project(todo.pop())["dependencies"]:
            sibling = re.match(r"[\w-]+", requirement).group()
            if sibling in PACKAGES and sibling not in needed:
                needed.add(sibling)
                todo.append(sibling)
    return needed


@pytest.mark.parametrize("package", PACKAGES)
def test_the_changelog_begins_with_the_version(package):
    text = (ROOT / package / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == project(package)["version"] == metadata.version(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_readme_says_what_the_package_is_and_how_to_install_it(package):
    text = (ROOT / package / "README.md").read_text()
    assert text.startswith(f"# {package}")
    siblings = [*(p for p in PACKAGES if p in declared_siblings(package)), package]
    assert "pip install " + " ".join(f"./{p}" for p in siblings) in " ".join(text.split())


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_bounds_the_siblings_that_it_needs(package):
    for requirement in project(package)["dependencies"]:
        if re.match(r"[\w-]+", requirement).group() in PACKAGES:
            assert re.fullmatch(r"\w+>=\d+\.\d+,<\d+\.\d+", requirement)


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_brings_only_the_siblings_it_declares(package):
    code = f"import sys, {package}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-P", "-c", code], text=True).split()
    assert package in loaded
    assert (set(PACKAGES) - {package}) & set(loaded) <= declared_siblings(package)


def test_no_layer_imports_one_above_it():
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


# -- architectures --------------------------------------------------------------------------------

ARCHITECTURE = re.compile(
    r"(?<![a-z])(x86|amd64|i[36]86|aarch64|arm64|arm(?:32|hf|v\d)|thumb|powerpc|ppc|s390|ia64|riscv)",
    re.I,
)
# Files that may name an architecture although they are not one's own, each with its reason.
NAMES_ARCHITECTURES = {
    "insn/src/insn/__init__.py": "the records are public names",
    "ubp/src/ubp/__init__.py": "the records are public names",
    "ubp/src/ubp/programs/__init__.py": "where the machine code is made is public",
    "insn/src/insn/arch.py": "the table of names, aliases and where each record lives",
    "insn/src/insn/decode.py": "the architecture of a call that names none",
    "insn/src/insn/boundary.py": "the same",
    "insn/src/insn/bulk.py": "the same, and where the vectorised forms live",
    "insn/src/insn/command/app.py": "the same, and paths in examples",
    "insn/src/insn/elf.py": "the machine numbers of ELF and the records they stand for",
    "insn/src/insn/second.py": "the names that the second decoder gives them",
    "uprobes/src/uprobes/machine/record.py": "the table of where each record lives",
    "uprobes/src/uprobes/machine/relocations.py": "the relocation numbers of ELF by machine",
    "uprobes/src/uprobes/machine/return_readers.py": "the table from an architecture to its rows",
    "uprobes/src/uprobes/machine/go_checks.py": "the same",
    "uprobes/src/uprobes/machine/switches.py": "the same",
    "uprobes/src/uprobes/machine/unwind_registers.py": "the same",
    "insn/src/insn/second_known.py": "the examined differences of the second decoder",
    "uprobes/src/uprobes/command/findings.py": "a field of /proc/PID/status is called so",
    "uprobes/src/uprobes/process.py": "the table from an architecture to its step rules",
}


def is_of_an_architecture(path):
    return ARCHITECTURE.match(path.stem) or ARCHITECTURE.match(path.parent.name)


def code_of(path):
    """The names and strings of a module, without comments and docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        for child in node.body:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                docstrings.add((child.lineno, child.col_offset))
    for token in tokens(path):
        if token.type == tokenize.NAME or (
            token.type == tokenize.STRING and token.start not in docstrings
        ):
            yield token


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_files_of_an_architecture_name_one(path):
    if is_of_an_architecture(path):
        return
    found = [
        f"{token.start[0]}: {token.string}"
        for token in code_of(path)
        if ARCHITECTURE.search(token.string)
    ]
    if name(path) in NAMES_ARCHITECTURES:
        assert found, "remove it from NAMES_ARCHITECTURES"
    else:
        assert not found


# -- modules --------------------------------------------------------------------------------------

LONGEST = 350
# Modules that may be longer: tables of rows, nothing else.
TABLES = re.compile(r"insn/src/insn/\w+_(map|table|forms|rows)\w*\.py")
# Modules over the limit, to be cut along the line given here; the list may only get shorter.
LONGER = {
}
NO_NAMES = {"utils", "util", "helpers", "helper", "manager", "data", "info", "common", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_is_short_enough_to_read(path):
    length = len(path.read_text().splitlines())
    if name(path) in LONGER:
        assert length > LONGEST, "remove it from LONGER"
    else:
        assert length <= LONGEST or TABLES.fullmatch(name(path))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_its_one_job_in_its_first_sentence(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    sentence = re.match(r".*?[.:;](\s|$)", docstring, re.DOTALL)
    assert sentence, "begin with a sentence"
    assert len(sentence.group()) < 200, sentence.group()
    assert path.stem not in NO_NAMES


@pytest.mark.parametrize("path", [p for p in MODULES if p.name == "__init__.py"], ids=name)
def test_an_init_file_lists_public_names_and_holds_nothing_else(path):
    """Apart from what loads a module only when it is used, for importing it takes long."""
    allowed = r"__all__ = |_ON_DEMAND = |(if )?TYPE_CHECKING\b|def (__getattr__|__dir__|main)\("
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_import = isinstance(node, ast.ImportFrom | ast.Import)
        assert is_docstring or is_import or re.match(allowed, ast.unparse(node)), ast.unparse(node)


# -- exceptions to the checks ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [*SOURCES, ROOT / "conftest.py"], ids=name)
def test_every_silenced_check_names_it_and_has_a_reason(path):
    for token in tokens(path):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string
        if re.search(r"#\s*noqa", text):
            assert re.search(r"# noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*\s.*\w{3}", text), text
        if re.search(r"#\s*type:\s*ignore", text):
            assert re.search(r"# type: ignore\[[\w-]+(, ?[\w-]+)*\]\s+#.*\w{3}", text), text


def test_every_rule_that_the_workspace_ignores_has_a_reason_beside_it():
    text = (ROOT / "pyproject.toml").read_text()
    ignored = re.findall(r'^\s*"[A-Z]+\d+",.*$', text, re.MULTILINE)
    ignored += re.findall(r'^"\*?\*?[\w/*.]+" = \[.*$', text, re.MULTILINE)
    ignored += re.findall(r"^(?:ignore_missing_imports|allow_indirect_imports).*$", text, re.M)
    assert len(ignored) > 5
    for line in ignored:
        assert re.search(r"# .*\w{3}", line), line


# -- tests ----------------------------------------------------------------------------------------


def test_test_files_have_unique_names_and_their_folders_are_no_packages():
    files = [
        path
        for folder in (*(f"{p}/tests" for p in PACKAGES), "tests")
        for path in (ROOT / folder).rglob("*.py")
    ]
    counts = Counter(path.name for path in files if path.name.startswith("test_"))
    assert [file for file, count in counts.items() if count > 1] == []
    assert [name(path) for path in files if path.name == "__init__.py"] == []


def test_no_lock_file_is_kept():
    kept = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert [f for f in kept if re.search(r"\.lock$|requirements.*\.txt$", f)] == []


def test_every_package_a_test_needs_is_in_the_one_list():
    listed = {
        line.split()[0]
        for line in (ROOT / ".ci/packages.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    wanted = set()
    for path in SOURCES:
        if path.name != "test_needs.py":
            wanted |= set(re.findall(r"package=\"([\w.+-]+)\"", path.read_text()))
    assert wanted <= listed
