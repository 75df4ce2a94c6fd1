"""Specs to locations, in a live process or in a file: the one place where all of `names` meets."""

import contextlib
import difflib
import os
import shutil
from collections.abc import Iterable, Mapping

from insn import Arch, Windows
from insn.errors import InsnError
from uprobes.errors import (
    Ambiguous,
    BadSpec,
    NoSuchObject,
    NoSuchSymbol,
    NotExecutable,
    NotMapped,
    ProbeError,
)
from uprobes.location import Location, Resolution
from uprobes.names import places
from uprobes.names.addresses import run_time
from uprobes.names.callers import Word, callers
from uprobes.names.functions import Files
from uprobes.names.instances import Instance, Instances
from uprobes.names.naming import entry_at, named
from uprobes.names.objects import MappedObject, Space, names_of
from uprobes.names.restartable import probeable
from uprobes.names.spec import (
    Kind,
    Spec,
    bare_number,
    is_glob,
    parse,
    quote_object,
    three_readings,
)

LINKER_HOOK = "_dl_debug_state"
"""What r_debug.r_brk points to, in glibc and musl, before the linker has filled r_debug too."""


NO_CODE = "no code there"


class Resolver:
    """Resolves specs in processes; satisfies `uprobes.location.Resolver`.

    Mappings of a process are kept until `forget`, or until something is not found in them. Symbol
    tables are kept for as long as the file stays the same.
    """

    def __init__(self) -> None:
        self._files = Files()
        self._processes: dict[int, Instances] = {}

    def resolve(self, spec: str, pid: int) -> Resolution:
        """Resolve a spec in a process.

        `pending` when an object that it needs is not mapped, or not relocated, yet. Raises the
        subclass of ProbeError that says why it means nothing, or too much.
        """
        instances, fresh = self._instances(pid)
        try:
            found = self._resolve(spec, instances)
            if fresh or not found.pending:
                return probeable(found, self._files)
        except (NotMapped, NoSuchSymbol, NotExecutable):
            if fresh:
                raise
        self.forget(pid)
        return probeable(self._resolve(spec, self._instances(pid)[0]), self._files)

    def at(self, address: int, pid: int) -> Location:
        """Resolve a run-time address of a process; raises as `resolve` does for `va:`."""
        found = self._at(address, pid)
        for error in probeable(Resolution((found,)), self._files).refused:
            raise error
        return found

    def _at(self, address: int, pid: int) -> Location:
        text = f"va:{address:#x}"
        instances, fresh = self._instances(pid)
        found = entry_at(instances, address, text)
        if found is not None:
            return found
        spec = Spec(text, Kind.RUN_TIME, number=address)
        try:
            return run_time(spec, instances)
        except (NotMapped, NotExecutable):
            if fresh:
                raise
        self.forget(pid)
        return run_time(spec, self._instances(pid)[0])

    def locate(self, address: int, pid: int) -> Location:
        """Name a run-time address of a process as well as can be; never raises for the address."""
        instances, fresh = self._instances(pid)
        mapping = instances.space.mapping_at(address)
        if mapping is None and not fresh:
            self.forget(pid)
            instances, _ = self._instances(pid)
            mapping = instances.space.mapping_at(address)
        spec = f"va:{address:#x}"
        if mapping is None:
            return Location(address, spec)
        try:
            instance = instances.at(mapping, address)
        except ProbeError:
            instance = None
        if instance is None:
            return Location(address, spec, object=mapping.path, path=mapping.path)
        return named(instance, address, spec)

    def forget(self, pid: int) -> None:
        """Drop what is remembered of a process's mappings (they changed)."""
        self._processes.pop(pid, None)

    def linker_hook(self, pid: int) -> int | None:
        """Return the function that the dynamic linker calls whenever it mapped or unmapped objects.

        At a program's start and before dlopen returns, it runs before any code of theirs does. None
        for a program without a dynamic linker.
        """
        instances, _ = self._instances(pid)
        program = instances.space.program
        for own in instances.of(program) if program is not None else ():
            for item in instances.space.find(own.interpreter, spec="") if own.interpreter else ():
                for instance in instances.of(item):
                    for index in instance.functions.exactly(LINKER_HOOK, raw=True):
                        return instance.functions.addresses[index] + instance.bias
        return None

    def unwinders(self, pid: int) -> tuple[int, ...]:
        """Return the functions that walk the stack, in all objects that a process has mapped."""
        found: list[int] = []
        for instance in self._instances(pid)[0].every():
            with contextlib.suppress(InsnError):
                found += [address + instance.bias for address in instance.functions.unwinders]
        return tuple(found)

    def callers(
        self, pid: int, arch: Arch, registers: Mapping[str, int], word: Word, limit: int
    ) -> tuple[int, ...]:
        """Return where a thread is, where its caller was called, and so on, by unwind tables."""
        return tuple(callers(self._instances(pid)[0], arch, registers, word, limit))

    def objects(self, pid: int) -> tuple[MappedObject, ...]:
        """List the objects that a process has mapped as code, the main program first."""
        self.forget(pid)
        return self._instances(pid)[0].space.objects

    def code_at(self, location: Location, size: int) -> bytes:
        """Return what the file has at a location: at most `size` bytes, none without a file.

        Breakpoints in a process don't show here. The location must come from this resolver.
        """
        functions = self._files.named(location.path)
        if functions is None or location.elf_address is None:
            return b""
        try:
            return functions.image.read(location.elf_address, size)
        except InsnError:
            return b""

    def windows(self, location: Location) -> Windows | None:
        """Return the judge of jumps over the code of a location's file; None without a file.

        The location must come from this resolver.
        """
        functions = self._files.named(location.path)
        return None if functions is None else functions.windows

    def in_file(self, spec: str, path: str | None = None) -> Resolution:
        """Resolve a spec whose object is a file, without any process.

        A name without slashes that is no file here is a command's, found by $PATH.

        Addresses are the file's. Raises as `resolve` does, NoSuchObject for what is no ELF file.
        """
        bare = bare_number(spec)
        parsed = None if bare else parse(spec)
        named = path or (bare[0] if bare else parsed.object if parsed else None)
        if parsed is not None and parsed.kind is Kind.RUN_TIME:
            raise BadSpec("a file has no run-time addresses", spec=spec, hint="write elf:FILE:0x…")
        if named is None:
            raise BadSpec("no file is named", spec=spec, hint="write FILE:FUNCTION, or use -p PID")
        instance = self._file(named, spec)
        if parsed is None:
            assert bare is not None
            raise three_readings(spec, named, bare[1])
        try:
            return probeable(places.inside(parsed, [instance]), self._files)
        except InsnError as error:
            raise ProbeError(error.why, spec=spec, code=str(error.code), hint=error.hint) from None

    def _file(self, path: str, spec: str) -> Instance:
        if "/" not in path and not os.path.exists(path):
            path = shutil.which(path) or path
        try:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            functions = self._files.keep(key, path, path)
        except OSError as error:
            raise NoSuchObject(
                f"{path} can't be opened: {error.strerror}",
                spec=spec,
                hint="give the path of an ELF file, or use -p PID for objects of a process",
            ) from None
        except InsnError as error:
            raise NoSuchObject(error.why, spec=spec, hint=error.hint) from None
        return Instance(functions, os.path.basename(path), path)

    def _instances(self, pid: int) -> tuple[Instances, bool]:
        found = self._processes.get(pid)
        if found is not None:
            return found, False
        found = self._processes[pid] = Instances(Space(pid), self._files)
        return found, True

    def _resolve(self, spec: str, instances: Instances) -> Resolution:
        bare = bare_number(spec)
        if bare is not None:
            raise _readings(spec, bare, instances)
        parsed = parse(spec)
        if parsed.kind is Kind.RUN_TIME:
            return Resolution((run_time(parsed, instances),))
        if parsed.object is None:
            return _without_object(parsed, instances)
        found = instances.space.find(parsed.object, spec=spec)
        if not found:
            return Resolution(pending=True)
        chosen = [instance for item in found for instance in instances.of(item)]
        if not chosen:
            raise NoSuchSymbol(
                f"{found[0].path} is mapped as code but is no ELF file",
                spec=spec,
                hint="give addresses: va:0x…",
            )
        return places.inside(parsed, chosen, instances)

    def no_such_object(self, spec: str, pid: int) -> NoSuchObject:
        """Make the error for a spec whose object a process has not mapped, with what is there."""
        wanted = parse(spec).object or ""
        objects = self._instances(pid)[0].space.objects
        names = names_of(o for o in objects)
        near = difflib.get_close_matches(os.path.basename(wanted), names, 3, 0.5)
        there = ", ".join(near) if near else ", ".join(names[:8]) + (" …" if len(names) > 8 else "")
        lead = "did you mean" if near else "mapped are"
        return NoSuchObject(
            f"process {pid} has mapped no object called {wanted}",
            spec=spec,
            hint=f"{lead} {there}{'?' if near else ''}",
        )


