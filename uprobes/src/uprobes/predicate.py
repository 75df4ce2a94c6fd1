"""Conditions on hits as text: `arg0 > 4096 and tid != 17` becomes a Python function of the hit.

Names are arguments (`arg0`, `arg1`, …), `tid`, `pid`, registers, and for returns `retval` and
`elapsed_ns`. Only comparisons, arithmetic and logic; nothing can be called.
"""

import ast
import re
from collections.abc import Callable
from types import CodeType

from uprobes.errors import BadSpec
from uprobes.hit import Hit

ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.IfExp,
    ast.Tuple,
)
PLAIN = {
    "tid": "tid",
    "pid": "pid",
    "retval": "value",
    "elapsed_ns": "elapsed_ns",
    "address": "address",
}
ARGUMENT = re.compile(r"arg(\d{1,2})\Z")


class _Names(ast.NodeTransformer):
    def __init__(self, text: str, registers: frozenset[str]) -> None:
        self.text = text
        self.registers = registers

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replace a name by what it stands for on the hit."""
        name = node.id
        if name in PLAIN:
            return _expression(f"hit.{PLAIN[name]}")
        argument = ARGUMENT.match(name)
        if argument:
            return _expression(f"hit.arg({int(argument[1])})")
        if name in self.registers:
            return _expression(f"hit.registers[{name!r}]")
        raise BadSpec(
            f"the condition {self.text!r} names {name!r}, which a hit has not",
            spec=self.text,
            code="bad-condition",
            hint="known: arg0, arg1, …, tid, pid, retval, elapsed_ns and registers such as rdi",
        )


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def compile_condition(text: str, registers: frozenset[str]) -> Callable[[Hit], object]:
    """Make a function of a condition; raises BadSpec where it is not one.

    `registers` are the names of the target's registers.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise BadSpec(
            f"the condition {text!r} can't be read: {error.msg}",
            spec=text,
            code="bad-condition",
            hint="write it as in Python: arg0 > 4096 and tid == 17",
        ) from None
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            raise BadSpec(
                f"the condition {text!r} has a {type(node).__name__.lower()}, which is too much",
                spec=text,
                code="bad-condition",
                hint="pass a Python function as `where` instead",
            )
    body = ast.fix_missing_locations(_Names(text, registers).visit(tree))
    code: CodeType = compile(body, f"<where {text}>", "eval")

    def condition(hit: Hit) -> object:
        return eval(code, {"__builtins__": {}}, {"hit": hit})

    return condition
