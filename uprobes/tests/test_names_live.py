"""Names in live processes: what a name means is compared with what the process itself says."""

import os
import shutil
import subprocess

import pytest

from insn import open_image
from uprobes.errors import (
    Ambiguous,
    BadSpec,
    NoSuchProcess,
    NoSuchSymbol,
    NotABoundary,
    NotExecutable,
    NotMapped,
)
from uprobes.names import Resolver
from uprobes.names.functions import Functions

pytestmark = [pytest.mark.live, pytest.mark.needs("gcc", package="gcc")]

KINDS = {
    "position-independent": ("-pie", "-fPIE"),
    "fixed": ("-no-pie", "-fno-pie"),
    "static": ("-static",),
    "static and position-independent": ("-static-pie", "-fPIE"),
    "symbols exported": ("-rdynamic",),
}


@pytest.fixture
def names():
    return Resolver()


@pytest.fixture
def victim(compiled, waiting):
    return waiting(compiled("names"))


def one(names, spec, pid):
    """Resolve a spec that means one place."""
    found = names.resolve(spec, pid)
    assert found.refused == ()
    assert not found.pending
    [location] = found.locations
    return location


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_lies_where_the_process_says_it_lies(compiled, waiting, names, kind):
    victim = waiting(compiled("names", *KINDS[kind]))
    for spec in ("alone", "names:alone", "other_twin", f"{compiled('names', *KINDS[kind])}:alone"):
        location = one(names, spec, victim.pid)
        assert location.address == victim.addresses[spec.rpartition(":")[2]]
        assert location.object == "names"
        assert location.function_address == location.address


@pytest.mark.parametrize("kind", KINDS)
def test_the_three_ways_to_count_lead_to_the_same_place(compiled, waiting, names, kind):
    victim = waiting(compiled("names", *KINDS[kind]))
    named = one(names, "alone", victim.pid)
    for spec in (
        f"va:{named.address:#x}",
        f"elf:names:{named.elf_address:#x}",
        f"off:names:{named.file_offset}",
    ):
        location = one(names, spec, victim.pid)
        assert location.address == named.address
        assert location.elf_address == named.elf_address
        assert location.file_offset == named.file_offset
        assert location.offset == 0
        assert location.function in ("alone", "alone_too")


@pytest.mark.parametrize("kind", KINDS)
def test_code_at_the_place_is_what_the_file_has_there(compiled, waiting, names, kind):
    program = compiled("names", *KINDS[kind])
    victim = waiting(program)
    location = one(names, "alone", victim.pid)
    with open(f"/proc/{victim.pid}/mem", "rb") as memory, open(program, "rb") as file:
        memory.seek(location.address)
        file.seek(location.file_offset)
        code = file.read(16)
        assert memory.read(16) == code
    assert names.code_at(location, 16) == code


def test_a_function_of_a_library_is_found_by_stem_name_and_path(victim, names):
    by_stem = one(names, "libc:malloc", victim.pid)
    by_name = one(names, f"{by_stem.object}:malloc", victim.pid)
    by_path = one(names, f"{by_stem.path}:malloc", victim.pid)
    assert by_stem.address == by_name.address == by_path.address
    assert by_stem.object.startswith("libc.so")


def test_a_path_through_a_symbolic_link_names_the_same_object(victim, names, tmp_path):
    location = one(names, "libc:malloc", victim.pid)
    link = tmp_path / "link"
    link.symlink_to(location.path)
    assert one(names, f"{link}:malloc", victim.pid).address == location.address


def test_a_bare_name_is_sought_in_the_program_first_and_then_in_the_libraries(victim, names):
    assert one(names, "alone", victim.pid).object == "names"
    assert one(names, "malloc", victim.pid).object.startswith("libc.so")


