"""How Sphinx builds these pages; warnings are errors (`make docs`)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

project = "uprobes"
author = "the uprobes authors"
copyright = "2026, the uprobes authors"
version = release = tomllib.loads((ROOT / "uprobes/pyproject.toml").read_text())["project"][
    "version"
]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# Docstrings put code in single backticks, as Markdown does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "undoc-members": False,
    "show-inheritance": True,
}
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "uprobes"
