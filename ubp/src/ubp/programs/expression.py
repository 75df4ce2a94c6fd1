"""Conditions, values and fields as text: `arg0 > 4096 and u32(arg1 + 8) in (1, 2)`.

The grammar is Python's, of which these are left:

- numbers, `arg0` …, `ret` (or `retval`), `tid`, `pid`, `cpu`, `time`, `elapsed`, `sp`, registers;
- `+ - * // % & | ^ << >> ~`, brackets; shifts by constants only;
- `u8(x)` … `u64(x)`, `s8(x)` … `s64(x)`: the number in memory at address x;
- `uint8(x)` … `uint64(x)`, `int8(x)` … `int64(x)`: the lower bits of x, taken as that kind;
- `scaled(x, m, s)`: x * m >> s, in 128 bits;
- in conditions: comparisons, also chained, `in` and `not in` a tuple, `and or not`;
- in fields: `str(x)`, `str(x, size)`, `bytes(x, size)`: memory at address x.

What they mean stands in `values`. Nothing else can be called, and nothing is executed.
"""

import ast
import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Final

from ubp.programs.conditions import And, Compare, Condition, Not, Or, Relation, Truth
from ubp.programs.errors import BadExpression, ProgramError
from ubp.programs.values import (
    Argument,
    Binary,
    Bytes,
    Cast,
    Constant,
    Cpu,
    Elapsed,
    Operator,
    Pid,
    Register,
    ReturnValue,
    Scaled,
    StackPointer,
    String,
    Tid,
    Time,
    Value,
    Word,
)

PLAIN: Final[Mapping[str, Value]] = MappingProxyType(
    {
        "ret": ReturnValue(),
        "retval": ReturnValue(),
        "tid": Tid(),
        "pid": Pid(),
        "cpu": Cpu(),
        "time": Time(),
        "elapsed": Elapsed(),
        "sp": StackPointer(),
    }
)
NO_NAMES: Final[Mapping[str, Value]] = MappingProxyType({})
STRING_SIZE: Final = 64
"""How much of a string `str(x)` keeps."""
HIGHEST: Final = 100  # levels of an expression
_ARGUMENT = re.compile(r"arg(\d{1,2})\Z")
_WORD = re.compile(r"([us])(8|16|32|64)\Z")
_CAST = re.compile(r"(u?)int(8|16|32|64)\Z")
_OPERATORS: Final[Mapping[type[ast.operator], Operator]] = MappingProxyType(
    {
        ast.Add: Operator.ADD,
        ast.Sub: Operator.SUBTRACT,
        ast.Mult: Operator.MULTIPLY,
        ast.FloorDiv: Operator.DIVIDE,
        ast.Mod: Operator.MODULO,
        ast.BitAnd: Operator.AND,
        ast.BitOr: Operator.OR,
        ast.BitXor: Operator.XOR,
        ast.LShift: Operator.LEFT,
        ast.RShift: Operator.RIGHT,
    }
)
_RELATIONS: Final[Mapping[type[ast.cmpop], Relation]] = MappingProxyType(
    {
        ast.Eq: Relation.EQUAL,
        ast.NotEq: Relation.DIFFERENT,
        ast.Lt: Relation.LESS,
        ast.LtE: Relation.AT_MOST,
        ast.Gt: Relation.GREATER,
        ast.GtE: Relation.AT_LEAST,
    }
)
_ON_CONSTANTS: Final[Mapping[Operator, Callable[[int, int], int]]] = MappingProxyType(
    {
        Operator.ADD: lambda a, b: a + b,
        Operator.SUBTRACT: lambda a, b: a - b,
        Operator.MULTIPLY: lambda a, b: a * b,
        Operator.DIVIDE: lambda a, b: a // b,
        Operator.MODULO: lambda a, b: a % b,
        Operator.AND: lambda a, b: a & b,
        Operator.OR: lambda a, b: a | b,
        Operator.XOR: lambda a, b: a ^ b,
        Operator.LEFT: lambda a, b: a << b if b < 64 else a << 64,
        Operator.RIGHT: lambda a, b: a >> b,
    }
)


def parse(
    text: str, registers: Collection[str] = (), names: Mapping[str, Value] = NO_NAMES
) -> Condition:
    """Read a condition.

    `registers` are the names of the target's registers, `names` further ones and what they stand
    for. Raises BadExpression, which says where and what is allowed.
    """
    reader = _Reader(text, registers, names)
    return reader.condition(reader.tree())