def _without_object(spec: Spec, instances: Instances) -> Resolution:
    """Look in the main program; if it has no such function, in everything else."""
    program = instances.space.program
    own = instances.of(program) if program is not None else ()
    if not own:
        raise NoSuchObject(
            "the process has no main program that can be read",
            spec=spec.source,
            hint="name an object: OBJECT:FUNCTION",
        )
    if not spec.single:
        return places.inside(spec, own, instances)
    try:
        return places.inside(spec, own, instances)
    except NoSuchSymbol as error:
        missing = error
    if _loader_at_work(own[0], instances):
        return Resolution(pending=True)
    others = [i for i in instances.every() if not i.program]
    having = [i for i in others if i.functions.exactly(spec.place, raw=spec.raw)]
    if not having:
        raise _nowhere(spec, missing, others)
    if len({i.path for i in having}) > 1:
        rest = spec.source
        raise Ambiguous(
            f"the program has no {spec.place}, and {len(having)} of its libraries have one",
            spec=spec.source,
            candidates=[f"{quote_object(i.name)}:{rest}" for i in having],
        )
    return places.inside(spec, having, instances)


def _nowhere(spec: Spec, missing: NoSuchSymbol, others: Iterable[Instance]) -> NoSuchSymbol:
    similar = list(missing.similar)
    for instance in others:
        if len(similar) >= 4:
            break
        near = instance.functions.similar(spec.place, 2)
        similar += [f"{quote_object(instance.name)}:{name}" for name in near]
    return NoSuchSymbol(
        f"neither the program nor its libraries have a function {spec.place}",
        spec=spec.source,
        similar=similar[:4],
        hint="" if similar else "`uprobes list -p PID '*:*'` lists what there is",
    )


