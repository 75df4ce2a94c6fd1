"""From a parsed spec and the objects it means to locations, each checked."""

from collections.abc import Sequence

from uprobes.errors import ProbeError
from uprobes.location import Location, Resolution
from uprobes.names import indirect
from uprobes.names.addresses import address_of_offset, check_offset, in_file
from uprobes.names.entries import OFFSET, no_return
from uprobes.names.instances import Instance, Instances
from uprobes.names.mistakes import ambiguous, no_match, no_such, not_chosen, own_spec
from uprobes.names.spec import Kind, Spec

_IN_FILE = ("a file does not say which one", "resolve it in a running process: -p PID")
_NOWHERE = ("nothing in this process tells which one", "")
_NOT_YET = ("the loader has not chosen yet", "register it again once the library is in use")


def inside(
    spec: Spec, chosen: Sequence[Instance], instances: Instances | None = None
) -> Resolution:
    """Resolve a spec in the objects that it names; raises ProbeError when it means no place.

    Without `instances` the objects are files, and indirect functions stay unresolved.
    """
    if spec.kind is Kind.ELF:
        return Resolution(tuple(in_file(spec, i, spec.number) for i in chosen))
    if spec.kind is Kind.FILE_OFFSET:
        return Resolution(tuple(in_file(spec, i, address_of_offset(spec, i)) for i in chosen))
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
                    undecided.append(not_chosen(spec, instance, index, _NOT_YET))
                    continue
            else:
                location = _location(spec, instance, index)
            if spec.number:
                try:
                    check_offset(spec, instance, location)
                except ProbeError as error:
                    refused.append(error)
                    continue
            found.setdefault(location.address, location)
    if not found and undecided:
        return Resolution(pending=True)
    if not found and not refused:
        raise no_match(spec, chosen)
    return Resolution(tuple(found.values()), (*refused, *undecided))


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
        spec.source if spec.single else own_spec(spec, instance, index),
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
            spec.source if spec.single else own_spec(spec, instance, index),
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
    raise not_chosen(spec, instance, index, _IN_FILE if instances is None else _NOWHERE)


def _single(spec: Spec, chosen: Sequence[Instance], instances: Instances | None) -> Resolution:
    locations = []
    for instance in chosen:
        indices = _indices(spec, instance)
        if not indices:
            raise no_such(spec, instance, instances)
        if len(indices) > 1:
            raise ambiguous(spec, instance, indices)
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
            check_offset(spec, home, found)
        locations.append(found)
    return Resolution(tuple(locations))
