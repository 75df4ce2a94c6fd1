"""Which method executes the instruction under probes: what its verdict and all of them allow."""

from typing import TYPE_CHECKING

from insn import Method, Reason, Verdict, only_moves_ip

if TYPE_CHECKING:
    from uprobes.probe import Probe

HANDLER_METHODS = (Method.INLINE, Method.STEP, Method.BOOST, Method.EMULATE)
"""The methods that can run a Python handler at the hit."""

NEEDS_TRACER = Reason(
    "needs-handler",
    "a Python handler runs in the tracer, so each hit must stop the thread",
    "count or record without a handler",
)


def preference(verdict: Verdict) -> tuple[Method, ...]:
    """Order the methods by what a hit costs here, cheapest first.

    Emulation that must read or write memory costs more system calls than letting a boosted copy do
    it.
    """
    if verdict.allows(Method.EMULATE) and only_moves_ip(verdict.instruction):
        return (Method.EMULATE, Method.BOOST, Method.STEP, Method.INLINE)
    return (Method.BOOST, Method.EMULATE, Method.STEP, Method.INLINE)


def choose(verdict: Verdict, probes: "tuple[Probe, ...]") -> tuple[Method, ...]:
    """Return the methods that verdict and probes allow, the one to try first in front.

    Probes at one address share one method: the first that forces one wins, and what any forbids is
    not used. Empty when nothing is left.
    """
    forced = next((p.wanted for p in probes if p.wanted is not None), None)
    if forced is not None and forced not in HANDLER_METHODS:
        return ()
    forbidden = {m for p in probes for m in p.forbidden}
    order = (forced,) if forced is not None else preference(verdict)
    return tuple(m for m in order if verdict.allows(m) and m not in forbidden)
