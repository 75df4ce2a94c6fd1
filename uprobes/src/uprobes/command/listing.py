"""`uprobes list`: what specs name, with the three ways to count each address."""

import json
from typing import IO

from uprobes import BadSpec, Location, ProbeError
from uprobes.attaching import read_status
from uprobes.command.document import function_of
from uprobes.command.options import Options, report_file, usage
from uprobes.location import Resolution
from uprobes.names import Resolver, parse
from uprobes.printable import printable


def list_places(options: Options) -> int:
    """Run it; return 1 when something named can't be given an address, else 0."""
    if options.command is not None:
        raise usage("list looks at files and running processes", "give FILE:FUNCTION, or -p PID")
    if not options.specs and options.pid is None:
        raise usage(
            "nothing is named", "list FILE:GLOB, or list -p PID for the objects of a process"
        )
    if len(options.specs) == 1 and options.specs[0].isdecimal() and options.pid is None:
        from uprobes.command.recordings import list_recordings

        return list_recordings(options, int(options.specs[0]))
    with report_file(options) as file:
        if not options.specs:
            assert options.pid is not None
            _objects(options, options.pid, file)
            return 0
        found = [resolve(spec, options.pid) for spec in options.specs]
        _places(options, found, file)
        return 1 if any(resolution.refused for resolution in found) else 0


def resolve(spec: str, pid: int | None, resolver: Resolver | None = None) -> Resolution:
    """Resolve a spec in a process, or in the file it names; a file alone means all its functions.

    Raises ProbeError; an object that a process has not mapped is one.
    """
    resolver = resolver or Resolver()
    try:
        parse(spec)
    except BadSpec as error:
        if not error.hint.startswith("all of them: ") or spec.strip().endswith(":"):
            if pid is None:
                return resolver.in_file(spec)
            return resolver.resolve(spec, pid)
        spec = f"{spec.strip()}:*"
    if pid is None:
        return resolver.in_file(spec)
    read_status(pid)
    found = resolver.resolve(spec, pid)
    if found.pending:
        raise resolver.no_such_object(spec, pid)
    return found


def _objects(options: Options, pid: int, file: IO[str]) -> None:
    read_status(pid)
    objects = Resolver().objects(pid)
    if options.json:
        rows = [
            {
                "object": item.name,
                "path": item.path,
                "program": item.program,
                "deleted": item.deleted,
                "address": item.mappings[0].start,
            }
            for item in objects
        ]
        print(json.dumps(rows), file=file)
        return
    from uprobes.command.tables import console, table_of

    table = table_of("address", "object", "path", "", right=("address",))
    for item in objects:
        remark = "program" if item.program else "deleted" if item.deleted else ""
        table.add_row(f"{item.mappings[0].start:#x}", item.name, item.path, remark)
    console(file).print(table)


def _places(options: Options, found: list[Resolution], file: IO[str]) -> None:
    locations = [location for resolution in found for location in resolution.locations]
    refused = [error for resolution in found for error in resolution.refused]
    if options.json:
        document = {
            "places": [as_record(location, live=options.pid is not None) for location in locations],
            "refused": [error.as_record() for error in refused],
        }
        print(json.dumps(document), file=file)
        return
    print(
        f"{'run-time' if options.pid else '':>18} {'elf':>14} {'offset':>10} {'size':>8}  place",
        file=file,
    )
    for location in locations:
        print(_row(location, live=options.pid is not None), file=file)
    show_rest(refused, file)


def show_rest(refused: list[ProbeError], file: IO[str]) -> None:
    """Print what was refused, if anything was."""
    if refused:
        from uprobes.command.tables import console, show_refused

        show_refused(refused, console(file))


def _row(location: Location, *, live: bool) -> str:
    run_time = f"{location.address:#x}" if live else ""
    numbers = [
        "-" if number is None else f"{number:#x}"
        for number in (location.elf_address, location.file_offset)
    ]
    name = function_of(location) or "-"
    size = str(location.function_size or "-")
    place = printable(f"{location.object}:{name}")
    return f"{run_time:>18} {numbers[0]:>14} {numbers[1]:>10} {size:>8}  {place}"


def as_record(location: Location, *, live: bool) -> dict[str, object]:
    """Return a location for scripts; `address` is None where no process gave it one."""
    return {
        "spec": location.spec,
        "object": location.object or None,
        "path": location.path or None,
        "function": function_of(location),
        "address": location.address if live else None,
        "elf_address": location.elf_address,
        "file_offset": location.file_offset,
        "size": location.function_size or None,
    }
