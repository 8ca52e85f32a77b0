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
from sim.serving.costs.decoding import attention
from sim.serving.costs.lockstep import IDLE, in_step
from sim.serving.costs.stages import rank_of, stage_layers, stage_tables
from sim.serving.costs.tables import Row, StageTables, padded
from sim.serving.passes import PassCosts, Shape, Stage, Steady
from sim.workload import ROUTED, ExpertLoad
from topologies.document import InputError
from topologies.hardware import Cluster


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
    """`PassCosts` of a replica from our own kernels' costs. Kept as they are asked for: by numbers of decodes and of
    tokens sampled, the stages without attention; by number of decodes, each stage's first of the same layers."""

    tables: tuple[StageTables, ...]
    padded: tuple[int, ...]
    graph_chunks: bool
    rows_per_decode: int
    sends_tokens: bool
    host_times: HostTimes
    _fixed: dict[tuple[int, int], list[Stage]] = field(init=False, default_factory=dict)
    _firsts: dict[int, list[int]] = field(init=False, default_factory=dict)

    @property
    def num_stages(self) -> int:
        return len(self.tables)

    def host(self, num_seqs: int) -> float:
        """Seconds of the host between two passes that the GPUs wait for."""
        times = self.host_times
        whole = times.seconds + num_seqs * times.sequence_seconds
        if not times.is_overlapped:
            return whole
        hidden = sum([sum(self._by_tokens(tables, num_seqs, has_chunks=False)) for tables in self.tables])
        return max(times.least_seconds + num_seqs * times.least_sequence_seconds, whole - hidden)

    def stages(self, shape: Shape) -> list[Stage]:
        """Each stage, first to last."""
        decodes, context, prefills, sampled, longest = shape
        if not prefills:
            return self._alone(decodes, context, sampled, longest)
        alone: Sequence[Stage | None] = [None] * self.num_stages
        if decodes:
            alone = self._alone(decodes, context, decodes, longest)
        return [self._beside(tables, shape, stage) for tables, stage in zip(self.tables, alone, strict=True)]

    def together(self, shapes: Sequence[Shape]) -> list[list[Stage]]:
        """Stages of ranks in lock-step, whose experts meet the tokens of all."""
        busy = [shape if shape.num_tokens else IDLE for shape in shapes]
        ranks = [self.stages(shape) for shape in busy]
        if not any(shape.prefills for shape in busy):
            return ranks
        tokens = [self._rows(shape.num_tokens, shape.num_decodes) for shape in busy]
        return in_step(ranks, tokens, [tables.experts.row for tables in self.tables], sent=self.sends_tokens)

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        """Consecutive passes of the same requests."""
        seconds = self._attention(num_decodes, context / num_decodes, longest, num_passes)
        return Steady(self._decoding(num_decodes, num_decodes, [each[0] for each in seconds]), seconds)

    def _alone(self, decodes: int, context: int, sampled: int, longest: int) -> list[Stage]:
        """Decodes without chunks beside them."""
        firsts = [seconds for (seconds,) in self._attention(decodes, context / decodes, longest, 1)]
        return self._decoding(decodes, sampled, firsts)

    def _beside(self, tables: StageTables, shape: Shape, alone: Stage | None) -> Stage:
        """Chunks, and the decodes that would take so long without them."""
        decodes, _, prefills, sampled, _ = shape
        tokens = self._rows(decodes, decodes) + sum([new for new, _ in prefills])
        compute, tp, ep, straggler = self._by_tokens(tables, tokens, has_chunks=True)
        head_compute, head_tp, _, _ = tables.sampled.row(self._rows(sampled, decodes))
        core = tables.chunk_seconds(prefills)
        send = tables.send.row(tokens)[0]
        if alone is None:
            core += tables.chunks.floor
            return Stage(compute + head_compute, core, 0.0, tp + head_tp, 0.0, ep, straggler, send)
        whole = compute + head_compute + core + alone.attention + tp + head_tp + ep + straggler
        return alone._replace(prefill=max(0.0, whole - alone.seconds), send=send)

    def _decoding(self, decodes: int, sampled: int, attention: list[float]) -> list[Stage]:
        """The stages of a pass of decodes, given attention's seconds."""
        fixed = self._fixed.get((decodes, sampled))
        if fixed is None:
            fixed = self._fixed[decodes, sampled] = [self._without(each, decodes, sampled) for each in self.tables]
        return [
            Stage(compute, seconds, 0.0, tp, 0.0, ep, straggler, send)
            for (compute, _, _, tp, _, ep, straggler, send), seconds in zip(fixed, attention, strict=True)
        ]

    def _without(self, tables: StageTables, decodes: int, sampled: int) -> Stage:
        """A stage without attention."""
        tokens = self._rows(decodes, decodes)
        compute, tp, ep, straggler = self._by_tokens(tables, tokens, has_chunks=False)
        head_compute, head_tp, _, _ = tables.sampled.row(self._rows(sampled, decodes))
        send = tables.send.row(tokens)[0]
        return Stage(compute + head_compute, 0.0, 0.0, tp + head_tp, 0.0, ep, straggler, send)

    def _attention(self, decodes: int, length: float, longest: int, num_passes: int) -> list[list[float]]:
        """Seconds by stage and pass; stages of the same layers share them."""
        firsts = self._firsts.get(decodes)
        if firsts is None:
            rows = [tables.decodes(decodes) for tables in self.tables]
            firsts = self._firsts[decodes] = [rows.index(row) for row in rows]
        found: list[list[float]] = []
        for stage, first in enumerate(firsts):
            if first < stage:
                found.append(found[first])
            else:
                tables = self.tables[stage]
                skews = tables.skews(decodes) if longest else []
                found.append(attention(tables.decodes(decodes), skews, length, longest, num_passes))
        return found

    def _rows(self, tokens: int, decodes: int) -> int:
        """Of products: those of the tokens, and of what is proposed to each that decodes."""
        return tokens + (self.rows_per_decode - 1) * decodes

    def _by_tokens(self, tables: StageTables, tokens: int, *, has_chunks: bool) -> Row:
        if tokens < len(self.padded) and (self.graph_chunks or not has_chunks):
            return tables.graph.row(self.padded[tokens])
        return tables.eager.row(tokens)


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
    costs = Forward(
        tables=stage_tables(model, cluster, deployment, framework, load),
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
