"""gdb's Python breakpoints as a tracer, run inside gdb; PID and ADDRESS come by the environment."""

import contextlib
import os

import gdb

pid, address = int(os.environ["BENCHMARK_PID"]), int(os.environ["BENCHMARK_ADDRESS"])
hits = total = 0


class Counting(gdb.Breakpoint):
    """Reads the first argument and goes on."""

    def stop(self):
        """Read the first argument; False lets the program go on."""
        global hits, total
        hits += 1
        total += int(gdb.selected_frame().read_register("rdi"))
        return False


for setting in (
    "pagination off",
    "confirm off",
    "debuginfod enabled off",
    "print thread-events off",
):
    gdb.execute(f"set {setting}", to_string=True)
gdb.execute(f"attach {pid}", to_string=True)
Counting(f"*{address:#x}")
print("ready", flush=True)
with contextlib.suppress(KeyboardInterrupt):
    gdb.execute("continue", to_string=True)
print("hits", hits, total, flush=True)
gdb.execute("delete", to_string=True)
gdb.execute("detach", to_string=True)