@pytest.mark.needs("strip", package="binutils")
def test_stripped_programs_have_all_their_functions_without_names(compiled, waiting, names):
    program = compiled("names")
    stripped = program.with_name("stripped")
    if not stripped.exists():
        subprocess.run(["strip", "-o", stripped, program], check=True)
    victim = waiting(stripped)
    found = {location.address: location for location in names.resolve("*", victim.pid).locations}
    for function in ("alone", "twin", "other_twin", "second_way"):
        location = found[victim.addresses[function]]
        assert location.function == f"sub_{location.elf_address:x}"
        assert one(names, location.spec, victim.pid).address == location.address


@pytest.mark.needs("strip", package="binutils")
def test_exported_functions_keep_their_names_when_stripped(compiled, waiting, names):
    program = compiled("names", "-rdynamic")
    stripped = program.with_name("stripped")
    if not stripped.exists():
        subprocess.run(["strip", "-o", stripped, program], check=True)
    victim = waiting(stripped)
    assert one(names, "alone", victim.pid).address == victim.addresses["alone"]


@pytest.mark.needs("objcopy", package="binutils")
def test_a_debug_file_with_the_same_build_id_gives_the_names_back(compiled, names, tmp_path):
    program = compiled("names", "-Wl,--build-id")
    stripped, apart = tmp_path / "names", tmp_path / "apart"
    subprocess.run(["objcopy", "--only-keep-debug", program, apart], check=True)
    subprocess.run(["objcopy", "--strip-all", program, stripped], check=True)
    identity = open_image(stripped).build_id
    kept = tmp_path / "usr/lib/debug/.build-id" / identity[:2]
    kept.mkdir(parents=True)
    apart.rename(kept / f"{identity[2:]}.debug")
    found = Functions(open_image(stripped), [str(tmp_path)])
    [index] = found.exactly("alone")
    whole = Functions(open_image(program))
    assert found.addresses[index] == whole.addresses[whole.exactly("alone")[0]]
    assert len(found.exactly("twin")) == 2
    assert Functions(open_image(stripped), ["/nowhere"]).exactly("alone") == []


def test_names_for_one_address_are_one_place(victim, names):
    both = names.resolve("/^alone/", victim.pid).locations
    assert [location.function for location in both] == ["alone"]
    assert one(names, "alone_too", victim.pid).address == both[0].address


def test_static_functions_of_one_name_are_ambiguous_and_each_candidate_is_not(victim, names):
    with pytest.raises(Ambiguous) as caught:
        names.resolve("twin", victim.pid)
    places = {one(names, spec, victim.pid).address for spec in caught.value.candidates}
    assert len(places) == 2
    assert victim.addresses["twin"] in places
    assert {place.address for place in names.resolve("twi[n]", victim.pid).locations} == places


def test_places_of_a_glob_have_specs_that_mean_each_alone(victim, names):
    places = names.resolve("names:*", victim.pid).locations
    assert len(places) > 8
    for place in places:
        assert one(names, place.spec, victim.pid).address == place.address


def test_unknown_functions_get_similar_names(victim, names):
    with pytest.raises(NoSuchSymbol) as caught:
        names.resolve("libc:mallocc", victim.pid)
    assert any(name.endswith(":malloc") for name in caught.value.similar)
    with pytest.raises(NoSuchSymbol) as caught:
        names.resolve("alon", victim.pid)
    assert "names:alone" in caught.value.similar


def test_data_is_not_a_function(victim, names):
    with pytest.raises(NoSuchSymbol, match="data, not a function"):
        names.resolve("names:some_data", victim.pid)


def test_imported_functions_are_shown_where_they_are_defined(victim, names):
    with pytest.raises(NoSuchSymbol, match="only calls it") as caught:
        names.resolve("names:fgets", victim.pid)
    spec = caught.value.hint.rpartition(" ")[2]
    assert one(names, spec, victim.pid).object.startswith("libc.so")


