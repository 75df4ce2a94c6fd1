"""A process's disposition of SIGTRAP, asked and exchanged by one of its stopped threads."""

from typing import TYPE_CHECKING

from uprobes.guard import layout

if TYPE_CHECKING:
    from uprobes.process import Process

SIGTRAP = 5
SIGNAL_SET_SIZE = 8


def current_handler(process: "Process") -> int:
    """Return the handler of SIGTRAP that is in place now; needs a stopped thread."""
    return handler_of(swap_action(process, None))


def handler_of(action: bytes) -> int:
    """Return the handler in a struct kernel_sigaction."""
    handler: int = layout.ACTION.unpack(action)[0]
    return handler


def swap_action(process: "Process", action: bytes | None) -> bytes:
    """Exchange a process's disposition of SIGTRAP and return the former one; needs a stopped
    thread. None only asks.

    The kernel can't store that in a page which the program may not write, so it goes through the
    stack of the thread that makes the call.
    """
    with process.borrowed_stack(2 * layout.ACTION_SIZE) as stack:
        old_at = stack + layout.ACTION_SIZE
        if action is not None:
            process.memory.write(stack, action)
        given = 0 if action is None else stack
        process.call("rt_sigaction", SIGTRAP, given, old_at, SIGNAL_SET_SIZE)
        return process.memory.read(old_at, layout.ACTION_SIZE)
