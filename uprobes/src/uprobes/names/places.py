"""From a parsed spec and the objects it means to locations, each checked."""

from collections.abc import Iterable, Sequence

from uprobes.errors import (
    Ambiguous,
    BadSpec,
    NoSuchSymbol,
    NotABoundary,
    NotExecutable,
    NotMapped,
    ProbeError,
)
from uprobes.location import Location, Resolution
from uprobes.names import indirect
from uprobes.names.entries import OFFSET, no_return
from uprobes.names.instances import Instance, Instances
from uprobes.names.spec import Kind, Spec, quote, quote_object

_IN_FILE = ("a file does not say which one", "resolve it in a running process: -p PID")
_NOWHERE = ("nothing in this process tells which one", "")
_NOT_YET = ("the loader has not chosen yet", "register it again once the library is in use")
UNCHECKABLE = "[vsyscall]"
_MOST_CANDIDATES = 8


def inside(
    spec: Spec, chosen: Sequence[Instance], instances: Instances | None = None
) -> Resolution:
    """Resolve a spec in the objects that it names; raises ProbeError when it means no place.

    Without `instances` the objects are files, and indirect functions stay unresolved.
    """
    if spec.kind is Kind.ELF:
        return Resolution(tuple(_elf(spec, i, spec.number) for i in chosen))
    if spec.kind is Kind.FILE_OFFSET:
        return Resolution(tuple(_elf(spec, i, _offset_address(spec, i)) for i in chosen))
    if spec.single:
        return _single(spec, chosen, instances)
    found: dict[int, Location] = {}
    refused: list[ProbeError] = []
    undecided: list[ProbeError] = []
    for instance in chosen:
        for index in _indices(spec, instance):
            if index in instance.functions.indirect:
                try:
                    location = _indirect(spec, instance, index, instances)
                except ProbeError as error:
                    refused.append(error)
                    continue
                if location is None:
                    undecided.append(_not_chosen(spec, instance, index, _NOT_YET))
                    continue
            else:
                location = _location(spec, instance, index)
            if spec.number:
                try:
                    _check_offset(spec, instance, location)
                except ProbeError as error:
                    refused.append(error)
                    continue
            found.setdefault(location.address, location)
    if not found and undecided:
        return Resolution(pending=True)
    if not found and not refused:
        raise _no_match(spec, chosen)
    return Resolution(tuple(found.values()), (*refused, *undecided))


def named(instance: Instance, address: int, spec: str) -> Location:
    """Name a run-time address inside an object."""
    elf_address = address - instance.bias
    around = instance.functions.around(elf_address)
    name, start, size = around if around is not None else (None, 0, 0)
    functions = instance.functions
    offset = elf_address - start if start else 0
    lead = functions.lead(start) if start else 0
    offset = 0 if offset == lead else offset
    return Location(
        address,
        spec,
        instance.name,
        instance.path,
        name,
        offset,
        elf_address,
        instance.image.offset_of(elf_address),
        start + instance.bias if start else 0,
        size,
        no_return(instance.image, elf_address, offset, name),
        functions.go,
        functions.go and not lead,
    )


def entry(instance: Instance, address: int, spec: str) -> Location | None:
    """Name a run-time address at which a function begins; None for any other."""
    elf_address = address - instance.bias
    functions = instance.functions
    index = functions.entries.get(elf_address)
    if index is None:
        return None
    return Location(
        address,
        spec,
        instance.name,
        instance.path,
        functions.demangled[index],
        0,
        elf_address,
        elf_address + instance.first_offset,
        address,
        functions.sizes[index],
        functions.no_returns.get(elf_address, ""),
        functions.go,
        functions.go and not functions.lead(elf_address),
    )


def entry_at(instances: Instances, address: int, spec: str) -> Location | None:
    """Do the same in a whole process: None also for what is not mapped as code."""
    mapping = instances.space.mapping_at(address)
    if mapping is None or not mapping.executable:
        return None
    for instance in instances.around(mapping):
        found = entry(instance, address, spec)
        if found is not None:
            return found
    return None


def run_time(spec: Spec, instances: Instances) -> Location:
    """Resolve `va:`; raises NotMapped, NotExecutable or NotABoundary."""
    address = spec.number
    space = instances.space
    mapping = space.mapping_at(address)
    if mapping is None:
        raise NotMapped(
            "the process has mapped nothing there",
            spec=spec.source,
            address=address,
            hint=_nearest(address, instances),
        )
    if mapping.path == UNCHECKABLE:
        raise NotExecutable(
            "the kernel itself executes this page and nothing can be written to it",
            spec=spec.source,
            address=address,
            code="vsyscall",
            hint="probe the function that calls it",
        )
    if not mapping.executable:
        raise NotExecutable(
            f"{mapping.path or 'anonymous memory'} is mapped {mapping.permissions} there",
            spec=spec.source,
            address=address,
            hint="give the address of an instruction; `uprobes list` shows some",
        )
    found = entry_at(instances, address, spec.source)
    if found is not None:
        return found
    owner = instances.at(mapping, address)
    if owner is None:
        return Location(address, spec.source, object=mapping.path, path=mapping.path)
    _check_boundary(spec, owner, address - owner.bias)
    return named(owner, address, spec.source)


