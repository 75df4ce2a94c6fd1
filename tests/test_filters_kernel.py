"""Seccomp filters drawn at random: the kernel itself says what each answers, and so must we."""

import ctypes
import errno
import os
import signal
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from uprobes.bpf import INSTRUCTION, Action, SystemCall, ask

libc = ctypes.CDLL(None, use_errno=True)
ARCH = 0xC000003E
PAUSE, SECCOMP, NO_NEW_PRIVS = 34, 317, 38
OURS = 700
"""From here on there are no system calls: what is made with these numbers meets the filters."""
LD, LDX, JMP_K, RET_K, RET_A = 0x20, 0x01, 0x15, 0x06, 0x16
WORDS = st.one_of(
    st.integers(0, 0xFFFFFFFF), st.integers(0, 40), st.sampled_from([0x80000000, 0xFFFFFFFF])
)
OFFSETS = st.integers(0, 15).map(lambda word: 4 * word)
CONSTANT = [0x00, 0x01, 0x04, 0x14, 0x24, 0x44, 0x54, 0xA4]  # ld, ldx, + - * | & ^
BARE = [0x07, 0x87, 0x84, 0x80, 0x81, 0x0C, 0x1C, 0x2C, 0x3C, 0x4C, 0x5C, 0x6C, 0x7C, 0xAC]
IN_CELLS = [0x02, 0x03, 0x60, 0x61]
JUMPS = [0x15, 0x25, 0x35, 0x45, 0x1D, 0x2D, 0x3D, 0x4D]

STEPS = st.one_of(
    st.tuples(st.sampled_from(CONSTANT), st.just(0), st.just(0), WORDS),
    st.tuples(st.just(0x34), st.just(0), st.just(0), st.integers(1, 1 << 31)),
    st.tuples(st.sampled_from([0x64, 0x74]), st.just(0), st.just(0), st.integers(0, 31)),
    st.tuples(st.sampled_from(BARE), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just(LD), st.just(0), st.just(0), OFFSETS),
    st.tuples(st.sampled_from(IN_CELLS), st.just(0), st.just(0), st.integers(0, 15)),
    st.tuples(st.sampled_from(JUMPS), st.integers(0, 5), st.integers(0, 5), WORDS),
    st.tuples(st.just(0x05), st.just(0), st.just(0), st.integers(0, 5)),
)
CALLS = st.builds(
    lambda number, arguments: (number, tuple(arguments)),
    st.integers(OURS, 0x7FFF),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=6, max_size=6),
)
LET_PASS = [(LD, 0, 0, 0), (0x35, 1, 0, OURS), (RET_K, 0, 0, int(Action.ALLOW))]
"""Whatever else the child does: it must be able to tell."""
CELLS = [(0x02, 0, 0, cell) for cell in range(16)]
"""The kernel takes no filter that reads a cell which nobody wrote."""
TELL = [
    # A's 32 bits are folded into the 12 that an error number can have.
    (0x07, 0, 0, 0), (0x74, 0, 0, 12), (0xAC, 0, 0, 0), (0x07, 0, 0, 0), (0x74, 0, 0, 24),
    (0xAC, 0, 0, 0), (0x54, 0, 0, 0xFFF), (0x44, 0, 0, int(Action.ERRNO)), (RET_A, 0, 0, 0),
]  # fmt: skip


def bounded(steps):
    """Let jumps end inside: they may lead to the first instruction of what tells, not further."""
    program = []
    for at, (code, if_true, if_false, k) in enumerate(steps):
        rest = len(steps) - at - 1
        if code == 0x05:
            k = min(k, rest)
        program.append((code, min(if_true, rest), min(if_false, rest), k))
    return program


