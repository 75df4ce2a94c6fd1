"""The examples in the README do what the README says."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SAYS = [
    "mov rax",
    r"\d+ instructions",
    r"\d+ direct calls to \d+ places\n\[\d+\]",
    r"True None \[.*\]\n(1\.0|0\.9)",
    r"jump 0x\w+ 0x\w+ 0x\w+\n0x\w+ e9\w{8}\n\[.*\] \[.*\]",
    "/bin/true .*\n/bin/false ",
]


def test_the_readme_examples_run_one_after_the_other(capsys):
    names: dict[str, object] = {}
    for example, says in zip(EXAMPLES, SAYS, strict=True):
        exec(compile(example, "README.md", "exec"), names)
        assert re.search(says, capsys.readouterr().out)
