"""libdebug as a tracer: PID ADDRESS."""

import os
import signal
import sys
import time

from libdebug import debugger

pid, address = int(sys.argv[1]), int(sys.argv[2], 0)
hits = total = 0
over = False


def handler(thread, _breakpoint):
    """Read the first argument."""
    global hits, total
    hits += 1
    total += thread.regs.rdi


def finish(*_):
    """Leave the loop below."""
    global over
    over = True


signal.signal(signal.SIGTERM, finish)
tracer = debugger()
tracer.attach(pid)
tracer.breakpoint(address, callback=handler, file="absolute")
tracer.cont()
print("ready", flush=True)
while not over:
    time.sleep(0.02)
print("hits", hits, total, flush=True)
tracer.interrupt()
tracer.detach()
os._exit(0)  # its own threads would keep the process alive
