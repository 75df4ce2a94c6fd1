"""What is at a run-time address: its function, its file and its other addresses."""

from uprobes.location import Location
from uprobes.names.entries import no_return
from uprobes.names.instances import Instance, Instances


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
