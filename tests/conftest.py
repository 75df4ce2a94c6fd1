"""Fixtures of the live tests: victims are built once, started on demand, looked over at the end."""

import threading

import live
import pytest


@pytest.fixture(scope="session")
def build(tmp_path_factory, needs):
    """Compile a victim once: `build("kinds")` gives the program's path."""
    directory = tmp_path_factory.mktemp("victims")
    built = {}

    def build(name):
        if name not in built:
            program, package = live.compiler_of(name)
            built[name] = live.build(name, directory, needs(program, package=package))
        return built[name]

    return build


@pytest.fixture
def victim(build):
    """Start victims: `victim("kinds", 8, 1)`; those that run at the end must be untouched."""
    started = []

    def start(name, *argv, prefix=()):
        started.append(live.Victim([build(name), *argv], prefix=prefix))
        return started[-1]

    yield start
    try:
        for each in started:
            if each.alive:
                try:
                    each.check_untouched()
                except (AssertionError, OSError):
                    if not each.ends_soon():  # what is ending has its memory to the last
                        raise
    finally:
        for each in started:
            each.close()


@pytest.fixture(autouse=True)
def no_tracing_thread_is_left_behind():
    """Fail a test that leaves a tracing thread of ours running."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name == "uprobes tracer"]
    assert left == []
