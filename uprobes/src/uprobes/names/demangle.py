"""Names as people write them: C++ and Rust symbols demangled, with and without their parameters."""

import re
from collections.abc import Callable
from functools import lru_cache

from uprobes.names.rust import demangle_rust, is_rust, tidy_legacy

_QUALIFIERS = re.compile(r"(\s*(const|volatile|&{1,2}|noexcept|\[clone [^]]*\]))*$")
_CLONE = re.compile(r"(\.(constprop|part|isra|cold|lto_priv|llvm)[.\w]*)+$")
_LONGEST = 4096
"""Longer mangled names stay as they are: demangling can take exponential space."""


@lru_cache(maxsize=1)
def _cpp() -> Callable[[str], str] | None:
    """Find the C++ library's demangler; None on a host without one."""
    try:
        import cxxfilt
    except Exception:  # it looks for its library while it is imported, and raises what ctypes does
        return None

    def demangled(name: str) -> str:
        try:
            return str(cxxfilt.demangle(name))
        except cxxfilt.Error:
            return name

    return demangled


def available() -> bool:
    """Tell whether C++ names can be demangled on this host."""
    return _cpp() is not None


def demangle(name: str) -> str:
    """Return a symbol's name as the source writes it, or the name itself where it isn't mangled."""
    if not name.startswith(("_Z", "_R", "__Z")) or len(name) > _LONGEST:
        return name
    clone = _CLONE.search(name)
    stem, suffix = (name[: clone.start()], name[clone.start() :]) if clone else (name, "")
    if is_rust(stem):
        plain = demangle_rust(stem)
    else:
        cpp = _cpp()
        plain = tidy_legacy(cpp(stem)) if cpp is not None else stem
    return plain + suffix if plain != stem else name


def without_parameters(name: str) -> str:
    """Cut return type, parameters and qualifiers off a demangled name: `Foo::bar<int>`."""
    if "(" not in name:
        return name
    end = _QUALIFIERS.search(name)
    text = name[: end.start()] if end else name
    if not text.endswith(")"):
        return name
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[at], 0)
        if not depth:
            break
    if at == 0:
        return name
    text = text[:at]
    operator = text.rfind("operator")
    start = depth = 0
    for at in range(operator if operator >= 0 else len(text)):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(text[at], 0)
        if text[at] == " " and depth == 0:
            start = at + 1
    return text[start:]
