"""How large a step may be: what would take more than a minute, or more than 4 GB, is refused before it starts.

What is played takes about 10 us and 0.3 kB an operation; the actions of a schedule exist before they are played, at
5 us each. Operations are counted from the plan, before anything is made, to about a third.
"""

from sim.detail import DETAILS, Detail
from sim.folding import fold, is_plain
from sim.models import Transformer
from sim.plan import Plan, is_schedule_file
from sim.variation import slowness
from topologies.document import InputError
from topologies.fabric import leaves_bind
from topologies.hardware import Cluster
from topologies.quantity import MEGA

MAX_OPERATIONS = 5_000_000
MAX_ACTIONS = 1_000_000
MAX_RANKS = 20_000
MAX_RANKS_ON_SHARED_WIRES = 10_000
MAX_GPUS = 1_000_000
OPERATIONS_PER_PASS = 4
"""Of a stage: receive, wait, send."""
KERNELS_PER_LAYER = 60
"""Forward and backward, with the collectives of tp."""
OPERATIONS_PER_RING_STEP = 14
"""Of a layer, forward and backward: attention on a piece of the sequence, its exchange, their flags, a correction."""
OPERATIONS_PER_GATHER = 16
"""Of a layer, forward and backward: weights gathered and gradients reduced in each microbatch, with their flags."""
OPERATIONS_PER_REDUCTION = 6
"""Of a layer: gradients reduced in each microbatch, with the flags and the kernel of a bucket."""
OPERATIONS_PER_COPY = 10
"""Of a layer: what it keeps copied to the host and back, with the flags, between which it is played by itself."""
SPLIT = ("zb-h1", "zb-h2", "zb-v", "v-half", "v-min")
"""Schedules whose backward pass comes in two halves."""
COARSER: dict[Detail, str] = {"kernel": "--detail layer, or ", "layer": "--detail stage, or ", "stage": ""}


def check_gpus(num_gpus: int) -> None:
    """Raises InputError for more GPUs than are simulated."""
    if num_gpus > MAX_GPUS:
        raise InputError(f"gpus={num_gpus} are too many to simulate; use at most {MAX_GPUS:,}")


def check_schedule(plan: Plan) -> None:
    """Raises InputError, with a batch that would do, where the plan's schedule alone is too long."""
    if is_long_schedule(plan):
        made = f"global_batch={plan.global_batch} makes {plan.num_microbatches:,} microbatches"
        degrees = f"tp={plan.tp} pp={plan.pp} vpp={plan.vpp} dp={plan.dp}"
        fix = _fewer(plan, MAX_ACTIONS // (_passes(plan) * plan.num_stages))
        raise InputError(f"{made} with {degrees}, too many to simulate; use {fix}")


def is_long_schedule(plan: Plan) -> bool:
    """Whether `check_schedule` refuses."""
    return _passes(plan) * plan.num_stages * plan.num_microbatches > MAX_ACTIONS


def check_play(
    plan: Plan, model: Transformer, cluster: Cluster, detail: Detail, *, jitter: float = 0.0, seed: int = 0
) -> None:
    """Raises InputError, with what would do, where playing the plan would take too long."""
    check_schedule(plan)
    slow = slowness(plan, cluster, jitter=jitter, seed=seed, together=detail != "kernel")
    num_ranks = len(fold(plan, cluster, slow).ranks)
    if num_ranks > (MAX_RANKS if is_plain(plan, cluster) else MAX_RANKS_ON_SHARED_WIRES):
        raise InputError(f"{num_ranks:,} unequal ranks are too many to simulate; {_more_alike(plan, cluster, jitter)}")
    per_microbatch = _operations_per_microbatch(plan, model, num_ranks, detail)
    if plan.num_microbatches * per_microbatch > MAX_OPERATIONS:
        many = f"{plan.num_microbatches * per_microbatch / MEGA:.0f} million operations"
        fix = COARSER[detail] + _fewer(plan, MAX_OPERATIONS // per_microbatch)
        raise InputError(f"{many} are too many to simulate at {detail} detail; use {fix}")


def _more_alike(plan: Plan, cluster: Cluster, jitter: float) -> str:
    """Why the plan does not lie alike on all nodes, and what would."""
    if jitter:
        return "with jitter each GPU has a speed of its own; use fewer GPUs, or no jitter"
    if cluster.is_mixed:
        return f"use fewer GPUs, or give each kind of node whole pipeline ranks of {plan.stride} GPUs"
    if cluster.network.wiring == "torus":
        return "on a torus replicas differ by where they lie; use fewer GPUs"
    if cluster.network.ecmp or cluster.degraded_wires:
        why = "messages are hashed to up-links" if cluster.network.ecmp else "a wire is degraded"
        return f"where {why} replicas differ by where they lie; use fewer GPUs"
    below = [cluster.node.num_gpus]
    if leaves_bind(cluster) and cluster.network.nodes_per_leaf:
        below.append(cluster.node.num_gpus * cluster.network.nodes_per_leaf)
    wholes = " and leaves of ".join(map(str, below))
    fix = f"use whole ones for each pipeline rank, and a tp that divides {below[0]}"
    return f"gpus={plan.num_gpus} with tp={plan.tp} does not lie alike on all nodes of {wholes} GPUs; {fix}"


def finest(
    plan: Plan, model: Transformer, cluster: Cluster, wanted: Detail, *, jitter: float = 0.0, seed: int = 0
) -> Detail:
    """The detail that is wanted, or the next coarser one that `check_play` lets pass; stage where none does."""
    for detail in DETAILS[DETAILS.index(wanted) :]:
        try:
            check_play(plan, model, cluster, detail, jitter=jitter, seed=seed)
        except InputError:
            continue
        return detail
    return DETAILS[-1]


def _operations_per_microbatch(plan: Plan, model: Transformer, num_ranks: int, detail: Detail) -> int:
    of_stages = OPERATIONS_PER_PASS * _passes(plan) * plan.num_stages
    return (of_stages + _operations_per_layer(plan, detail) * model.num_layers) * num_ranks // plan.pp


def _operations_per_layer(plan: Plan, detail: Detail) -> int:
    beside = _operations_beside(plan)
    if detail != "kernel":
        return beside + (_passes(plan) if detail == "layer" else 0)
    ring = OPERATIONS_PER_RING_STEP * plan.cp if plan.cp_kind == "ring" and plan.cp > 1 else 0
    return beside + KERNELS_PER_LAYER + ring


def _operations_beside(plan: Plan) -> int:
    """What other streams do for a layer of each microbatch, at any detail."""
    copies = OPERATIONS_PER_COPY if plan.offload in ("activations", "all") else 0
    if plan.zero < 2 or plan.num_replicas == 1:
        return copies
    return copies + (OPERATIONS_PER_GATHER if plan.zero == 3 else OPERATIONS_PER_REDUCTION)


def _passes(plan: Plan) -> int:
    """Passes of a microbatch through a stage; of a schedule in a file the most that there may be."""
    return 3 if plan.schedule in SPLIT or is_schedule_file(plan.schedule) else 2


def _fewer(plan: Plan, num_microbatches: int) -> str:
    """At most so many microbatches, in whole rounds of the pipeline, as a flag."""
    unit = plan.group or plan.pp
    rounds = max(1, num_microbatches // unit)
    return f"--global-batch {rounds * unit * plan.micro_batch * plan.dp} or less"
