"""Memory of each pipeline rank: at the worst moment, over time, and what to do where it is short.

docs/memory.md says what is counted, by which formula, and from which source.
"""

from sim.memory.over_time import MemoryOverTime, memory_csv, memory_over_time
from sim.memory.peak import memory_use
from sim.memory.shortage import changes_that_fit, out_of_memory
from sim.memory.use import HOLDINGS, MemoryUse, room

__all__ = [
    "HOLDINGS",
    "MemoryOverTime",
    "MemoryUse",
    "changes_that_fit",
    "memory_csv",
    "memory_over_time",
    "memory_use",
    "out_of_memory",
    "room",
]
