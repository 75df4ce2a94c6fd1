"""The JSON documents that scripts rely on: every key present, whatever happened."""

from collections.abc import Mapping

from uprobes import Location, Probe
from uprobes.command.histogram import Histogram
from uprobes.command.programs import AnyProbe
from uprobes.command.session import Run


def document(run: Run, latencies: Mapping[AnyProbe, Histogram] | None = None) -> dict[str, object]:
    """Return the document that `count` and `latency` end with."""
    status = run.exit_status
    return {
        "target": {
            "pid": run.pid,
            "command": run.command,
            "exit_code": status.code if status else None,
            "signal": status.signal if status else None,
        },
        "elapsed_s": round(run.elapsed_s, 6),
        "hits": run.hits,
        "misses": run.misses,
        "lost": run.lost,
        "probes": [_probe(probe, run, latencies) for probe in run.probes],
        "refused": [error.as_record() for error in run.refused],
    }


def _probe(
    probe: AnyProbe, run: Run, latencies: Mapping[AnyProbe, Histogram] | None
) -> dict[str, object]:
    location = probe.location
    sampling = run.sampled.get(probe) if isinstance(probe, Probe) else None
    method = probe.method
    histogram = latencies.get(probe, Histogram()) if latencies is not None else None
    return {
        "spec": location.spec,
        "object": location.object or None,
        "function": function_of(location),
        "address": location.address,
        "instruction": probe.instruction.text if probe.instruction else None,
        "method": str(method) if method else None,
        "why_not": {str(m): reason.code for m, reason in probe.why_not.items()},
        "hits": probe.hits,
        "misses": probe.misses,
        "cost_ns": probe.cost_ns,
        "sampled": sampling and {"share": sampling.share, "estimate": sampling.estimate},
        "latency": histogram.as_record() if histogram is not None else None,
    }


def method_of(probe: AnyProbe) -> str:
    """Return a probe's method; `-` where nobody looked at its code before that was gone."""
    return str(probe.method) if probe.method else "-"


def function_of(location: Location) -> str | None:
    """Return a location's function, with the offset where it isn't the first instruction."""
    if location.function is None:
        return None
    return location.function + (f"+{location.offset:#x}" if location.offset else "")


def label(location: Location) -> str:
    """Return the shortest name of a location: `libc.so.6:malloc+0x4`."""
    name = function_of(location)
    if name is None and location.elf_address is not None:
        name = f"{location.elf_address:#x}"
    if name is None:
        return f"{location.address:#x}"
    return f"{location.object}:{name}" if location.object else name