def _nearest(address: int, instances: Instances) -> str:
    mappings = instances.space.mappings
    below = [m for m in mappings if m.end <= address]
    above = [m for m in mappings if m.start > address]
    near = sorted(
        below[-1:] + above[:1],
        key=lambda m: address - m.end if m.end <= address else m.start - address,
    )
    if not near:
        return "the process has no memory of its own"
    m = near[0]
    return f"nearest is {m.start:#x}-{m.end:#x} {m.permissions} {m.path or '(anonymous)'}"


def _elf(spec: Spec, instance: Instance, elf_address: int) -> Location:
    image = instance.image
    address = elf_address + instance.bias
    if image.segment_at(elf_address) is None:
        ranges = ", ".join(f"{s.address:#x}-{s.end:#x}" for s in image.segments if s.executable)
        raise NotMapped(
            f"{instance.name} has nothing there",
            spec=spec.source,
            address=elf_address,
            hint=f"its code is at {ranges} (elf:)" + _other_reading(spec, instance),
        )
    if not instance.executable(address):
        raise NotExecutable(
            f"{instance.name} has data there, not code",
            spec=spec.source,
            address=elf_address,
            hint="give the address of an instruction" + _other_reading(spec, instance),
        )
    _check_boundary(spec, instance, elf_address)
    return named(instance, address, spec.source)


def _other_reading(spec: Spec, instance: Instance) -> str:
    """Mention it when the number makes sense as one of the other two kinds."""
    name = quote_object(instance.name)
    if spec.kind is Kind.ELF and instance.bias and instance.executable(spec.number):
        return f"; as a run-time address it is code: va:{spec.number:#x}"
    if spec.kind is Kind.ELF and not instance.executable(spec.number + instance.bias):
        address = instance.run_time_of_offset(spec.number)
        if address is not None and instance.executable(address):
            return f"; as a file offset it is code: off:{name}:{spec.number:#x}"
    return ""


def _offset_address(spec: Spec, instance: Instance) -> int:
    found = instance.image.address_of(spec.number)
    if found is None:
        raise NotMapped(
            f"nothing of {instance.name} at file offset {spec.number:#x} is loaded",
            spec=spec.source,
            hint="`readelf -lW` shows what is loaded",
        )
    return found


def _indices(spec: Spec, instance: Instance) -> list[int]:
    if spec.kind is Kind.NAME:
        return instance.functions.exactly(spec.place, raw=spec.raw)
    return instance.functions.matching(spec)


def _location(spec: Spec, instance: Instance, index: int) -> Location:
    functions = instance.functions
    start = functions.addresses[index]
    lead = functions.lead(start)
    address = start + (spec.number or lead)
    offset = instance.image.offset_of(address) if spec.number else address + instance.first_offset
    return Location(
        address + instance.bias,
        spec.source if spec.single else _own_spec(spec, instance, index),
        instance.name,
        instance.path,
        functions.demangled[index],
        spec.number,
        address,
        offset,
        start + instance.bias,
        functions.sizes[index],
        OFFSET if spec.number else functions.no_returns.get(start, ""),
        functions.go,
        functions.go and not lead,
    )


def _own_spec(spec: Spec, instance: Instance, index: int) -> str:
    """Return a spec for one of the places that a glob means, to name it alone later."""
    return instance.functions.only_spec(index, instance.name, spec.number)


def _indirect(
    spec: Spec, instance: Instance, index: int, instances: Instances | None
) -> Location | None:
    """Follow an indirect function to the implementation in use; None when that is not chosen yet.

    Raises ProbeError (`ifunc`) when nothing tells which one it is.
    """
    functions = instance.functions
    start, name = functions.addresses[index], functions.names[index]
    address = indirect.chosen(instances, instance, name, start) if instances is not None else None
    if address is not None:
        assert instances is not None
        mapping = instances.space.mapping_at(address)
        home = instances.at(mapping, address) if mapping is not None else None
        home = home or instance
        around = home.functions.around(address - home.bias)
        size = around[2] if around is not None and around[1] == address - home.bias else 0
        elf_address = address - home.bias + spec.number
        return Location(
            address + spec.number,
            spec.source if spec.single else _own_spec(spec, instance, index),
            home.name,
            home.path,
            functions.demangled[index],
            spec.number,
            elf_address,
            home.image.offset_of(elf_address),
            address,
            size,
            no_return(home.image, address - home.bias, spec.number, name),
        )
    if instances is not None and indirect.undecided(instances, instance, start):
        return None
    raise _not_chosen(spec, instance, index, _IN_FILE if instances is None else _NOWHERE)


def _not_chosen(spec: Spec, instance: Instance, index: int, why: tuple[str, str]) -> ProbeError:
    start, name = instance.functions.addresses[index], instance.functions.names[index]
    return ProbeError(
        f"{name} only chooses an implementation, and {why[0]}",
        spec=spec.source if spec.single else _own_spec(spec, instance, index),
        address=start + instance.bias,
        hint=why[1] or f"the chooser itself: elf:{quote_object(instance.name)}:{start:#x}",
        code="ifunc",
    )


