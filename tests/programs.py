"""Clusters, pipelines and plans small enough to be worked out by hand, for all tests that play them.

The toy cluster carries 1 byte/s over every wire and starts at once; times in quarters of a second are exact in binary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

import topologies
from sim import frameworks, models
from sim.frameworks import Framework
from sim.instructions import Activity, Block, Collective, Compute, Load, Record, Transfer, Wait
from sim.layers import Context
from sim.models import Transformer
from sim.plan import Plan
from sim.program import Program, Stream
from sim.schedules import SCHEDULES, Action
from sim.timeline import Timeline
from sim.training import simulate_training
from sim.workload import TrainingStep
from topologies.fabric import Wire
from topologies.hardware import Cluster, Fit, Gpu, Link, Network, Node, Pool

LLAMA = Context(
    model=models.load("llama3-70b"),
    gpu=topologies.gpu("h100-80gb-sxm"),
    framework=frameworks.load("megatron-core"),
    tp=8,
    sp=True,
    recompute="none",
    micro_batch=1,
    seq_len=8192,
    precision="bf16",
)
"""What a layer of Llama 3 70B knows of itself on eight H100."""

Part = tuple[str, str, int, int, int, float, float]
"""Label's name and category, kind, stage, microbatch, start, end of a span."""


def toy(num_gpus: int = 8, *, num_nodes: int = 1, bandwidth: float = 1.0, latency: float = 0.0) -> Cluster:
    """Nodes of `num_gpus`; NVLink and NIC alike."""
    fit = Fit(values={"bandwidth_efficiency": 1.0, "launch_latency": 0.0}, sources={})
    link = Link(name="wire", bandwidth=bandwidth, latency=latency, fit=fit)
    gpu = Gpu(
        name="toy",
        peak_flops={},
        memory_nbytes=1.0,
        memory_bandwidth=1.0,
        num_sms=1,
        l2_nbytes=1.0,
        power_limit=1.0,
        fit=Fit(values={}, sources={}),
    )
    node = Node(gpu=gpu, num_gpus=num_gpus, scale_up=link, nic=link, num_nics=num_gpus)
    return Cluster(name="toy", pools=(Pool(node=node, num_nodes=num_nodes),), network=Network(wiring="rail-optimised"))


def with_node(cluster: Cluster, **changes: object) -> Cluster:
    """The cluster with other facts in its nodes."""
    pool = cluster.pools[0]
    return replace(cluster, pools=(replace(pool, node=replace(pool.node, **changes)),))  # type: ignore[arg-type]


def program(
    streams: Sequence[Stream],
    activities: Mapping[tuple[Collective | Transfer, int], Activity] | None = None,
    groups: Mapping[tuple[str, int], tuple[int, ...]] | None = None,
) -> Program:
    """A program of these streams, no rank folded."""
    ranks = dict.fromkeys((stream.rank for stream in streams), 1)
    return Program(streams=tuple(streams), groups=groups or {}, activities=activities or {}, ranks_folded=ranks)


def collective(name: str, activity: Activity, arrivals: Mapping[int, float], after: float = 0.0) -> Program:
    """All ranks meet in one collective: rank r computes for arrivals[r] seconds, meets, computes `after` more."""
    meet = Collective(name=name, axis="tp", group="tp", operation="all_reduce", nbytes=1.0)
    last = (Compute(name="after", duration=after),) if after else ()
    members = tuple(arrivals)
    return program(
        [
            Stream(rank=rank, name="compute", steps=[(None, (Compute(name="before", duration=seconds), meet, *last))])
            for rank, seconds in arrivals.items()
        ],
        {(meet, rank): activity for rank in arrivals},
        {("tp", rank): members for rank in arrivals},
    )


HALF = Load(sms=1.0)
"""A kernel that needs all SMs: on `halved` GPUs it runs at half speed beside communication that holds one of two."""


def halved(num_gpus: int = 8) -> Cluster:
    """The toy, with two SMs to a GPU."""
    cluster = toy(num_gpus)
    gpu = replace(cluster.gpu, num_sms=2, fit=Fit(values={"memory_efficiency": 1.0}, sources={}))
    return with_node(cluster, gpu=gpu)


def beside(
    kernels: Mapping[int, Sequence[float]],
    activity: Activity,
    *,
    starts: Mapping[int, float] | None = None,
    load: Load = HALF,
    repeats: int = 1,
) -> Program:
    """Each rank computes kernels of these seconds while all meet in one collective, `repeats` times.

    A rank's communication stream comes to the meeting `starts[rank]` seconds after its first kernel began.
    """
    meet = Collective(name="sum", axis="tp", group="tp", operation="all_reduce", nbytes=1.0)
    streams = []
    for rank, seconds in kernels.items():
        delay = (starts or {}).get(rank, 0.0)
        first: Block = (Compute(name="delay", duration=delay),) if delay else ()
        main: Block = (
            Record("ready"),
            *(Compute(name=f"kernel {number}", duration=each, load=load) for number, each in enumerate(seconds)),
            Wait("done"),
        )
        side: Block = (Wait("ready"), *first, meet, Record("done"))
        for name, block in (("compute", main), ("tp", side)):
            streams.append(Stream(rank=rank, name=name, steps=[(Action("F", 0, m), block) for m in range(repeats)]))
    members = tuple(kernels)
    return program(streams, {(meet, rank): activity for rank in kernels}, {("tp", rank): members for rank in kernels})


