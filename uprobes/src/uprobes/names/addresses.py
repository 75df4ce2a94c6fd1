"""From addresses in specs to locations: run-time addresses, those of a file, and its offsets."""

from uprobes.errors import BadSpec, NotABoundary, NotExecutable, NotMapped
from uprobes.location import Location
from uprobes.maps import VSYSCALL
from uprobes.names.instances import Instance, Instances
from uprobes.names.naming import entry_at, named
from uprobes.names.spec import Kind, Spec, quote, quote_object


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
    if mapping.path == VSYSCALL:
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
    check_boundary(spec, owner, address - owner.bias)
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


def in_file(spec: Spec, instance: Instance, elf_address: int) -> Location:
    """Resolve an address of an object's own; raises NotMapped, NotExecutable or NotABoundary."""
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
    check_boundary(spec, instance, elf_address)
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


def address_of_offset(spec: Spec, instance: Instance) -> int:
    """Return the object's own address of the file offset that a spec gives; raises NotMapped."""
    found = instance.image.address_of(spec.number)
    if found is None:
        raise NotMapped(
            f"nothing of {instance.name} at file offset {spec.number:#x} is loaded",
            spec=spec.source,
            hint="`readelf -lW` shows what is loaded",
        )
    return found


def check_offset(spec: Spec, instance: Instance, location: Location) -> None:
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
    check_boundary(spec, instance, location.elf_address)


def check_boundary(spec: Spec, instance: Instance, elf_address: int) -> None:
    """Raise NotABoundary where an address of the object's own lies inside an instruction."""
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
