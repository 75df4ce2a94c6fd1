"""Who called? The way up a thread's stack, by the unwind tables of the objects that it runs in.

Rules:
- what a caller's registers were is restored rule by rule; the walk ends where there is no rule;
- a return address says where a call came back to: the rules are those of the byte before it, but of
  the address itself where a signal interrupted;
- a stack only leads upwards, but for signal handlers on one of their own: what doesn't is broken.
"""

from collections.abc import Callable, Iterator, Mapping

from insn import Arch
from insn.errors import InsnError
from uprobes.errors import ProbeError
from uprobes.machine.unwind_registers import UNWIND_REGISTERS
from uprobes.names.instances import Instance, Instances
from uprobes.names.unwind_rules import MASK, How, Rule, Rules, evaluate, rules_at

Word = Callable[[int], int]
"""Reads a word of the stack as the program would see it."""


def callers(
    instances: Instances, arch: Arch, registers: Mapping[str, int], word: Word, limit: int
) -> Iterator[int]:
    """Give where a thread is, where its caller was called, and so on: at most `limit` addresses."""
    names = UNWIND_REGISTERS.get(arch.name, ())
    state = {number: registers[name] for number, name in enumerate(names)}
    called = False
    while limit > 0 and names:
        limit -= 1
        address = state[len(names) - 1]
        yield address
        rules = _rules(instances, address - called)
        if rules is None:
            return
        sp = names.index(arch.stack_pointer)
        try:
            caller = _caller(rules, state, word, sp, len(names) - 1)
        except (InsnError, ProbeError, KeyError):
            return
        if not caller[len(names) - 1] or (caller[sp] <= state[sp] and not rules.signal):
            return
        state, called = caller, not rules.signal


def _rules(instances: Instances, address: int) -> Rules | None:
    mapping = instances.space.mapping_at(address)
    instance: Instance | None = None
    try:
        if mapping is not None:
            instance = instances.at(mapping, address)
        return None if instance is None else rules_at(instance.image, address - instance.bias)
    except (InsnError, ProbeError, ValueError):
        return None


def _caller(rules: Rules, state: Mapping[int, int], word: Word, sp: int, ip: int) -> dict[int, int]:
    """Restore the registers of a caller; raises where its return address can't be found."""
    if isinstance(rules.frame, bytes):
        frame = evaluate(rules.frame, state, word)
    else:
        register, offset = rules.frame
        frame = state[register] + offset & MASK
    caller = {**state, sp: frame}
    for number, rule in rules.saved.items():
        value = _restore(rule, frame, state, word)
        if value is not None:
            caller[number] = value
        elif number == rules.return_column:
            caller[number] = 0  # the outermost function says so: nobody called it
    if rules.return_column not in rules.saved:
        raise KeyError(rules.return_column)
    caller[ip] = caller[rules.return_column]
    return caller


def _restore(rule: Rule, frame: int, state: Mapping[int, int], word: Word) -> int | None:
    how, what = rule
    if isinstance(what, bytes):
        found = evaluate(what, state, word, frame)
        return word(found) if how is How.AT_EXPRESSION else found
    if how is How.REGISTER:
        return state[what]
    if how is How.UNDEFINED:
        return None
    found = frame + what & MASK
    return word(found) if how is How.AT_OFFSET else found
