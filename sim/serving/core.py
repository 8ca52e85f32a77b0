"""The state of a replica: queues and cache of each rank, the passes under way, and who decodes together."""

from collections import deque
from dataclasses import dataclass, field

from sim.serving.attribution import BUBBLE, INTERFERENCE
from sim.serving.block_pool import BlockPool
from sim.serving.columns import Columns
from sim.serving.passes import PassCosts
from sim.serving.pipeline import Pipeline
from sim.serving.record import CAUSES
from sim.serving.scheduling import POLICIES, Rules
from sim.serving.sequence import Queues, Sequence, Tally
from sim.serving.settings import Settings


@dataclass(slots=True, eq=False)
class Rank:
    """A scheduler's state. `arriving` want blocks for a cache that is to come; `held`: sequences in no queue that have
    blocks, as their cache is on its way."""

    queues: Queues
    pool: BlockPool
    arriving: deque[Sequence] = field(default_factory=deque)
    held: int = 0


@dataclass(slots=True, eq=False)
class Company:
    """Those who decode together, pass after pass; `last` pass of theirs, by rank; how many of them are under way."""

    last: list[Tally]
    num_under_way: int = 0


@dataclass(slots=True, eq=False)
class Flight:
    """A pass under way, out at `end`: who decodes and whose prompt ends, by rank. The company's pass `before` was out
    then; `late`: those of who decode that were not in it, with the time of their last token and their causes until
    then. `tallies` by rank. `cuts`: of those who check fewer proposed tokens than the others, how many."""

    end: float
    company: Company
    before: float
    decodes: list[list[Sequence]]
    prompts: list[list[Sequence]]
    tallies: list[Tally]
    late: dict[Sequence, tuple[float, list[float]]] = field(default_factory=dict)
    cuts: dict[Sequence, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Core:
    """`number` of its first rank among all replicas'. `launched`: until then the host is busy with the newest pass.
    `rest`: the cause of what a company's pass took beyond its own parts, while others' passes ran: interference where
    one runs at a time. `hands_on`: sequences go on elsewhere, and keep their blocks until their cache has been read."""

    number: int
    settings: Settings
    costs: PassCosts
    ranks: list[Rank]
    columns: Columns
    hands_on: bool = False
    rules: Rules = field(init=False)
    pipeline: Pipeline = field(init=False)
    companies: list[Company] = field(init=False)
    rest: int = field(init=False)
    flights: deque[Flight] = field(init=False, default_factory=deque)
    launched: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.rules = POLICIES[self.settings.policy]
        self.pipeline = Pipeline(len(self.ranks), self.costs.num_stages, is_serial=self.decodes_ahead)
        self.rest = INTERFERENCE if self.costs.num_stages == 1 or self.decodes_ahead else BUBBLE
        nothing = Tally(0.0, (0.0,) * len(CAUSES))
        places = 1 if self.decodes_ahead else self.settings.depth
        self.companies = [Company([nothing] * len(self.ranks)) for _ in range(places)]

    @property
    def decodes_ahead(self) -> bool:
        """Whether a request's next pass is scheduled while one runs: then all decode together, and where there are
        several stages, each pass begins when the one before has left the last, which samples its tokens."""
        return self.settings.asynchronous
