"""Who may probe whom: what a policy is asked, and where one comes from that nobody gave.

A policy is the client's decision. Behind it stand the kernel's own checks, which it can't widen.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass

from uprobes.errors import NotPermitted, ProbeError
from uprobes.location import Location

VARIABLE = "UPROBES_POLICY"
HINT = "ask whoever set it"


@dataclass(frozen=True, slots=True)
class Request:
    """What a policy is asked to allow.

    `what` is `attach`, `spawn`, `register`, `follow` (a child, `pid`, of the process `parent`) or
    `exec` (a probed process becomes `command`; refused, its probes don't come along).
    """

    what: str
    pid: int
    command: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    parent: int = 0


Policy = Callable[[Request], object]


def ask(policy: Policy | None, request: Request) -> None:
    """Raise NotPermitted where a policy refuses: by giving False, or by raising anything."""
    if policy is None:
        return
    why = f"the policy does not allow to {request.what} process {request.pid}"
    try:
        allowed = policy(request)
    except ProbeError:
        raise
    except Exception as error:
        raise NotPermitted(f"{why}: {error}", code="policy", hint=HINT) from error
    if allowed is False:
        raise NotPermitted(why, code="policy", hint=HINT)


def policy_of_environment() -> Policy | None:
    """Return the policy that `UPROBES_POLICY=MODULE:FUNCTION` names, None without that.

    Raises NotPermitted when there is no such function: nothing is allowed then.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        policy: Policy = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise NotPermitted(
            f"the policy {name} can't be had: {error}",
            code="policy",
            hint=f"{VARIABLE} is MODULE:FUNCTION, importable from where this runs",
        ) from error
    return policy
