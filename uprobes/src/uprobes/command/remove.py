"""`uprobes remove`: take recordings out of a process, whoever left them there."""

import json

import uprobes
from uprobes.command.options import Options, report_file, usage


def remove(options: Options) -> int:
    """Run it; return 0 when nothing is left in the process."""
    if options.pid is None:
        raise usage("say which process records", "uprobes remove PID")
    with uprobes.attach(options.pid) as target:
        found = target.installed
        places = sum(len(installed.sites) for installed in found)
        for installed in found:
            installed.remove()
        left = len(target.installed)
    with report_file(options) as file:
        if options.json:
            removed = {"pid": options.pid, "recordings": len(found), "places": places, "left": left}
            print(json.dumps(removed), file=file)
        elif not found:
            print(f"nothing is recorded in process {options.pid}", file=file)
        else:
            what = "recording was" if len(found) == 1 else "recordings were"
            print(
                f"{len(found)} {what} taken out of process {options.pid}: {places:,} places",
                file=file,
            )
    return 1 if left else 0
