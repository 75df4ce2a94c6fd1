"""Where the parts are put together: targets whose specs are resolved by `uprobes.names`."""

from collections.abc import Mapping, Sequence

from uprobes.names import Resolver
from uprobes.policies import Policy
from uprobes.recording.target import Target


def attach(pid: int, *, follow_forks: bool = False, policy: Policy | None = None) -> Target:
    """Become the tracer of a running process; none of its threads is stopped for that.

    A child of your own program must not be waited for meanwhile (`Popen.poll`, `os.wait`): the
    kernel gives its stops to whoever waits first in the program, and Popen would take one for its
    end. Ask `run` and `exit_status` instead; once it has ended or was detached from, it is its
    parent's to wait for as ever.

    Raises NoSuchProcess, NotPermitted, AlreadyTraced or UnsupportedTarget, each with what to do
    instead.
    """
    return Target(Resolver(), policy).attach(pid, follow_forks=follow_forks)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    follow_forks: bool = False,
    policy: Policy | None = None,
) -> Target:
    """Start a command, stopped before its first instruction until `run`; raises SpawnFailed."""
    return Target(Resolver(), policy).spawn(argv, env=env, follow_forks=follow_forks)
