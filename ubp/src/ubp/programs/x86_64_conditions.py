"""Conditions as x86-64 instructions."""

from ubp.programs.conditions import MIRRORED, And, Compare, Condition, Not, Or, Relation, Truth
from ubp.programs.values import Constant, Tid, Value, is_signed
from ubp.programs.x86_64_values import Values, depth
from ubp.x86_assembler import Mem, Operand, Thread

UNSIGNED = {
    Relation.EQUAL: "e", Relation.DIFFERENT: "ne", Relation.LESS: "b", Relation.AT_MOST: "be",
    Relation.GREATER: "a", Relation.AT_LEAST: "ae",
}  # fmt: skip
SIGNED = UNSIGNED | {
    Relation.LESS: "l", Relation.AT_MOST: "le", Relation.GREATER: "g", Relation.AT_LEAST: "ge",
}  # fmt: skip
OPPOSITE = {
    "e": "ne", "ne": "e", "b": "ae", "ae": "b", "be": "a", "a": "be",
    "l": "ge", "ge": "l", "le": "g", "g": "le",
}  # fmt: skip
NEGATIVE_IS_LESS = (Relation.DIFFERENT, Relation.LESS, Relation.AT_MOST)
"""What holds between a negative number and one that is not."""


def branch(values: Values, condition: Condition, target: str, when: bool) -> None:
    """Jump to a label when a condition holds (or, not `when`, when it does not)."""
    match condition:
        case Not(part):
            branch(values, part, target, not when)
        case And(parts) | Or(parts):
            if isinstance(condition, Or) == when:
                for part in parts:
                    branch(values, part, target, when)
                return
            through = values.new_label()
            for part in parts[:-1]:
                branch(values, part, through, not when)
            branch(values, parts[-1], target, when)
            values.a.label(through)
        case Truth(value):
            values.frame.touch_flags()
            register, _ = values.registers(value, values.frame.pool())
            values.a.test(register, register)
            values.a.jump_if("ne" if when else "e", target)
        case Compare(relation, left, right):
            _compare(values, relation, left, right, target, when)


def _compare(
    values: Values, relation: Relation, left: Value, right: Value, target: str, when: bool
) -> None:
    a = values.a
    values.frame.touch_flags()
    if isinstance(left, Constant) or depth(right) > depth(left):
        relation, left, right = MIRRORED[relation], right, left
    signs = (is_signed(left), is_signed(right))
    if isinstance(right, Constant):
        signs = (signs[0], signs[0])
    elif signs == (False, True):
        relation, left, right, signs = MIRRORED[relation], right, left, (True, False)
    known = ""
    one: Operand
    size = 8
    source = values.source(right)
    if (
        isinstance(left, Tid)
        and values.shape.tid_offset is not None
        and isinstance(source, int)
        and source >= 0
    ):
        one, size, pool = Thread(values.shape.tid_offset), 4, values.frame.pool()
    else:
        own = values.source(left)
        if isinstance(own, Mem) and isinstance(source, int):
            one, pool = own, values.frame.pool()
        else:
            one, pool = values.registers(left, values.frame.pool())
    two = source if source is not None else values.registers(right, pool)[0]
    if signs == (True, False):
        known = values.new_label()
        assert isinstance(one, str)
        a.test(one, one)
        if (relation in NEGATIVE_IS_LESS) == when:
            a.jump_if("s", target)
        else:
            a.jump_if("s", known)
    a.arithmetic("cmp", one, two, size=size)
    test = (SIGNED if signs == (True, True) else UNSIGNED)[relation]
    a.jump_if(test if when else OPPOSITE[test], target)
    if known:
        a.label(known)
