"""Fields that change nothing beside the others: whoever writes one expects something of it, so it is refused."""

from collections.abc import Iterator

from sim.deployment import Deployment, ExpertPlacement, Layout, Policy, Scheduling
from sim.models import Transformer

RATIOS = ("new_token_ratio", "min_new_token_ratio", "new_token_decay")


def of_layout(layout: Layout) -> Iterator[tuple[str, str]]:
    """By field, why it changes nothing, and what to write instead."""
    own = Layout()
    if layout.cp == 1 and layout.cp_kind != own.cp_kind:
        yield "cp_kind", "cp is 1, so that it changes nothing; write cp: 2 or more, or take it out"
    if layout.ep == 1 and layout.ep_kind != own.ep_kind:
        yield "ep_kind", "ep is 1, so that it changes nothing; write ep: 2 or more, or take it out"


def of_deployment(deployment: Deployment, policy: Policy, model: Transformer) -> Iterator[tuple[str, str]]:
    """The same of all else; `policy` is the scheduler's, said or not."""
    own = Deployment()
    if deployment.router != own.router and deployment.replicas * deployment.layout.dp == 1:
        yield "router", "all requests go to one rank; take it out, or write more replicas"
    elif deployment.router_delay != own.router_delay and deployment.router == "round-robin":
        yield "router_delay", "round-robin counts nothing; write router: least-loaded, or take it out"
    if policy != "sglang":
        said, default = deployment.scheduling, Scheduling()
        for name in RATIOS:
            if getattr(said, name) != getattr(default, name):
                yield f"scheduling.{name}", f"is for policy sglang, not {policy}; take it out"
    if deployment.experts != ExpertPlacement():
        yield from _placement(deployment, model)


def _placement(deployment: Deployment, model: Transformer) -> Iterator[tuple[str, str]]:
    field = "experts.redundant" if deployment.experts.redundant else "experts.rebalanced"
    if model.moe is None:
        yield field, f"{model.name} has no experts; take it out"
    elif deployment.layout.ep == 1:
        yield field, "each expert is split over all ranks, so that none is busier; write ep: 2 or more, or take it out"
