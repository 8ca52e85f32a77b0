"""Steps of the tour about spreading the batch and the layers' insides: replicas, cut matrices, experts."""

import math
from typing import Final
from urllib.parse import urlencode

from sim.models.transformer import active_parameters, num_parameters
from sim.reports.figures import count
from topologies.document import Value
from topologies.quantity import nbytes, rate, seconds
from web.answers.lessons.lesson import (
    Lesson,
    Line,
    Lines,
    Run,
    Way,
    data,
    gib,
    run,
    share,
    time_bar,
    time_bars,
    to_train,
)

COPIED: Final = "llama3.2-1b"
REPLICAS: Final = (8, 16, 32, 64, 128, 256, 512)
EACH: Final = 4
CUT: Final = "gpt-175b"
CUT_BATCH: Final = 4
WIDTHS: Final = (1, 2, 4, 8, 16, 32)
BF16: Final = 2
EXPERT_GPUS: Final = 64
EXPERTS: Final = {"qwen3-30b-a3b": (1, 2, 4, 8, 16, 32, 64), "mixtral-8x7b": (1, 2, 4, 8)}


def replicas(batch: int, cluster: str) -> Lesson:
    """One batch over ever more replicas, and a batch that grows with them."""
    same = {gpus: _copied(gpus, batch, cluster) for gpus in REPLICAS if gpus <= batch}
    grown = {gpus: _copied(gpus, EACH * gpus, cluster) for gpus in REPLICAS}
    first, last = min(same), max(same)
    one = same[last]
    gradient, traffic = one.held["gradients"], 2 * (last - 1) / last * one.held["gradients"]
    kept = _efficiency(same)[-1]
    return Lesson(
        sentences=(
            f"The simplest way to use many GPUs: each holds a whole copy of the model and takes its share of the "
            f"batch. Here {COPIED}, {count(num_parameters(one.model))} parameters.",
            f"Before the optimizer's step the copies must agree, so all gradients are added up over all GPUs: an "
            f"*all-reduce*. In a ring each GPU sends 2 (n - 1) / n times the gradients (Patarasuk and Yuan 2009): for "
            f"{data(gradient)} on {last} GPUs {data(traffic)}, nearly the same for any n.",
            f"The compute of each GPU, however, shrinks as GPUs are added to one batch: {batch // last} of {batch:,} "
            f"sequences are left on each of {last}. A batch that grows with the GPUs keeps them busy, but a batch "
            f"beyond a certain size teaches the model less per token (McCandlish et al. 2018).",
        ),
        figures=(
            Lines(
                title=f"{COPIED}: throughput per GPU",
                x_title="GPUs",
                y_title=f"of that on {first} GPUs",
                lines=(
                    _line(f"one batch of {batch:,} sequences", same),
                    _line(f"{EACH} sequences for each GPU", grown),
                ),
                said=f"{COPIED}: throughput per GPU falls to {share(kept)} of that on {first} GPUs as one batch is "
                f"spread over {last}; it stays at {share(_efficiency(grown)[-1])} where the batch grows with them",
            ),
        ),
        finding=(
            f"On {last} GPUs a step over {batch:,} sequences takes {seconds(one.step_time)}, {share(one.exposed)} of "
            f"it waiting for the all-reduce: each GPU does {share(kept)} of what it did on {first}. With {EACH} "
            f"sequences for each, {share(_efficiency(grown)[-1])} on {max(grown)}."
        ),
        ways=(
            to_train(one),
            _to_lab(
                "See what an all-reduce costs in the Communication lab",
                {"on": cluster, "ranks": str(last), "bytes": nbytes(2.0 ** round(math.log2(gradient)))},
            ),
        ),
        command=one.command,
        scenario=one.text,
    )


def tensor(cluster: str) -> Lesson:
    """One layer's matrices over 1 to 32 GPUs, within a node and beyond it."""
    runs = {width: _cut(width, cluster) for width in WIDTHS}
    one = runs[1]
    node, model = one.cluster.node, one.model
    message = model.hidden * model.max_seq_len * BF16
    within = [width for width in WIDTHS if width <= node.num_gpus]
    beyond = min(width for width in WIDTHS if width > node.num_gpus) if max(WIDTHS) > node.num_gpus else None
    inside = runs[max(within)]
    assert node.nic is not None
    return Lesson(
        sentences=(
            "Tensor parallelism cuts every matrix product: the first of an MLP by columns, the second by rows, "
            "attention by heads. Each GPU computes a part of every layer for every token (Shoeybi et al. 2019).",
            f"The parts must be added up: two all-reduces forward and two backward in each layer. For {CUT} each moves "
            f"{data(message)} per sequence, {4 * model.num_layers} times a microbatch, and the next product waits.",
            f"So it wants the fastest wires. In a node of {cluster} a GPU has {rate(node.scale_up.bandwidth)} to its "
            f"{node.num_gpus - 1} neighbours; out of the node "
            f"{rate(node.nic.bandwidth * node.num_nics / node.num_gpus)}, by data sheet and in one direction.",
        ),
        figures=(
            time_bars(
                f"{CUT}: what {CUT_BATCH} sequences cost in all GPUs together",
                "GPU-seconds",
                [
                    time_bar(f"tp {width}", each, scale=width, note=f"MFU {share(each.mfu)}")
                    for width, each in runs.items()
                ],
            ),
        ),
        finding=(
            f"Over the {max(within)} GPUs of a node tensor parallelism costs {share(inside.exposed)} of the step"
            + (f"; over {beyond} GPUs of several nodes {share(runs[beyond].exposed)}." if beyond else ".")
            + " The bars that are marked do not fit in memory: only the times are meant here."
        ),
        ways=(
            to_train(inside),
            _to_lab(
                "NVLink against the network, in the Communication lab",
                {"on": cluster, "lab": "Tensor parallelism", "layer": CUT},
            ),
        ),
        command=inside.command,
        scenario=inside.text,
    )


