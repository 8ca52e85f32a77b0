"""The search for the best training plan: space, bound, search, and how sure the choice is."""

from sim.planning.training.search import Answer, Found, Goal, OutOfTime, search
from sim.planning.training.space import Setting, Space

__all__ = ["Answer", "Found", "Goal", "OutOfTime", "Setting", "Space", "search"]
