"""How long a pass takes on each stage, from our own kernels' costs: tables made once, looked up for every pass.

A decode pass replays a CUDA graph, padded to a captured size; beyond the graphs a host starts every kernel, and a stage
is no faster than that. Between stages hidden states are sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import Transformer
from sim.serving.costs.context import Sharing, check
from sim.serving.costs.lockstep import IDLE, in_step
from sim.serving.costs.stages import rank_of, stage_layers, stage_tables
from sim.serving.costs.tables import CoreTables, StageTables, padded
from sim.serving.passes import PassCosts, Shape, Stage, Steady
from sim.workload import ROUTED, ExpertLoad
from topologies.document import InputError
from topologies.hardware import Cluster

Rest = tuple[float, float, float, float, float]
"""compute, tp, ep, straggler and send of a stage without attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """Of a pass and for each of its sequences. Where the next pass is prepared while one runs (`is_overlapped`), what
    is longer than the kernels shows, and at least `least_seconds` and `least_sequence_seconds`."""

    seconds: float
    sequence_seconds: float
    least_seconds: float
    least_sequence_seconds: float
    is_overlapped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """`PassCosts` of a replica from our own kernels' costs. `cores`: attention's tables, once each; `core_of` each
    stage. Kept as they are asked for: the stages without attention by rows of products and of the head, and by whether
    chunks are among them, those of decodes also by numbers of decodes and of tokens sampled; the host's seconds by
    number of sequences; of attention over chunks, the newest pass's: these are asked for with decodes, then alone."""

    tables: tuple[StageTables, ...]
    padded: tuple[int, ...]
    graph_chunks: bool
    rows_per_decode: int
    sends_tokens: bool
    host_times: HostTimes
    cores: tuple[CoreTables, ...]
    core_of: tuple[int, ...]
    _alone: dict[tuple[int, int], list[Rest]] = field(init=False, default_factory=dict)
    _kept: dict[tuple[int, int, bool], list[Rest]] = field(init=False, default_factory=dict)
    _newest: dict[tuple[tuple[int, int], ...], list[float]] = field(init=False, default_factory=dict)
    _hosts: dict[int, float] = field(init=False, default_factory=dict)

    @property
    def num_stages(self) -> int:
        return len(self.tables)

    def host(self, num_seqs: int) -> float:
        """Seconds of the host between two passes that the GPUs wait for."""
        found = self._hosts.get(num_seqs)
        if found is None:
            found = self._hosts[num_seqs] = self._host(num_seqs)
        return found

    def stages(self, shape: Shape) -> list[Stage]:
        """Each stage, first to last."""
        decodes, context, prefills, sampled, longest = shape
        if not prefills:
            return self._decoding(decodes, sampled, self._attention(decodes, context / decodes, longest, 1))
        rests = self._rests(self._products(shape), self._rows(sampled, decodes), has_chunks=True)
        chunks = self._newest.get(prefills) or self._beyond(prefills)
        if not decodes:
            return self._chunks(rests, chunks)
        alone = self._decoding(decodes, decodes, self._attention(decodes, context / decodes, longest, 1))
        return list(map(_beside, alone, rests, [chunks[at] for at in self.core_of]))

    def together(self, shapes: Sequence[Shape]) -> list[list[Stage]]:
        """Stages of ranks in lock-step, whose experts meet the tokens of all."""
        busy = [shape if shape.num_decodes or shape.prefills else IDLE for shape in shapes]
        ranks = [self.stages(shape) for shape in busy]
        if not any(shape.prefills for shape in busy):
            return ranks
        return in_step(
            ranks,
            list(map(self._products, busy)),
            [tables.experts.row for tables in self.tables],
            sent=self.sends_tokens,
        )

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        """Consecutive passes of the same requests."""
        seconds = self._attention(num_decodes, context / num_decodes, longest, num_passes)
        return Steady(self._decoding(num_decodes, num_decodes, seconds), seconds)

    def _host(self, num_seqs: int) -> float:
        times = self.host_times
        whole = times.seconds + num_seqs * times.sequence_seconds
        if not times.is_overlapped:
            return whole
        hidden = sum([sum(rest[:-1]) for rest in self._rests(num_seqs, 0, has_chunks=False)])
        return max(times.least_seconds + num_seqs * times.least_sequence_seconds, whole - hidden)

    def _decoding(self, decodes: int, sampled: int, attention: Sequence[Sequence[float]]) -> list[Stage]:
        """The stages of a pass of decodes, given attention's seconds from this pass on."""
        rests = self._alone.get((decodes, sampled))
        if rests is None:
            tokens, rows = self._rows(decodes, decodes), self._rows(sampled, decodes)
            rests = self._alone[decodes, sampled] = self._rests(tokens, rows, has_chunks=False)
        return [
            Stage(compute, seconds[0], 0.0, tp, 0.0, ep, straggler, send)
            for (compute, tp, ep, straggler, send), seconds in zip(rests, attention, strict=True)
        ]

    def _chunks(self, rests: list[Rest], chunks: list[float]) -> list[Stage]:
        """The stages of a pass of nothing but chunks, given attention's seconds beyond its floor."""
        seconds = [core.chunks.floor + beyond for core, beyond in zip(self.cores, chunks, strict=True)]
        return [
            Stage(compute, seconds[at], 0.0, tp, 0.0, ep, straggler, send)
            for (compute, tp, ep, straggler, send), at in zip(rests, self.core_of, strict=True)
        ]

    def _beyond(self, prefills: tuple[tuple[int, int], ...]) -> list[float]:
        """Attention's seconds over these chunks beyond its floor, by core."""
        self._newest.clear()
        found = self._newest[prefills] = [core.chunks.seconds(prefills) for core in self.cores]
        return found

    def _rests(self, tokens: int, sampled: int, *, has_chunks: bool) -> list[Rest]:
        """The stages without attention, for so many rows of products and of the head."""
        found = self._kept.get((tokens, sampled, has_chunks))
        if found is None:
            found = self._kept[tokens, sampled, has_chunks] = self._looked_up(tokens, sampled, has_chunks)
        return found

    def _looked_up(self, tokens: int, sampled: int, has_chunks: bool) -> list[Rest]:
        is_graph = tokens < len(self.padded) and (self.graph_chunks or not has_chunks)
        rows = self.padded[tokens] if is_graph else tokens
        found = []
        for tables in self.tables:
            compute, tp, ep, straggler = (tables.graph if is_graph else tables.eager).row(rows)
            head_compute, head_tp, _, _ = tables.sampled.row(sampled)
            found.append((compute + head_compute, tp + head_tp, ep, straggler, tables.send.row(tokens)[0]))
        return found

    def _attention(self, decodes: int, length: float, longest: int, num_passes: int) -> list[list[float]]:
        """Seconds by stage and pass; stages of the same layers share them."""
        found = [core.decodes(decodes).seconds(length, longest, num_passes) for core in self.cores]
        return [found[at] for at in self.core_of]

    def _products(self, shape: Shape) -> int:
        """Rows of a pass."""
        return self._rows(shape.num_decodes, shape.num_decodes) + sum([new for new, _ in shape.prefills])

    def _rows(self, tokens: int, decodes: int) -> int:
        """Of products: those of the tokens, and of what is proposed to each that decodes."""
        return tokens + (self.rows_per_decode - 1) * decodes