def _loader_at_work(program: Instance, instances: Instances) -> bool:
    """Tell whether libraries that the program needs are still missing."""
    missing = {os.path.basename(name) for name in program.functions.dynamic.needed}
    missing -= {item.name for item in instances.space.objects}
    return bool(missing and missing - {i.functions.dynamic.soname for i in instances.every()})


def _readings(spec: str, bare: tuple[str | None, int], instances: Instances) -> BadSpec:
    """Say what a bare number means in this process in each of its three readings."""
    named, value = bare
    readings = []
    if named is None:
        mapping = instances.space.mapping_at(value)
        there = mapping is not None and mapping.executable
        readings.append(f"va:{value:#x} ({_what(instances, value) if there else NO_CODE})")
        item = instances.space.program
    else:
        found = [] if is_glob(named) else instances.space.find(named, spec=spec)
        item = found[0] if found else None
    places_of = instances.of(item) if item is not None else ()
    for instance in places_of[:1]:
        shown = named or quote_object(instance.name)
        there = instance.image.executable(value)
        what = _what(instances, value + instance.bias) if there else NO_CODE
        readings.append(f"elf:{shown}:{value:#x} ({what})")
        address = instance.run_time_of_offset(value)
        there = address is not None and instance.executable(address)
        what = _what(instances, address) if address is not None and there else NO_CODE
        readings.append(f"off:{shown}:{value:#x} ({what})")
    return three_readings(spec, named, value, readings=readings or None)


def _what(instances: Instances, address: int) -> str:
    mapping = instances.space.mapping_at(address)
    instance = instances.at(mapping, address) if mapping is not None else None
    if instance is None:
        return f"run-time address {address:#x}"
    location = named(instance, address, "")
    if location.function is None:
        return f"run-time address {address:#x}"
    offset = f"+{location.offset:#x}" if location.offset else ""
    return f"{location.object}:{location.function}{offset}, run-time address {address:#x}"
