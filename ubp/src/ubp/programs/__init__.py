"""Programs that run inside the probed process: what they are, their memory, their machine code."""

from ubp.programs import cells
from ubp.programs.cells import Cells, Results
from ubp.programs.conditions import And, Compare, Condition, Not, Or, Relation, Truth
from ubp.programs.errors import BadExpression, ProgramError
from ubp.programs.evaluate import holds, value_of
from ubp.programs.expression import parse, parse_field, parse_value
from ubp.programs.model import (
    Action,
    Count,
    Field,
    Linear,
    Log2,
    Maximum,
    Minimum,
    Program,
    Record,
    Sum,
)
from ubp.programs.placement import Generated, Placement, Saved
from ubp.programs.returns import PendingCall, TableLayout
from ubp.programs.ring import RecordField, RingLayout, RingMode, record_dtype, record_fields
from ubp.programs.text import format_condition, format_value
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
    is_signed,
)
from ubp.programs.x86_64 import assemble, prepare
from ubp.programs.x86_64_restore import restore_all
from ubp.programs.x86_64_template import Template, put

__all__ = [
    "Action",
    "And",
    "Argument",
    "BadExpression",
    "Binary",
    "Bytes",
    "Cast",
    "Cells",
    "Compare",
    "Condition",
    "Constant",
    "Count",
    "Cpu",
    "Elapsed",
    "Field",
    "Generated",
    "Linear",
    "Log2",
    "Maximum",
    "Minimum",
    "Not",
    "Operator",
    "Or",
    "PendingCall",
    "Pid",
    "Placement",
    "Program",
    "ProgramError",
    "Record",
    "RecordField",
    "Register",
    "Relation",
    "Results",
    "ReturnValue",
    "RingLayout",
    "RingMode",
    "Saved",
    "Scaled",
    "StackPointer",
    "String",
    "Sum",
    "TableLayout",
    "Template",
    "Tid",
    "Time",
    "Truth",
    "Value",
    "Word",
    "assemble",
    "cells",
    "format_condition",
    "format_value",
    "holds",
    "is_signed",
    "parse",
    "parse_field",
    "parse_value",
    "prepare",
    "put",
    "record_dtype",
    "record_fields",
    "restore_all",
    "value_of",
]
