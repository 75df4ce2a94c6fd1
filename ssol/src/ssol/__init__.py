"""Slots of executable memory for single-stepping out of line: who holds which, until when."""

from ssol.area import PAGE
from ssol.errors import (
    BadArea,
    BadRequest,
    MustWait,
    NoAreaInReach,
    NotTaken,
    PoolFull,
    SsolError,
)
from ssol.policy import Allocation, Growth, Ownership, WhenFull
from ssol.pool import REACH, Pool
from ssol.ports import Mapper
from ssol.slot import Slot, Statistics, Ticket

__all__ = [
    "PAGE",
    "REACH",
    "Allocation",
    "BadArea",
    "BadRequest",
    "Growth",
    "Mapper",
    "MustWait",
    "NoAreaInReach",
    "NotTaken",
    "Ownership",
    "Pool",
    "PoolFull",
    "Slot",
    "SsolError",
    "Statistics",
    "Ticket",
    "WhenFull",
]
