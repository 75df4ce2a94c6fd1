"""Our own toolkit as a tracer: PID METHOD ADDRESS [ADDRESS …]; the first is the one that is hit."""

import signal
import sys

import uprobes
from uprobes import Uprobe


def main() -> None:
    """Probe until SIGTERM, reading the first argument at every hit; then print the hits."""
    pid, method = int(sys.argv[1]), None if sys.argv[2] == "any" else sys.argv[2]
    addresses = [int(text, 0) for text in sys.argv[3:]]
    total = 0

    def handler(hit: uprobes.Hit) -> None:
        nonlocal total
        total += hit.arg(0)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with uprobes.attach(pid) as target:
        probes = [Uprobe(pid, address, handler, method=method) for address in addresses]
        registration = target.register_probes(probes)
        for error in registration.refused:
            sys.exit(f"refused: {error}")
        print("ready", flush=True)
        try:
            target.run()
        finally:
            used = probes[0].method
            target.detach()
            print("hits", sum(probe.hits for probe in probes), total, used, flush=True)


if __name__ == "__main__":
    main()