def test_an_address_inside_an_instruction_names_that_instruction(victim, names):
    start = one(names, "alone", victim.pid)
    with pytest.raises(NotABoundary, match="1 bytes inside") as caught:
        names.resolve(f"va:{start.address + 1:#x}", victim.pid)
    assert caught.value.address == start.address + 1
    assert "starts at names:alone" in caught.value.hint
    with pytest.raises(NotABoundary):
        names.resolve("alone+1", victim.pid)


def test_an_offset_behind_the_end_of_the_function_is_refused(victim, names):
    size = one(names, "alone", victim.pid).function_size
    with pytest.raises(BadSpec, match="has only"):
        names.resolve(f"alone+{size:#x}", victim.pid)


def test_an_address_in_no_mapping_names_the_nearest(victim, names):
    with pytest.raises(NotMapped) as caught:
        names.resolve("va:0x10", victim.pid)
    assert "nearest is 0x" in caught.value.hint
    with pytest.raises(NotMapped, match="nothing there"):
        names.resolve("elf:names:0x7fffffffff", victim.pid)
    with pytest.raises(NotMapped, match="is loaded"):
        names.resolve("off:names:0x7fffffffff", victim.pid)


def test_data_is_not_executable(victim, names):
    address = victim.addresses["some_data"]
    with pytest.raises(NotExecutable, match="rw-p"):
        names.resolve(f"va:{address:#x}", victim.pid)


def test_a_bare_number_is_answered_with_its_readings(victim, names):
    place = one(names, "alone", victim.pid)
    with pytest.raises(BadSpec, match="three ways") as caught:
        names.resolve(hex(place.address), victim.pid)
    assert f"va:{place.address:#x} (names:alone" in caught.value.hint
    with pytest.raises(BadSpec) as caught:
        names.resolve(hex(place.elf_address), victim.pid)
    assert f"elf:names:{place.elf_address:#x} (names:alone" in caught.value.hint
    with pytest.raises(BadSpec) as caught:
        names.resolve(f"names:{place.file_offset:#x}", victim.pid)
    assert f"off:names:{place.file_offset:#x} (names:alone" in caught.value.hint


def test_an_object_that_is_not_mapped_is_pending(victim, names):
    assert names.resolve("libnothing:x", victim.pid).pending
    error = names.no_such_object("libx:malloc", victim.pid)
    assert "no object called libx" in error.why
    assert "libc.so" in error.hint


def test_a_process_that_ended_is_no_process(names, waiting, compiled):
    victim = waiting(compiled("names"))
    victim.finish()
    with pytest.raises(NoSuchProcess):
        names.resolve("alone", victim.pid)


def test_a_deleted_program_keeps_its_names(compiled, waiting, names, tmp_path):
    copy = tmp_path / "soon gone"
    shutil.copy(compiled("names"), copy)
    victim = waiting(copy)
    copy.unlink()
    assert one(names, "alone", victim.pid).address == victim.addresses["alone"]
    assert one(names, "'soon gone':alone", victim.pid).address == victim.addresses["alone"]


def test_a_replaced_program_keeps_the_names_it_was_started_with(compiled, waiting, names, tmp_path):
    copy = tmp_path / "program"
    shutil.copy(compiled("names"), copy)
    victim = waiting(copy)
    copy.unlink()
    shutil.copy(shutil.which("true"), copy)
    assert one(names, "alone", victim.pid).address == victim.addresses["alone"]


def test_a_program_built_anew_at_the_same_path_has_its_new_names(
    compiled, waiting, names, tmp_path
):
    copy = tmp_path / "names"
    for flags in ((), ("-no-pie",)):
        shutil.copy(compiled("names", *flags), copy)
        victim = waiting(copy)
        assert one(names, "alone", victim.pid).address == victim.addresses["alone"]
        victim.end()
        copy.unlink()


@pytest.mark.needs("unshare", package="util-linux")
def test_files_are_found_in_the_mount_namespace_of_the_process(compiled, waiting, names, tmp_path):
    if os.geteuid():
        pytest.skip("needs root: another mount namespace")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = (
        f"mount -t tmpfs none {hidden} && cp {compiled('names')} {hidden}/own && exec {hidden}/own"
    )
    victim = waiting("unshare", "-m", "sh", "-c", script)
    assert not (hidden / "own").exists()
    for spec in ("alone", "own:alone", f"{hidden}/own:alone"):
        assert one(names, spec, victim.pid).address == victim.addresses["alone"]