def install(program):
    """Put a filter on ourselves; False where the kernel does not take it."""
    code = b"".join(INSTRUCTION.pack(*each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    )
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    return libc.syscall(SECCOMP, 1, 0, head) == 0


def kernel(programs, calls):
    """Say what the kernel made of calls under filters: error numbers, or the signal that ended us.

    None where it does not take the filters.
    """
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if not all(map(install, programs)):
                os._exit(1)
            for number, arguments in calls:
                ctypes.set_errno(0)
                given = map(ctypes.c_ulong, arguments)
                failed = libc.syscall(ctypes.c_long(number), *given) == -1
                os.write(tell, struct.pack("i", ctypes.get_errno() if failed else 0))
        finally:
            os._exit(0)
    os.close(tell)
    found = b""
    while more := os.read(told, 4096):
        found += more
    os.close(told)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        return None
    numbers = [number for (number,) in struct.iter_unpack("i", found)]
    return [*numbers, -os.WTERMSIG(status)] if os.WIFSIGNALED(status) else numbers


@pytest.fixture(scope="module")
def call_site():
    """Find where the C library makes system calls for others: a child stands there and waits."""
    pid = os.fork()
    if pid == 0:
        libc.syscall(PAUSE)
        os._exit(0)
    try:
        for _ in range(1000):
            found = Path(f"/proc/{pid}/syscall").read_text().split()
            if found[0] == str(PAUSE):
                return int(found[-1], 16)
            time.sleep(0.001)
        raise AssertionError("the child never came to wait")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def predicted(programs, calls, ip):
    """Say what should come of calls, as `kernel` says what did."""
    found = []
    for number, arguments in calls:
        answer = ask(programs, SystemCall(number, ARCH, ip, arguments))
        if answer.action is Action.ERRNO:
            found.append(min(answer.value, 4095))
        elif answer.action in (Action.ALLOW, Action.TRACE, Action.USER_NOTIF):
            found.append(errno.ENOSYS)  # no such call, no tracer, no listener
        else:
            return [*found, -signal.SIGSYS]
    return found


PATIENT = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PATIENT
@given(st.lists(STEPS, max_size=24), st.lists(CALLS, min_size=1, max_size=4))
@example([(LD, 0, 0, 8)], [(OURS, (0,) * 6)])
@example([(LD, 0, 0, 12)], [(OURS, (0,) * 6)])
@example([(0x3C, 0, 0, 0)], [(OURS, (0,) * 6)])
@example([(LDX, 0, 0, 33), (0x6C, 0, 0, 0)], [(OURS, (0,) * 6)])
def test_what_filters_compute_is_what_the_kernel_computes(call_site, steps, calls):
    """Every load, operation and jump; the result comes back as the error number."""
    program = [*LET_PASS, *CELLS, *bounded(steps), *TELL]
    assert kernel([program], calls) == predicted([program], calls, call_site)


ANSWERS = st.one_of(
    st.integers(0, 4095).map(lambda number: int(Action.ERRNO) | number),
    st.sampled_from([0x7FFF0000, 0x7FF00003, 0x80000000, 0x00000000, 0x00030007, 0x12345678]),
)


@PATIENT
@given(st.lists(st.tuples(st.integers(OURS, OURS + 2), ANSWERS), min_size=1, max_size=5))
def test_which_answer_of_a_chain_wins_is_what_the_kernel_does(call_site, rules):
    chain = [
        [*LET_PASS, (JMP_K, 0, 1, number), (RET_K, 0, 0, answer), (RET_K, 0, 0, int(Action.ALLOW))]
        for number, answer in rules
    ]
    calls = [(OURS + offset, (0,) * 6) for offset in range(3)]
    assert kernel(chain, calls) == predicted(chain, calls, call_site)


def test_the_kernel_takes_no_filter_that_we_would_not_evaluate():
    for code in range(256):
        program = [*LET_PASS, (code, 0, 0, 4), (RET_K, 0, 0, int(Action.ALLOW))]
        taken = kernel([program], []) is not None
        try:
            ask([[*CELLS, *program[3:]]], SystemCall(OURS, ARCH, 0, (0,) * 6))
            evaluated = True
        except ValueError:
            evaluated = False
        assert not taken or evaluated, f"code {code:#x}"
