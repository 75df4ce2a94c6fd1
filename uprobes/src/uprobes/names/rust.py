"""Rust's symbol names, both forms, as the source writes them.

Grammar of the newer form: RFC 2603 (symbol name mangling v0). Values of constants and the details
of function types are shortened to `_`; crate hashes are left out.
"""

import re

_HASH = re.compile(r"::h[0-9a-f]{16}$")
_ESCAPES = {
    "$SP$": "@", "$BP$": "*", "$RF$": "&", "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")",
    "$C$": ",", "$u7e$": "~", "$u20$": " ", "$u27$": "'", "$u5b$": "[", "$u5d$": "]",
    "$u7b$": "{", "$u7d$": "}", "$u3b$": ";", "$u2b$": "+", "$u22$": '"',
}  # fmt: skip
_ESCAPE = re.compile(r"\$[A-Za-z0-9]{1,4}\$")
_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8",
    "i": "isize", "j": "usize", "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_",
    "s": "i16", "t": "u16", "u": "()", "v": "...", "x": "i64", "y": "u64", "z": "!",
}  # fmt: skip
_DEEPEST = 64
_LONGEST = 4096


class _NotRust(Exception):
    """The name does not follow the grammar."""


def is_rust(name: str) -> bool:
    """Tell whether a name is of the newer form."""
    return len(name) > 3 and name.startswith("_R") and name[2] in "CMXYNIB"


def tidy_legacy(name: str) -> str:
    """Take the hash and the escapes out of a name of the older form; others stay as they are."""
    if not _HASH.search(name):
        return name
    plain = _HASH.sub("", name)
    plain = _ESCAPE.sub(lambda match: _ESCAPES.get(match[0], match[0]), plain)
    return plain.replace("..", "::").replace("::_<", "::<").removeprefix("_")


def demangle_rust(name: str) -> str:
    """Return a name of the newer form as the source writes it; the name itself if it can't be."""
    try:
        plain = _Reader(name[2:]).path(0)
    except (_NotRust, IndexError, ValueError, OverflowError):
        return name
    return plain if len(plain) <= _LONGEST else name


class _Reader:
    """A place in a mangled name, and what the grammar expects there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._steps = 0

    def _take(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _accept(self, letter: str) -> bool:
        if self.text[self.at : self.at + 1] == letter:
            self.at += 1
            return True
        return False

    def _guard(self, depth: int) -> None:
        self._steps += 1
        if depth > _DEEPEST or self._steps > _LONGEST:
            raise _NotRust

    def _number62(self) -> int:
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at : end], end + 1
        value = 0
        for digit in digits:
            value = value * 62 + (int(digit, 36) if not digit.isupper() else ord(digit) - 29)
        return value + 1 if digits else 0

    def _disambiguator(self) -> int:
        return self._number62() + 1 if self._accept("s") else 0

    def _identifier(self) -> str:
        coded = self._accept("u")
        start = self.at
        while self.text[self.at].isdigit() and self.text[start] != "0":
            self.at += 1
        if self.text[start] == "0":
            self.at += 1
        size = int(self.text[start : self.at])
        self._accept("_")
        word = self.text[self.at : self.at + size]
        if len(word) != size:
            raise _NotRust
        self.at += size
        if not coded:
            return word
        head, _, tail = word.rpartition("_")
        return (head + "-" + tail if head else tail).encode("ascii").decode("punycode")

    def _again(self, depth: int, kind: str) -> str:
        """Follow a back reference; it must point backwards."""
        here = self.at - 1
        target = self._number62()
        if target >= here:
            raise _NotRust
        resume, self.at = self.at, target
        found = self.path(depth) if kind == "path" else self._type(depth)
        self.at = resume
        return found

    def path(self, depth: int) -> str:
        """Read a path: a crate, an item in a path, an implementation, generic arguments."""
        self._guard(depth)
        tag = self._take()
        if tag == "C":
            self._disambiguator()
            return self._identifier()
        if tag == "N":
            space = self._take()
            outer = self.path(depth + 1)
            number = self._disambiguator()
            inner = self._identifier()
            if space.islower():
                return f"{outer}::{inner}" if inner else outer
            what = {"C": "closure", "S": "shim"}.get(space, space)
            return f"{outer}::{{{what}{':' + inner if inner else ''}#{number}}}"
        if tag in "MX":
            self._disambiguator()
            self.path(depth + 1)
            return self._implementation(depth, with_trait=tag == "X")
        if tag == "Y":
            return self._implementation(depth, with_trait=True)
        if tag == "I":
            outer = self.path(depth + 1)
            return f"{outer}::<{', '.join(self._until_end(depth))}>"
        if tag == "B":
            return self._again(depth + 1, "path")
        raise _NotRust

    def _implementation(self, depth: int, *, with_trait: bool) -> str:
        self_type = self._type(depth + 1)
        return f"<{self_type} as {self.path(depth + 1)}>" if with_trait else f"<{self_type}>"

    def _until_end(self, depth: int) -> list[str]:
        found = []
        while not self._accept("E"):
            if self._accept("L"):
                found.append("'_" if self._number62() >= 0 else "")
            elif self._accept("K"):
                found.append(self._constant(depth + 1))
            else:
                found.append(self._type(depth + 1))
        return found

    def _constant(self, depth: int) -> str:
        self._guard(depth)
        if self._accept("B"):
            resume_from = self._number62()
            if resume_from >= self.at:
                raise _NotRust
            return "_"
        if self._accept("p"):
            return "_"
        kind = self._take()
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at : end], end + 1
        if kind not in _BASIC:
            raise _NotRust
        sign = "-" if digits.startswith("n") else ""
        return sign + str(int(digits.lstrip("n") or "0", 16))

    def _type(self, depth: int) -> str:
        self._guard(depth)
        tag = self.text[self.at]
        if tag in _BASIC:
            self.at += 1
            return _BASIC[tag]
        if tag in "CMXYNI":
            return self.path(depth + 1)
        self.at += 1
        if tag == "B":
            return self._again(depth + 1, "type")
        if tag in "RQ":
            if self._accept("L"):
                self._number62()
            return ("&" if tag == "R" else "&mut ") + self._type(depth + 1)
        if tag in "PO":
            return ("*const " if tag == "P" else "*mut ") + self._type(depth + 1)
        if tag == "S":
            return f"[{self._type(depth + 1)}]"
        if tag == "A":
            return f"[{self._type(depth + 1)}; {self._constant(depth + 1)}]"
        if tag == "T":
            members = self._until_end(depth)
            return f"({members[0]},)" if len(members) == 1 else f"({', '.join(members)})"
        if tag == "F":
            return self._function(depth)
        if tag == "D":
            return self._dynamic(depth)
        raise _NotRust

    def _function(self, depth: int) -> str:
        if self._accept("G"):
            self._number62()
        unsafe = "unsafe " if self._accept("U") else ""
        if self._accept("K"):
            unsafe += 'extern "C" ' if self._accept("C") else f'extern "{self._identifier()}" '
        parameters = ", ".join(self._until_end(depth))
        result = self._type(depth + 1)
        return f"{unsafe}fn({parameters})" + ("" if result == "()" else f" -> {result}")

    def _dynamic(self, depth: int) -> str:
        if self._accept("G"):
            self._number62()
        traits = []
        while not self._accept("E"):
            trait = self.path(depth + 1)
            while self._accept("p"):
                trait += f"<{self._identifier()} = {self._type(depth + 1)}>"
            traits.append(trait)
        if not self._accept("L"):
            raise _NotRust
        self._number62()
        return "dyn " + " + ".join(traits)
