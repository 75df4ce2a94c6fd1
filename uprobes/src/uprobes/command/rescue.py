"""`uprobes rescue`: clean up after a tracer that died."""

import json

import uprobes
from uprobes.command.options import Options, report_file, usage


def rescue(options: Options) -> int:
    """Run it; return 0 when the process is clean afterwards."""
    if options.pid is None:
        raise usage("say which process to clean up", "uprobes rescue PID")
    target = uprobes.attach(options.pid)
    remains = target.remains
    target.detach()
    with report_file(options) as file:
        if options.json:
            found = {
                "found": remains is not None,
                "breakpoints": 0 if remains is None else remains.breakpoints,
                "frames": 0 if remains is None else remains.frames,
            }
            print(json.dumps({"pid": options.pid, **found}), file=file)
        elif remains is None:
            print(f"process {options.pid} holds nothing of a dead tracer", file=file)
        else:
            print(
                f"process {options.pid} is clean: {remains.breakpoints} probe points and"
                f" {remains.frames} return addresses of a dead tracer were put back",
                file=file,
            )
    return 0
