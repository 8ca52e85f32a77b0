"""How long a pass takes, composed of operators' measured times: layers times the sum of their parts, and both ends.

Products and norms go by the tokens of a pass, padded to the sizes of CUDA graphs; the head and the sampler by sequences
that have a new token; attention by what prompts and decodes meet in the cache. Sums over tp are ours: tables of one GPU
have none.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sim.deployment import Deployment
from sim.frameworks.serving import ServingFramework
from sim.models import LayerKind, Transformer
from sim.serving.costs.communication import sent, summed
from sim.serving.costs.grids import Grid
from sim.serving.costs.operators import FAR, Line, Operators
from sim.serving.costs.parts import TOKENS, Rank
from sim.serving.costs.stages import stage_layers
from sim.serving.costs.tables import padded
from sim.serving.passes import Shape, Stage, Steady
from topologies.document import InputError
from topologies.hardware import Cluster

LAYER: Final = ("layernorm", "qkv_proj", "rotary_emb", "o_proj", "layernorm")
DENSE: Final = ("gate_up_proj", "act_fn", "down_proj")
FIRST: Final = ("embedding",)
LAST: Final = ("final_layernorm",)
HEADS: Final = ("qk_norm",)
SAMPLED: Final = ("lm_head", "sampler")
"""The operators of a layer, of a dense MLP, of the two ends, of heads that are normed, and of sequences that have a new
token, as the tables name them."""
IDLE: Final = Shape(1, 1, (), 1)
"""What a rank of data-parallel attention runs that has nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable:
    """Seconds of a stage by tokens (all operators; sums over tp; the message onwards) and by sequences sampled, one row
    for each number up to the longest table; `layers` of attention."""

    layers: int
    tokens: list[float]
    sums: list[float]
    sends: list[float]
    sampled: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Seconds on a grid, row after row in one list: an array's scalars cost ten times those of a list."""

    axes: tuple[list[float], ...]
    seconds: list[float]

    def at(self, *places: float) -> float:
        """Linear along each axis: below the first point as there, beyond the last straight on."""
        corners, stride = [(0, 1.0)], len(self.seconds)
        for grid, place in zip(self.axes, places, strict=True):
            stride //= len(grid)
            low = min(max(bisect_right(grid, place) - 1, 0), max(len(grid) - 2, 0))
            part = (place - grid[low]) / (grid[low + 1] - grid[low]) if place > grid[low] and len(grid) > 1 else 0.0
            first = [(at + low * stride, weight * (1 - part)) for at, weight in corners]
            corners = first + [(at + (low + 1) * stride, weight * part) for at, weight in corners] if part else first
        seconds = self.seconds
        return sum([weight * seconds[at] for at, weight in corners])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Seconds of a layer's attention: of decodes (requests x keys of each), chunks (new tokens x keys before) and both.
    `rows`: of decodes alone, for each number of them that was asked for, by `keys`."""

    alone: Table
    chunks: Table
    mixed: Table
    keys: list[float]
    rows: dict[int, list[float]] = field(default_factory=dict)

    def row(self, num_decodes: int) -> list[float]:
        """For so many decodes, by the keys of each."""
        found = self.rows.get(num_decodes)
        if found is None:
            found = self.rows[num_decodes] = [max(0.0, self.alone.at(num_decodes, keys)) for keys in self.keys]
        return found

    def decodes(self, num_decodes: int, keys: float) -> float:
        """Decodes that nobody's prompt disturbs, with so many keys each; as numpy.interp has it, to the last digit."""
        row = self.row(num_decodes)
        at = min(max(bisect_right(self.keys, keys) - 1, 0), len(self.keys) - 2)
        slope = (row[at + 1] - row[at]) / (self.keys[at + 1] - self.keys[at])
        return slope * (max(keys, self.keys[0]) - self.keys[at]) + row[at]

    def with_chunks(self, num_decodes: int, keys: float, prefills: Sequence[tuple[int, int]]) -> float:
        """Chunks of prompts as one that meets as many keys, which is what they cost but for their starts."""
        new = sum([count for count, _ in prefills])
        pairs = sum([count * (cached + count / 2) for count, cached in prefills])
        before = pairs / new - new / 2
        if before >= 0:
            return self._both(new, before, num_decodes, keys)
        whole, least = self.chunks.at(new, 0.0), self.chunks.at(self.chunks.axes[0][0], 0.0)
        return self._both(new, 0.0, num_decodes, keys) - (1 - pairs / (new * new / 2)) * (whole - least)

    def _both(self, new: float, before: float, num_decodes: int, keys: float) -> float:
        return self.mixed.at(new, before, num_decodes, keys) if num_decodes else self.chunks.at(new, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """`PassCosts` of a replica from operators' times."""

    stage_tables: tuple[StageTable, ...]
    attention: Attention
    padded: tuple[int, ...]
    host_seconds: float
    host_sequence_seconds: float

    @property
    def num_stages(self) -> int:
        return len(self.stage_tables)

    def host(self, num_seqs: int) -> float:
        """Seconds of the host between two passes that the GPUs wait for."""
        return self.host_seconds + num_seqs * self.host_sequence_seconds

    def stages(self, shape: Shape) -> list[Stage]:
        """Each stage, first to last."""
        decodes, context, prefills, sampled, _ = shape
        if not prefills:
            core = self.attention.decodes(decodes, context / decodes)
            return [self._stage(table, decodes, sampled, core) for table in self.stage_tables]
        core = self.attention.with_chunks(decodes, context / decodes if decodes else 0.0, prefills)
        whole = [self._stage(table, shape.num_tokens, sampled, core) for table in self.stage_tables]
        if not decodes:
            return whole
        alone = self.stages(Shape(decodes, context, (), decodes))
        return [
            one._replace(prefill=max(0.0, both.seconds - one.seconds), send=both.send)
            for one, both in zip(alone, whole, strict=True)
        ]

    def together(self, shapes: Sequence[Shape]) -> list[list[Stage]]:
        """Stages of ranks in lock-step; their experts are as if all had as many tokens."""
        return [self.stages(shape if shape.num_tokens else IDLE) for shape in shapes]

    def decodes(self, num_decodes: int, context: int, num_passes: int, longest: int = 0) -> Steady:
        """Consecutive passes of the same requests. Tables have equal lengths."""
        del longest
        keys, alone = context / num_decodes, self.attention.decodes
        core = [alone(num_decodes, keys + step) for step in range(num_passes)]
        stages = self.stages(Shape(num_decodes, context, (), num_decodes))
        return Steady(stages, [[table.layers * each for each in core] for table in self.stage_tables])

    def _stage(self, table: StageTable, tokens: int, sampled: int, core: float) -> Stage:
        rows = self.padded[tokens] if tokens < len(self.padded) else tokens
        last = len(table.tokens) - 1
        if rows > last:
            raise InputError(f"a pass of {rows} tokens lies beyond the operators' tables, which end at {last}")
        seconds = table.tokens[rows] + table.sampled[min(sampled, len(table.sampled) - 1)]
        return Stage(seconds, table.layers * core, 0.0, table.sums[rows], 0.0, 0.0, 0.0, table.sends[rows])


def measured_costs(
    operators: Operators, model: Transformer, cluster: Cluster, deployment: Deployment, framework: ServingFramework
) -> Measured:
    """The costs of passes of a replica whose operators were measured. Raises InputError where one is missing."""
    stages = stage_layers(model, deployment)
    tp, last = deployment.layout.tp, len(stages) - 1
    gpus = [tuple(range(at * tp, (at + 1) * tp)) for at in range(len(stages))]
    ranks = [Rank(model=model, cluster=cluster, gpus=one, deployment=deployment, framework=framework) for one in gpus]
    tables = [
        _table(operators, ranks[at], ranks[min(at + 1, last)].gpus, kinds, is_first=at == 0, is_last=at == last)
        for at, kinds in enumerate(stages)
    ]
    asynchronous = deployment.scheduling.asynchronous
    hidden = framework.asynchronous if asynchronous is None else asynchronous
    return Measured(
        stage_tables=tuple(tables),
        attention=_attention(operators),
        padded=padded(framework.graph_sizes),
        host_seconds=framework.overlapped_seconds if hidden else framework.host_seconds,
        host_sequence_seconds=framework.overlapped_sequence_seconds if hidden else framework.host_sequence_seconds,
    )


def _attention(operators: Operators) -> Attention:
    keys = operators.decode_axes[1].tolist()
    return Attention(
        alone=_table_of(operators.decode_axes, operators.decodes),
        chunks=_table_of(operators.chunk_axes, operators.chunks),
        mixed=_table_of(operators.mixed_axes, operators.mixed),
        keys=[*keys, keys[-1] * FAR],
    )


def _table_of(axes: Sequence[Grid], values: Grid) -> Table:
    return Table(axes=tuple(axis.tolist() for axis in axes), seconds=values.ravel().tolist())


def _table(
    operators: Operators,
    rank: Rank,
    following: tuple[int, ...],
    kinds: Sequence[LayerKind],
    *,
    is_first: bool,
    is_last: bool,
) -> StageTable:
    tokens = np.arange(int(min(line[0][-1] for line in operators.dense.values())) + 1, dtype=np.float64)
    ends = (*FIRST * is_first, *LAST * is_last)
    seconds = _dense(operators, ends, tokens) + _layers(operators, rank, kinds, tokens)
    sums = 2 * len(kinds) * np.interp(tokens, TOKENS, summed(rank, graph=True))
    sends = np.zeros_like(tokens) if is_last else np.interp(tokens, TOKENS, sent(rank, following))
    return StageTable(
        layers=len(kinds),
        tokens=seconds.tolist(),
        sums=sums.tolist(),
        sends=sends.tolist(),
        sampled=_sampled(operators) if is_last else [0.0],
    )


def _layers(operators: Operators, rank: Rank, kinds: Sequence[LayerKind], tokens: Grid) -> Grid:
    """All layers of a stage but for attention's core."""
    num_experts = sum(kind.has_experts for kind in kinds)
    seconds = len(kinds) * _dense(operators, (*LAYER, *HEADS * rank.model.qk_norm), tokens)
    if num_experts < len(kinds):
        seconds = seconds + (len(kinds) - num_experts) * _dense(operators, DENSE, tokens)
    return seconds + num_experts * _experts(operators, rank, tokens) if num_experts else seconds


def _sampled(operators: Operators) -> list[float]:
    """The head and the sampler, by sequences."""
    both = [_line(operators.sampled, name) for name in SAMPLED]
    sequences = np.arange(int(min(places[-1] for places, _ in both)) + 1, dtype=np.float64)
    seconds = sum((np.interp(sequences, *line) for line in both), np.zeros_like(sequences))
    return list(seconds.tolist())


def _dense(operators: Operators, names: Sequence[str], tokens: Grid) -> Grid:
    return sum((np.interp(tokens, *_line(operators.dense, name)) for name in names), np.zeros_like(tokens))


def _line(lines: Mapping[str, Line], name: str) -> Line:
    if name not in lines:
        raise InputError(f"the operators' tables have no {name}; they need it for this model")
    return lines[name]


def _experts(operators: Operators, rank: Rank, tokens: Grid) -> Grid:
    """A layer of experts: as many as all tokens of the dp ranks meet when each goes to experts by chance, dealt to
    ranks or each split over all. Of E experts T tokens with k each meet E(1 - (1 - k/E)^T)."""
    moe, layout = rank.model.moe, rank.deployment.layout
    assert moe is not None
    if not operators.experts:
        raise InputError("the operators' tables have no experts; they need them for this model")
    met = moe.num_experts * (1 - (1 - moe.top_k / moe.num_experts) ** (tokens * layout.dp))
    numbers = np.array([number for number, _ in operators.experts])
    columns = np.array([np.interp(tokens * layout.dp, *line) for _, line in operators.experts])
    seconds = np.array([np.interp(count, numbers, columns[:, at]) for at, count in enumerate(met / layout.ep)])
    return seconds / layout.expert_tp
