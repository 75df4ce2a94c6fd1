"""Errors of the command line: what they are called, and how they are printed."""

import json
import sys

from insn.errors import InsnError


class CommandError(InsnError):
    """Something asked for on the command line cannot be done; `spec` is the argument for it."""

    code = "usage"

    def __init__(
        self,
        why: str,
        *,
        code: str = "usage",
        spec: str | None = None,
        address: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(why, address=address, hint=hint)
        self.code = code
        self.spec = spec


def show_error(error: InsnError | OSError, *, as_json: bool, spec: str | None = None) -> None:
    """Print an error: a document to stdout for scripts, else lines to stderr."""
    if isinstance(error, OSError):
        name = error.filename or spec
        error = CommandError(
            f"{name}: {error.strerror or error}",
            code="no-such-file" if isinstance(error, FileNotFoundError) else "cannot-read",
            spec=str(name),
            hint="give the path of a file that you may read",
        )
    spec = getattr(error, "spec", None) or spec
    if as_json:
        fields = {
            "code": error.code,
            "spec": spec,
            "address": error.address,
            "why": error.why,
            "hint": error.hint,
        }
        print(json.dumps({"error": fields}))
        return
    where = "" if error.address is None else f" (at {error.address:#x})"
    print(f"insn: {error.why}{where}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
