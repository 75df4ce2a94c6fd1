"""Why a spec means no place, and what was meant perhaps."""

from collections.abc import Iterable, Sequence

from uprobes.errors import Ambiguous, NoSuchSymbol, ProbeError
from uprobes.names.instances import Instance, Instances
from uprobes.names.spec import Kind, Spec, quote, quote_object

_MOST_CANDIDATES = 8


def ambiguous(spec: Spec, instance: Instance, indices: Iterable[int]) -> Ambiguous:
    """Return the error of a name that several functions have."""
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


def no_such(spec: Spec, instance: Instance, instances: Instances | None) -> NoSuchSymbol:
    """Return the error of a name that no function has."""
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


def no_match(spec: Spec, chosen: Sequence[Instance]) -> NoSuchSymbol:
    """Return the error of a pattern that fits no function."""
    names = ", ".join(i.name for i in chosen[:3])
    what = "glob" if spec.kind is Kind.GLOB else "name" if spec.kind is Kind.NAME else "regex"
    return NoSuchSymbol(
        f"no function of {names} fits the {what} {spec.place}",
        spec=spec.source,
        hint=f"`uprobes list '{quote_object(chosen[0].name)}:*'` lists what there is",
    )


def not_chosen(spec: Spec, instance: Instance, index: int, why: tuple[str, str]) -> ProbeError:
    """Return the error of an indirect function whose implementation is not known."""
    start, name = instance.functions.addresses[index], instance.functions.names[index]
    return ProbeError(
        f"{name} only chooses an implementation, and {why[0]}",
        spec=spec.source if spec.single else own_spec(spec, instance, index),
        address=start + instance.bias,
        hint=why[1] or f"the chooser itself: elf:{quote_object(instance.name)}:{start:#x}",
        code="ifunc",
    )


def own_spec(spec: Spec, instance: Instance, index: int) -> str:
    """Return a spec for one of the places that a glob means, to name it alone later."""
    return instance.functions.only_spec(index, instance.name, spec.number)
