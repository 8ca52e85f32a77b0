"""How large a step may be: what would take more than a minute, or more than 4 GB, is refused before it starts.

What is played takes about 10 us and 0.3 kB an operation; the actions of a schedule exist before they are played.
"""

from sim.detail import DETAILS, Detail
from sim.folding import fold
from sim.models import Transformer
from sim.plan import Plan
from topologies.document import InputError
from topologies.fabric import leaves_bind
from topologies.hardware import Cluster
from topologies.quantity import MEGA

MAX_OPERATIONS = 5_000_000
MAX_ACTIONS = 1_000_000
MAX_RANKS = 10_000
MAX_GPUS = 1_000_000
OPERATIONS_PER_ACTION = 4
OPERATIONS_PER_LAYER: dict[Detail, int] = {"kernel": 30, "layer": 1, "stage": 0}
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
        fix = _fewer(plan, MAX_ACTIONS // (2 * plan.num_stages))
        raise InputError(f"{made} with {degrees}, too many to simulate; use {fix}")


def is_long_schedule(plan: Plan) -> bool:
    """Whether `check_schedule` refuses."""
    return 2 * plan.num_stages * plan.num_microbatches > MAX_ACTIONS


def check_play(plan: Plan, model: Transformer, cluster: Cluster, detail: Detail) -> None:
    """Raises InputError, with what would do, where playing the plan would take too long."""
    num_ranks = len(fold(plan, cluster).ranks)
    if num_ranks > MAX_RANKS:
        raise InputError(f"{num_ranks:,} unequal ranks are too many to simulate; {_more_alike(plan, cluster)}")
    per_microbatch = _operations_per_microbatch(plan, model, num_ranks, detail)
    if plan.num_microbatches * per_microbatch > MAX_OPERATIONS:
        many = f"{plan.num_microbatches * per_microbatch / MEGA:.0f} million operations"
        fix = COARSER[detail] + _fewer(plan, MAX_OPERATIONS // per_microbatch)
        raise InputError(f"{many} are too many to simulate at {detail} detail; use {fix}")


def _more_alike(plan: Plan, cluster: Cluster) -> str:
    """Why the plan does not lie alike on all nodes, and what would."""
    if cluster.is_mixed:
        return f"use fewer GPUs, or give each kind of node whole pipeline ranks of tp x dp = {plan.tp * plan.dp} GPUs"
    if cluster.network.wiring == "torus":
        return "on a torus replicas differ by where they lie; use fewer GPUs"
    if cluster.network.ecmp or cluster.degraded:
        why = "messages are hashed to up-links" if cluster.network.ecmp else "a wire is degraded"
        return f"where {why} replicas differ by where they lie; use fewer GPUs"
    below = [cluster.node.num_gpus]
    if leaves_bind(cluster) and cluster.network.nodes_per_leaf:
        below.append(cluster.node.num_gpus * cluster.network.nodes_per_leaf)
    wholes = " and leaves of ".join(map(str, below))
    fix = f"use whole ones for each pipeline rank, and a tp that divides {below[0]}"
    return f"gpus={plan.num_gpus} with tp={plan.tp} does not lie alike on all nodes of {wholes} GPUs; {fix}"


def finest(plan: Plan, model: Transformer, cluster: Cluster, wanted: Detail) -> Detail:
    """The detail that is wanted, or the next coarser one that `check_play` lets pass; stage where none does."""
    coarser = DETAILS[DETAILS.index(wanted) :]
    return next((detail for detail in coarser if not _is_too_long(plan, model, cluster, detail)), DETAILS[-1])


def _is_too_long(plan: Plan, model: Transformer, cluster: Cluster, detail: Detail) -> bool:
    """Whether `check_play` refuses."""
    try:
        check_play(plan, model, cluster, detail)
    except InputError:
        return True
    return False


def _operations_per_microbatch(plan: Plan, model: Transformer, num_ranks: int, detail: Detail) -> int:
    per_direction = OPERATIONS_PER_ACTION * plan.num_stages + OPERATIONS_PER_LAYER[detail] * model.num_layers
    return 2 * per_direction * num_ranks // plan.pp


def _fewer(plan: Plan, num_microbatches: int) -> str:
    """At most so many microbatches, in whole rounds of the pipeline, as a flag."""
    rounds = max(1, num_microbatches // plan.pp)
    return f"--global-batch {rounds * plan.pp * plan.micro_batch * plan.dp} or less"