def pipeline(
    schedule: str,
    num_ranks: int,
    num_chunks: int,
    num_microbatches: int,
    *,
    forward: float,
    backward: float,
    latency: float = 0.0,
    nbytes: float = 0.0,
    sender_waits: bool = False,
    first_rank: int = 0,
) -> Program:
    """A schedule whose passes take `forward` and `backward` seconds each, with one message between stages."""
    actions = SCHEDULES[schedule](num_ranks, num_chunks, num_microbatches).rows
    last = num_ranks * num_chunks - 1
    streams: list[Stream] = []
    activities: dict[tuple[Collective | Transfer, int], Activity] = {}
    seconds = {"F": forward, "B": backward}
    for place, row in enumerate(actions):
        rank, computing, sending = first_rank + place, dict[Action, Block](), dict[Action, Block]()
        for kind, stage in dict.fromkeys((action.kind, action.stage) for action in row):
            key = Action(kind, stage, 0)
            before, after = (stage - 1, stage + 1) if kind == "F" else (stage + 1, stage - 1)
            block: Block = (Compute(name=f"pass {kind}", duration=seconds[kind]),)
            block = (Wait(f"input {kind}{stage}"), *block) if 0 <= before <= last else block
            if 0 <= after <= last:
                peer = first_rank + after % num_ranks
                send = Transfer(name=f"send {kind}", axis="pp", peer=peer, flag=f"input {kind}{after}", nbytes=nbytes)
                wires = Wire("nvlink", "out", rank), Wire("nvlink", "in", peer)
                loads = tuple((wire, nbytes) for wire in wires) if nbytes else ()
                activities[send, rank] = Activity(latency=latency, loads=loads)
                gone = (f"sent {kind}{stage}",) if sender_waits else ()
                block = (*block, Record(f"output {kind}{stage}"), *map(Wait, gone))
                sending[key] = (Wait(f"output {kind}{stage}"), send, *map(Record, gone))
            computing[key] = block
        streams.append(_stream(rank, "compute", row, computing))
        for direction in "FB":
            own = {key: block for key, block in sending.items() if key.kind == direction}
            if own:
                streams.append(_stream(rank, f"send {direction}", row, own))
    return program(streams, activities)


def _stream(rank: int, name: str, row: Sequence[Action], blocks: Mapping[Action, Block]) -> Stream:
    keys = [(action, action._replace(microbatch=0)) for action in row]
    return Stream(rank=rank, name=name, steps=[(action, blocks[key]) for action, key in keys if key in blocks])


def plan(tp: int = 1, pp: int = 1, dp: int = 1, *, num_microbatches: int = 4, **other: object) -> Plan:
    """A plan with microbatches of one sequence; what is not said is off."""
    defaults = Plan(
        tp=tp,
        sp=False,
        pp=pp,
        vpp=1,
        dp=dp,
        zero=0,
        recompute="none",
        schedule="1f1b",
        micro_batch=1,
        global_batch=num_microbatches * dp,
    )
    return replace(defaults, **other)  # type: ignore[arg-type]


def small(name: str = "gpt-22b", num_layers: int = 4) -> Transformer:
    """A model of the catalogue with fewer layers."""
    return replace(models.load(name), num_layers=num_layers)


def train(
    layout: Plan,
    cluster: Cluster,
    model: Transformer | None = None,
    *,
    framework: str | Framework = "megatron-core",
    seq_len: int = 1024,
    **how: object,
) -> Timeline:
    """One step of a small model."""
    step = TrainingStep(seq_len=seq_len, precision="bf16")
    software = frameworks.load(framework) if isinstance(framework, str) else framework
    return simulate_training(model or small(), cluster, layout, step, software, **how)  # type: ignore[arg-type]


def spans(timeline: Timeline, rank: int, stream: str = "compute", *, shortest: float = 0.0) -> list[Part]:
    """The spans of one track in order, without those at most `shortest` seconds long."""
    track = next(i for i, track in enumerate(timeline.tracks) if (track.rank, track.stream) == (rank, stream))
    rows = np.flatnonzero((timeline.track == track) & (timeline.end - timeline.start > shortest))
    return [
        (
            timeline.labels[timeline.label[row]].name,
            timeline.labels[timeline.label[row]].category,
            int(timeline.kind[row]),
            int(timeline.stage[row]),
            int(timeline.microbatch[row]),
            float(timeline.start[row]),
            float(timeline.end[row]),
        )
        for row in rows
    ]


def assert_no_stream_overlaps_itself(timeline: Timeline) -> None:
    for track in timeline.tracks:
        for before, after in pairwise(spans(timeline, track.rank, track.stream)):
            assert before[6] <= after[5] + 1e-12 * timeline.duration