def test_an_indirect_function_is_the_implementation_that_runs(victim, names):
    location = one(names, "chosen", victim.pid)
    assert location.address == victim.addresses["second_way"]
    assert location.function == "chosen"
    strlen = one(names, "libc:strlen", victim.pid)
    chooser = next(
        s for s in names.in_file("*", strlen.path).refused if s.spec and s.spec.endswith(":strlen")
    )
    assert chooser.code == "ifunc"
    assert chooser.address != strlen.elf_address


def test_the_vdso_has_names_too(victim, names):
    found = names.resolve("vdso:*", victim.pid).locations
    assert any("gettime" in place.function for place in found)


def test_an_address_is_named_by_its_function_and_offset(victim, names):
    place = one(names, "alone", victim.pid)
    found = names.locate(place.address + 4, victim.pid)
    assert (found.object, found.function, found.offset) == ("names", "alone", 4)
    assert found.elf_address == place.elf_address + 4
    assert names.locate(0x10, victim.pid).function is None


def test_the_linkers_hook_is_in_the_dynamic_linker(victim, names, compiled, waiting):
    hook = names.locate(names.linker_hook(victim.pid), victim.pid)
    assert hook.object.startswith("ld-")
    static = waiting(compiled("names", "-static"))
    assert names.linker_hook(static.pid) is None


def test_no_return_can_be_probed_at_entries_and_behind_them(victim, names):
    assert one(names, "alone", victim.pid).no_return == ""
    assert "entry of a program" in one(names, "_start", victim.pid).no_return
    assert "returns twice" in one(names, "libc:_setjmp", victim.pid).no_return
    assert "returns twice" in one(names, "libc:vfork", victim.pid).no_return
    place = one(names, "alone", victim.pid)
    behind = one(names, f"elf:names:{place.elf_address + place.function_size - 1:#x}", victim.pid)
    assert "first instruction" in behind.no_return


@pytest.mark.needs("g++", package="g++")
class TestCplusplus:
    """Names of C++, as the source writes them."""

    @pytest.fixture
    def shapes(self, compiled, waiting):
        return waiting(compiled("shapes"))

    @pytest.mark.parametrize(
        "spec",
        [
            "shapes::Box::area",
            "'shapes::Box::area() const'",
            "shapes:shapes::Box::area",
            "raw:shapes:_ZNK6shapes3Box4areaEv",
            "'shapes::Box::operator+'",
            "shapes::twice<int>",
            "'int shapes::twice<int>(int)'",
            "shapes:'shapes::Box::grow(int)'",
        ],
    )
    def test_a_function_is_found_by_any_of_its_names(self, shapes, names, spec):
        assert one(names, spec, shapes.pid).object == "shapes"

    def test_overloads_are_ambiguous_until_their_parameters_are_named(self, shapes, names):
        with pytest.raises(Ambiguous) as caught:
            names.resolve("shapes::Box::grow", shapes.pid)
        places = {one(names, spec, shapes.pid).function for spec in caught.value.candidates}
        assert places == {"shapes::Box::grow(int)", "shapes::Box::grow(long)"}

    def test_globs_match_demangled_names(self, shapes, names):
        found = names.resolve("shapes:shapes::Box::*", shapes.pid).locations
        assert len(found) == 4
        assert all(place.function.startswith("shapes::Box::") for place in found)

    def test_mangled_names_are_matched_only_when_asked_for(self, shapes, names):
        assert len(names.resolve("raw:shapes:_ZN*", shapes.pid).locations) >= 4
        with pytest.raises(NoSuchSymbol):
            names.resolve("shapes:_ZNK6shapes*", shapes.pid)