def _beside(alone: Stage, rest: Rest, chunks: float) -> Stage:
    """Decodes that chunks beside them make longer."""
    compute, attention, _, tp, _, ep, straggler, _ = alone
    whole = rest[0] + chunks + attention + rest[1] + rest[2] + rest[3]
    longer = max(0.0, whole - (compute + attention + tp + ep + straggler))
    return Stage(compute, attention, longer, tp, 0.0, ep, straggler, rest[4])


@lru_cache(maxsize=32)
def pass_costs(
    model: Transformer,
    cluster: Cluster,
    deployment: Deployment,
    framework: ServingFramework,
    load: ExpertLoad = ROUTED,
) -> PassCosts:
    """The costs of passes of a replica on the cluster's first GPUs. InputError for what cannot be multiplied there.

    `load`: how the router deals tokens to experts.
    """
    if cluster.gpu.is_processor:
        raise InputError(f"{cluster.name}: serving on processors is not simulated; take a cluster of GPUs")
    speculation = deployment.speculation
    tables = stage_tables(model, cluster, deployment, framework, load)
    cores = tuple(dict.fromkeys(each.core for each in tables))
    costs = Forward(
        tables=tables,
        cores=cores,
        core_of=tuple(cores.index(each.core) for each in tables),
        padded=padded(framework.graph_sizes),
        graph_chunks=framework.graph_chunks,
        rows_per_decode=1 + (speculation.tokens if speculation else 0),
        sends_tokens=deployment.layout.ep_kind != "all-gather",
        host_times=_host_times(deployment, framework),
    )
    return costs if deployment.layout.cp == 1 else _in_parts(costs, model, cluster, deployment, framework)


def _in_parts(
    costs: Forward, model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework
) -> Sharing:
    """The costs where cp ranks share a prompt's tokens."""
    stages = stage_layers(model, deployment)
    ranks = tuple(rank_of(model, cluster, deployment, framework, stage, ROUTED) for stage in range(len(stages)))
    check(ranks[0])
    return Sharing(costs, ranks, tuple(map(len, stages)))


def _host_times(deployment: Deployment, framework: ServingFramework) -> HostTimes:
    said = deployment.scheduling.asynchronous
    return HostTimes(
        seconds=framework.host_seconds,
        sequence_seconds=framework.host_sequence_seconds,
        least_seconds=framework.overlapped_seconds,
        least_sequence_seconds=framework.overlapped_sequence_seconds,
        is_overlapped=framework.asynchronous if said is None else said,
    )