def experts(model: str, cluster: str) -> Lesson:
    """A model of experts, dealt to ever more GPUs."""
    runs = {degree: _dealt(model, cluster, degree) for degree in EXPERTS[model]}
    one, most = runs[1], runs[max(runs)]
    moe, node = one.model.moe, one.cluster.node.num_gpus
    assert moe is not None
    fits = [degree for degree, each in runs.items() if each.fits]
    best = min(fits or runs, key=lambda degree: runs[degree].step_time)
    return Lesson(
        sentences=(
            f"In a mixture of experts a router sends each token to a few of many MLPs: in {model} to {moe.top_k} of "
            f"{moe.num_experts}. A token meets {count(active_parameters(one.model))} of "
            f"{count(num_parameters(one.model))} parameters (Shazeer et al. 2017).",
            "Expert parallelism deals the experts to the GPUs. Each token's activation travels to the GPUs of its "
            "experts and back: an *all-to-all* before and one after, forward and backward, in each layer of experts "
            "(Lepikhin et al. 2020).",
            f"More GPUs per set of experts means less memory on each, and fewer replicas whose gradients are summed. "
            f"But the tokens travel further: beyond {node} GPUs they leave the node. And the step lasts as long as "
            f"that of the busiest expert; here tokens are taken to be routed evenly.",
        ),
        figures=(
            time_bars(
                f"{model} on {EXPERT_GPUS} GPUs",
                "seconds per step",
                [
                    time_bar(f"ep {degree}", each, note=f"{seconds(each.step_time)}, {gib(each.reserved)}")
                    for degree, each in runs.items()
                ],
            ),
        ),
        finding=(
            f"One GPU needs {gib(one.reserved)} without, {gib(most.reserved)} with ep {max(runs)}; it has "
            f"{gib(one.capacity)}. The all-to-alls take {share(most.share(*_ALL_TO_ALL))} of the step there. The "
            f"fastest that fits is ep {best}."
        ),
        ways=(to_train(runs[best]),),
        command=runs[best].command,
        scenario=runs[best].text,
    )


_ALL_TO_ALL: Final = ("exposed expert-parallel communication",)


def _to_lab(words: str, settings: dict[str, str]) -> Way:
    return Way(words=words, address=f"/links?{urlencode(settings)}")


def _line(name: str, runs: dict[int, Run]) -> Line:
    efficiency = _efficiency(runs)
    texts = [f"{one.tokens_per_s / gpus:,.0f} tokens/s per GPU, {share(one.exposed)} of the step exposed communication"
             for gpus, one in runs.items()]  # fmt: skip
    return Line(name=name, x=tuple(map(float, runs)), y=efficiency, texts=tuple(texts))


def _efficiency(runs: dict[int, Run]) -> tuple[float, ...]:
    """Throughput per GPU, of that on the fewest."""
    first = min(runs)
    return tuple(one.tokens_per_s / gpus / (runs[first].tokens_per_s / first) for gpus, one in runs.items())


def _copied(gpus: int, batch: int, cluster: str) -> Run:
    plan: dict[str, Value] = {"tp": 1, "zero": 0}
    return run({"model": COPIED, "cluster": cluster, "gpus": gpus, "plan": plan, "batch": {"global": batch}})


def _cut(width: int, cluster: str) -> Run:
    plan: dict[str, Value] = {"tp": width, "recompute": "selective"}
    return run({"model": CUT, "cluster": cluster, "gpus": width, "plan": plan, "batch": {"global": CUT_BATCH}})


def _dealt(model: str, cluster: str, degree: int) -> Run:
    plan: dict[str, Value] = {"tp": 1, "ep": degree, "recompute": "full"}
    batch: dict[str, Value] = {"global": 256, "seq_len": 4096}
    return run({"model": model, "cluster": cluster, "gpus": EXPERT_GPUS, "plan": plan, "batch": batch})
