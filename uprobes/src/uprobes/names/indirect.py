"""Indirect functions (IFUNC): which implementation did the loader choose in this process?

The symbol names a chooser, which the loader calls once; what it returned stands in slots of the
objects that use the function. Reading those gives the address that calls really go to.
"""

from collections.abc import Iterator

from uprobes.names.instances import Instance, Instances


def chosen(instances: Instances, instance: Instance, name: str, address: int) -> int | None:
    """Return the run-time address of the implementation; None when no slot tells it.

    `address` is the chooser's, as the file counts.
    """
    for value in _values(instances, instance, name, address):
        mapping = instances.space.mapping_at(value)
        if mapping is None or not mapping.executable or value == address + instance.bias:
            continue
        target = instances.at(mapping, value)
        if target is None:
            continue
        # A slot not bound yet leads into the PLT of its own object: that is no implementation.
        own = (target.path, target.bias) == (instance.path, instance.bias)
        if own or target.virtual:
            return value
    return None


def undecided(instances: Instances, instance: Instance, address: int) -> bool:
    """Tell whether the loader has still to choose: the object isn't relocated yet."""
    slots = instance.functions.dynamic.slots_chosen_by(address)
    values = [_word(instances, instance, slot) for slot in slots]
    return bool(values) and all(
        (mapping := instances.space.mapping_at(value)) is None or not mapping.executable
        for value in values
    )


def _values(instances: Instances, instance: Instance, name: str, address: int) -> Iterator[int]:
    for slot in instance.functions.dynamic.slots_chosen_by(address):
        yield _word(instances, instance, slot)
    for user in instances.every():
        for slot in user.functions.dynamic.slots_of(name):
            yield _word(instances, user, slot)


def _word(instances: Instances, instance: Instance, slot: int) -> int:
    arch = instance.image.arch
    content = instances.space.read(slot + instance.bias, arch.pointer_size)
    return int.from_bytes(content, arch.byte_order)
