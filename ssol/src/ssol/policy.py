"""The questions that a pool leaves to whoever makes it, each with its closed set of answers."""

import enum


class Allocation(enum.Enum):
    """When the first area is mapped."""

    PREALLOCATED = "preallocated"
    """With the pool, near the addresses given then."""
    LAZY = "lazy"
    """At the first slot that is taken."""


class Growth(enum.Enum):
    """Whether further areas are mapped."""

    FIXED = "fixed"
    """One area, and what does not fit in it is met as `WhenFull` says."""
    EXPANDABLE = "expandable"
    """As many as it takes, each near what needs it."""


class Ownership(enum.Enum):
    """Whose a slot is, and so when it may be reused."""

    PRIVATE = "private"
    """A probe's, until it is freed.

    Any thread may run there, so reuse waits for a proof that none does.
    """
    PUBLIC = "public"
    """One thread's for one step.

    Who frees it says that this thread has left: it is reusable at once.
    """
    PER_THREAD = "per thread"
    """A thread's, until that thread ends: taking again gives the same slot if it still does."""


class WhenFull(enum.Enum):
    """What happens when every slot that would do is taken and no area can be added."""

    WAIT = "wait"
    """`MustWait` with a ticket; tickets are served in the order of their coming."""
    STEAL = "steal"
    """The slot used least recently in which nobody is changes hands."""
    REFUSE = "refuse"
    """`PoolFull`; the caller runs the instruction in some other way."""