def parse_value(
    text: str, registers: Collection[str] = (), names: Mapping[str, Value] = NO_NAMES
) -> Value:
    """Read a value; the rest is as in `parse`."""
    reader = _Reader(text, registers, names)
    return reader.value(reader.tree())


def parse_field(
    text: str, registers: Collection[str] = (), names: Mapping[str, Value] = NO_NAMES
) -> Value | Bytes | String:
    """Read what a field of a record holds: a value, `str(…)` or `bytes(…)`; as in `parse`."""
    reader = _Reader(text, registers, names)
    return reader.field(reader.tree())


class _Reader:
    def __init__(self, text: str, registers: Collection[str], names: Mapping[str, Value]) -> None:
        self.text = text
        self.registers = registers
        self.names = names

    def tree(self) -> ast.expr:
        try:
            tree = ast.parse(self.text.lstrip(), mode="eval").body
        except SyntaxError as error:
            position = max((error.offset or 1) - 1, 0) + self._indent
            raise BadExpression(
                f"an expression cannot be read: {error.msg}",
                text=self.text,
                position=min(position, len(self.text)),
                hint="write it as in Python: arg0 > 4096 and tid == 17",
            ) from None
        except (ValueError, RecursionError, MemoryError):
            raise BadExpression(
                "an expression cannot be read", text=self.text, position=0
            ) from None

        if _height(tree) > HIGHEST:
            raise BadExpression(
                "an expression cannot be read: it is nested too deeply",
                text=self.text,
                position=0,
                hint=f"at most {HIGHEST} levels; a sum of n parts has n",
            )
        return tree

    @property
    def _indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())

    def wrong(self, node: ast.expr, why: str, hint: str = "") -> BadExpression:
        """Make the error for a part of the text."""
        lines = self.text.lstrip().splitlines(keepends=True)
        before = sum(len(line) for line in lines[: node.lineno - 1])
        in_line = len(lines[node.lineno - 1].encode()[: node.col_offset].decode())
        position = self._indent + before + in_line
        return BadExpression(why, text=self.text, position=position, hint=hint)

    # -- conditions -----------------------------------------------------------------------------

    def condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(operator, operands):
                parts = tuple(self.condition(operand) for operand in operands)
                return And(parts) if isinstance(operator, ast.And) else Or(parts)
            case ast.UnaryOp(ast.Not(), operand):
                return Not(self.condition(operand))
            case ast.Compare(left, relations, rights):
                sides = [left, *rights]
                parts = tuple(
                    self.comparison(node, relation, one, two)
                    for relation, one, two in zip(relations, sides, rights, strict=False)
                )
                return parts[0] if len(parts) == 1 else And(parts)
        return Truth(self.value(node))

    def comparison(
        self, node: ast.expr, relation: ast.cmpop, left: ast.expr, right: ast.expr
    ) -> Condition:
        match relation, right:
            case ast.In() | ast.NotIn(), ast.Tuple(elts) | ast.List(elts) | ast.Set(elts) if elts:
                value = self.value(left)
                parts = tuple(
                    self.compare(item, Relation.EQUAL, value, self.value(item)) for item in elts
                )
                found = parts[0] if len(parts) == 1 else Or(parts)
                return Not(found) if isinstance(relation, ast.NotIn) else found
        if type(relation) not in _RELATIONS:
            raise self.wrong(
                node,
                "this comparison means nothing here",
                "== != < <= > >=, and `in` with a tuple: arg0 in (1, 2)",
            )
        return self.compare(node, _RELATIONS[type(relation)], self.value(left), self.value(right))

    def compare(self, node: ast.expr, relation: Relation, left: Value, right: Value) -> Condition:
        try:
            return Compare(relation, left, right)
        except ProgramError as error:
            raise self.wrong(node, error.why, error.hint) from None

    # -- values ---------------------------------------------------------------------------------

    def value(self, node: ast.expr) -> Value:
        try:
            return self._value(node)
        except BadExpression:
            raise
        except ProgramError as error:
            raise self.wrong(node, error.why, error.hint) from None

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return Constant(number)
            case ast.Name(id=name):
                return self.named(node, name)
            case ast.UnaryOp(operator, operand):
                return self.unary(node, operator, self.value(operand))
            case ast.BinOp(left, operator, right):
                return self.binary(node, operator, self.value(left), self.value(right))
            case ast.Call(ast.Name(id=name), arguments, []):
                return self.called(node, name, arguments)
        kinds = {
            ast.Compare: ("a comparison", "compare values, and join with and, or, not"),
            ast.BoolOp: ("a condition", "compare values, and join with and, or, not"),
            ast.IfExp: ("a choice", "write (x and a) or (not x and b)"),
            ast.Constant: ("such a constant", "whole numbers: 17, 0x11"),
        }
        what, hint = kinds.get(type(node), (type(node).__name__.lower(), "see the grammar"))
        raise self.wrong(node, f"{what} cannot stand here", hint)

    def named(self, node: ast.expr, name: str) -> Value:
        argument = _ARGUMENT.match(name)
        if name in self.names:
            return self.names[name]
        if argument:
            return Argument(int(argument[1]))
        if name in PLAIN:
            return PLAIN[name]
        if name in self.registers:
            return Register(name)
        known = ["arg0", "arg1", "…", *PLAIN, *self.names]
        some = f" and registers such as {min(self.registers)}" if self.registers else ""
        raise self.wrong(node, f"{name!r} is not known", f"known: {', '.join(known)}{some}")

    def unary(self, node: ast.expr, operator: ast.unaryop, value: Value) -> Value:
        match operator, value:
            case ast.USub(), Constant(number):
                return Constant(-number)
            case ast.Invert(), Constant(number):
                return Constant(~number)
            case ast.UAdd(), _:
                return value
            case ast.USub(), _:
                return Binary(Operator.SUBTRACT, Constant(0), value)
            case ast.Invert(), _:
                return Binary(Operator.SUBTRACT, Constant(-1), value)
        raise self.wrong(node, "a condition is not a number", "compare: arg0 == 0")

    def binary(self, node: ast.expr, operator: ast.operator, left: Value, right: Value) -> Value:
        kind = _OPERATORS.get(type(operator))
        if kind is None:
            hint = "// divides whole numbers" if isinstance(operator, ast.Div) else ""
            raise self.wrong(
                node, "this operator means nothing here", hint or "+ - * // % & | ^ << >>"
            )
        made = Binary(kind, left, right)
        if isinstance(left, Constant) and isinstance(right, Constant):
            return Constant(_ON_CONSTANTS[kind](left.value, right.value))
        return made

    def called(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> Value:
        word, cast = _WORD.match(name), _CAST.match(name)
        if (word or cast) and len(arguments) == 1:
            value = self.value(arguments[0])
            if word:
                return word_at(value, int(word[2]) // 8, word[1] == "s")
            assert cast
            return Cast(value, int(cast[2]) // 8, not cast[1])
        if name == "scaled" and len(arguments) == 3:
            value, multiplier, shift = (self.value(argument) for argument in arguments)
            if isinstance(multiplier, Constant) and isinstance(shift, Constant):
                return Scaled(value, multiplier.value, shift.value)
        if name in ("str", "bytes"):
            raise self.wrong(node, f"{name}(…) is no number", "it can only be a field of a record")
        raise self.wrong(
            node,
            f"{name}(…) cannot be called so",
            "u8 … u64, s8 … s64 read memory: u32(arg0 + 8); int8 … int64, uint8 … uint64 convert",
        )

    def field(self, node: ast.expr) -> Value | Bytes | String:
        match node:
            case ast.Call(ast.Name(id="str" | "bytes" as name), [base, *sizes], []) if (
                len(sizes) < 2
            ):
                size: Value = Constant(STRING_SIZE)
                if sizes:
                    size = self.value(sizes[0])
                elif name == "bytes":
                    raise self.wrong(node, "bytes(…) needs a size", "bytes(arg0, 32)")
                if not isinstance(size, Constant):
                    raise self.wrong(node, "the size must be a number", f"{name}(arg0, 32)")
                try:
                    kind = String if name == "str" else Bytes
                    return kind(self.value(base), size.value)
                except BadExpression:
                    raise
                except ProgramError as error:
                    raise self.wrong(node, error.why, error.hint) from None
        return self.value(node)


def _height(tree: ast.expr) -> int:
    """Count the levels of a tree."""
    levels, nodes = 0, [tree]
    while nodes:
        levels += 1
        nodes = [
            child
            for node in nodes
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]
    return levels


def word_at(address: Value, size: int, signed: bool) -> Word:
    """Make a reading of memory; a constant that is added to the address becomes its offset."""
    match address:
        case Binary(Operator.ADD, base, Constant(offset)) if -(1 << 31) <= offset < 1 << 31:
            return Word(base, offset, size, signed)
    return Word(address, 0, size, signed)
