"""May a thread make a system call for us? Its seccomp filters are read and asked, before each call.

Rules:
- filters belong to threads, and are only ever added: the number of them says whether those that
  were read are still all;
- strict mode, and filters that we may not read, mean no;
- every answer but ALLOW and LOG means no: the call is not made, and nobody is told of it.

Reading filters takes CAP_SYS_ADMIN, a tracer that is under no filter itself, and a kernel with
CONFIG_CHECKPOINT_RESTORE (ptrace(2), PTRACE_SECCOMP_GET_FILTER).
"""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uprobes import ptrace
from uprobes.bpf import Action, Answer, BadFilter, Program, SystemCall, ask, unpack
from uprobes.errors import CannotMap
from uprobes.status import status_fields

if TYPE_CHECKING:
    from uprobes.tracee import Tracee

CODE = "seccomp"
STRICT, FILTERED = 1, 2
WORD64 = (1 << 64) - 1
MOST_FILTERS = 1 << 15
"""The kernel bounds them by the size of all (MAX_INSNS_PER_PATH)."""
STRICTLY = "the process is under seccomp's strict mode, which kills for the calls that we need"
UNREADABLE = "the process is under seccomp, and its filters can't be read"
WHY_UNREADABLE = {
    errno.EACCES: "that takes CAP_SYS_ADMIN, and a tracer under no filter itself",
    errno.EIO: "this kernel does not give them out (CONFIG_CHECKPOINT_RESTORE)",
    errno.EINVAL: "this kernel does not give them out (CONFIG_CHECKPOINT_RESTORE)",
    errno.EMEDIUMTYPE: "one is no classic BPF program",
}
Wish = tuple[str, tuple[int, ...]]
"""A system call by its name, with the arguments that matter."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What was read of a thread's filters: the oldest first."""

    count: int
    programs: tuple[Program, ...] = field(repr=False)


def mode_of(tid: int) -> tuple[int, int]:
    """Return a thread's mode of seccomp (0: none) and how many filters it has (-1: unknown)."""
    fields = status_fields(tid)
    return int(fields.get("Seccomp", 0)), int(fields.get("Seccomp_filters", -1))


def check_prepared(tracee: "Tracee") -> None:
    """Raise CannotMap where the system call that a stopped thread is about to make for us would not
    be let through: the one in its registers, with the call instruction at its program counter.
    """
    filters = filters_of(tracee)
    if filters is None:
        return
    machine, registers = tracee.machine, tracee.registers
    call = SystemCall(
        registers[machine.call_number],
        machine.audit_architecture,
        (registers[machine.ip] + len(machine.call_instruction)) & WORD64,
        tuple(registers[name] for name in machine.call_arguments),
    )
    _ask(tracee, filters, call)


def check_ahead(
    tracee: "Tracee", needed: Iterable[Wish], survived: Iterable[Wish] = ()
) -> None:
    """Raise CannotMap where calls that will be made later would not be let through.

    Those of `survived` may fail, but nothing else may come of them. What is not known yet counts
    as 0: arguments, and where the call is made.
    """
    filters = filters_of(tracee)
    if filters is None:
        return
    machine = tracee.machine
    for wishes, tolerated in ((needed, False), (survived, True)):
        for name, given in wishes:
            arguments = (*given, *(0 for _ in range(len(given), 6)))
            call = SystemCall(machine.calls[name], machine.audit_architecture, 0, arguments)
            _ask(tracee, filters, call, may_fail=tolerated)


def _ask(tracee: "Tracee", filters: Filters, call: SystemCall, *, may_fail: bool = False) -> None:
    try:
        answer = ask(filters.programs, call)
    except BadFilter as error:
        raise CannotMap(f"{UNREADABLE}: {error}", code=CODE) from None
    if answer.action.passes or (may_fail and answer.action is Action.ERRNO):
        return
    machine = tracee.machine
    names = {number: name for name, number in machine.calls.items()}
    raise CannotMap(
        f"the process's seccomp filters answer {names.get(call.number, call.number)} with"
        f" {described(answer)}",
        code=CODE,
    )


def described(answer: Answer) -> str:
    """Say what filters answered, an error by its name."""
    if answer.action is Action.ERRNO and answer.value in errno.errorcode:
        return f"{answer.action.name} {errno.errorcode[answer.value]}"
    return answer.action.name


def filters_of(tracee: "Tracee") -> Filters | None:
    """Return a stopped thread's filters, read again where there are more; None without any.

    Raises CannotMap where it may make no call at all, or nobody lets us know.
    """
    mode, count = mode_of(tracee.tid)
    if not mode:
        return None
    if mode != FILTERED:
        raise CannotMap(STRICTLY, code=CODE)
    known = tracee.filters
    if known is None or known.count != count or count < 0:
        try:
            known = tracee.filters = Filters(count, tuple(_read(tracee.tid)))
        except OSError as error:
            number = error.errno or 0
            why = WHY_UNREADABLE.get(number, os.strerror(number))
            raise CannotMap(f"{UNREADABLE}: {why}", code=CODE) from None
    return known


def _read(tid: int) -> Iterable[Program]:
    for index in range(MOST_FILTERS):
        try:
            yield unpack(ptrace.seccomp_filter(tid, index))
        except OSError as error:
            if error.errno == errno.ENOENT and index:
                return
            raise