def _single(spec: Spec, chosen: Sequence[Instance], instances: Instances | None) -> Resolution:
    locations = []
    for instance in chosen:
        indices = _indices(spec, instance)
        if not indices:
            raise _no_such(spec, instance, instances)
        if len(indices) > 1:
            raise _ambiguous(spec, instance, indices)
        if indices[0] in instance.functions.indirect:
            found = _indirect(spec, instance, indices[0], instances)
            if found is None:
                return Resolution(pending=True)
            home = instance
            if instances is not None:
                mapping = instances.space.mapping_at(found.function_address)
                home = (instances.at(mapping, found.function_address) if mapping else None) or home
        else:
            found, home = _location(spec, instance, indices[0]), instance
        if spec.number:
            _check_offset(spec, home, found)
        locations.append(found)
    return Resolution(tuple(locations))


def _ambiguous(spec: Spec, instance: Instance, indices: Iterable[int]) -> Ambiguous:
    functions, name = instance.functions, quote_object(instance.name)
    found = list(indices)
    candidates = []
    for index in found[:_MOST_CANDIDATES]:
        address = functions.addresses[index] + spec.number
        shown = functions.demangled[index]
        plain = shown != spec.place and len(functions.exactly(shown)) == 1
        offset = f"+{spec.number:#x}" if spec.number else ""
        candidates.append(f"{name}:{quote(shown)}{offset}" if plain else f"elf:{name}:{address:#x}")
    return Ambiguous(
        f"{len(found)} functions of {instance.name} are called {spec.place}",
        spec=spec.source,
        candidates=candidates,
        hint="say which: "
        + ", ".join(candidates)
        + f"; all of them: {name}:{_as_glob(spec.place)}",
    )


def _as_glob(name: str) -> str:
    return f"{name[:-1]}[{name[-1]}]" if name[-1].isalnum() or name[-1] == "_" else f"{name}*"


def _no_such(spec: Spec, instance: Instance, instances: Instances | None) -> NoSuchSymbol:
    functions, name = instance.functions, quote_object(instance.name)
    kind = functions.kind_of(spec.place)
    if kind is not None:
        return NoSuchSymbol(
            f"{spec.place} of {instance.name} is data, not a function",
            spec=spec.source,
            hint="probes stand on instructions: name a function that uses it",
        )
    hint = ""
    if spec.place in functions.dynamic.imports:
        hint = f"{instance.name} only calls it; probe it where it is defined"
        for other in instances.every() if instances is not None else ():
            if other.functions.exactly(spec.place):
                hint += f": {quote_object(other.name)}:{quote(spec.place)}"
                break
    similar = [f"{name}:{quote(n)}" for n in functions.similar(spec.place)]
    if not hint and not similar:
        count = len(functions.addresses)
        hint = f"it has {count} named functions; `uprobes list '{name}:*'` lists them"
        if not count:
            hint = "it has no symbols (stripped): give an address, elf:" + name + ":0x…"
    return NoSuchSymbol(
        f"{instance.name} has no function {spec.place}",
        spec=spec.source,
        similar=similar,
        hint=hint,
    )


def _no_match(spec: Spec, chosen: Sequence[Instance]) -> NoSuchSymbol:
    names = ", ".join(i.name for i in chosen[:3])
    what = "glob" if spec.kind is Kind.GLOB else "name" if spec.kind is Kind.NAME else "regex"
    return NoSuchSymbol(
        f"no function of {names} fits the {what} {spec.place}",
        spec=spec.source,
        hint=f"`uprobes list '{quote_object(chosen[0].name)}:*'` lists what there is",
    )


def _check_offset(spec: Spec, instance: Instance, location: Location) -> None:
    """Refuse an offset behind the end of its function, and one inside an instruction."""
    size = location.function_size
    if size and spec.number >= size:
        raise BadSpec(
            f"{location.function} has only {size:#x} bytes",
            spec=spec.source,
            hint=f"give an offset below that, or elf:{quote_object(instance.name)}:0x…",
        )
    assert location.elf_address is not None
    if instance.image.segment_at(location.elf_address) is None:
        raise NotMapped("the offset leads out of the object", spec=spec.source)
    _check_boundary(spec, instance, location.elf_address)


def _check_boundary(spec: Spec, instance: Instance, elf_address: int) -> None:
    around = instance.functions.contains(elf_address)
    if around is None:
        return
    location = named(instance, around.address + instance.bias, "")
    offset = f"+{location.offset:#x}" if location.offset else ""
    if location.function:
        start = f"{quote_object(instance.name)}:{quote(location.function)}{offset}"
    else:
        start = f"elf:{quote_object(instance.name)}:{around.address:#x}"
    raise NotABoundary(
        f"the address lies {elf_address - around.address} bytes inside `{around.text}`"
        f" ({around.length} bytes long)",
        spec=spec.source,
        address=elf_address + instance.bias,
        hint=f"the instruction starts at {start}, the next one is {around.length} bytes on",
    )
