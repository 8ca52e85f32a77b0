"""Steps of the tour about whole layouts: three dimensions at once, and when to use which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from topologies.document import Value
from topologies.quantity import percent, seconds
from web.answers.lessons.lesson import Bar, Bars, Lesson, Run, gib, run, share, time_bar, time_bars, to_train

GIANT, GIANT_CLUSTER, GIANT_GPUS = "gpt-1t", "dgx-a100", 3072
PER_REPLICA: Final = 512
NARAYANAN: Final = "https://arxiv.org/abs/2104.04473"
"""Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM."""
WIDTHS: Final = (8, 16, 32)


def cube(width: int, batch: int) -> Lesson:
    """A trillion parameters on 3,072 GPUs, by how many of them share a layer."""
    runs = {each: _giant(each, batch) for each in WIDTHS}
    one = runs[width]
    best = min(runs, key=lambda each: runs[each].step_time)
    depth, copies, node = PER_REPLICA // width, GIANT_GPUS // PER_REPLICA, one.cluster.node.num_gpus
    return Lesson(
        sentences=(
            f"The three are multiplied. For {GIANT} {width} GPUs share each layer, {depth} such groups are the stages "
            f"of a pipeline, and {copies} pipelines share the batch: {width} x {depth} x {copies} = {GIANT_GPUS:,} "
            f"GPUs.",
            "Each has its natural place: tensor parallelism, which talks several times in every layer, inside the "
            "node; pipelines, whose messages are small, between nodes; replicas, which talk once a step, furthest "
            "apart.",
            f"More tensor parallelism makes a shorter pipeline with a smaller bubble, but its communication grows, and "
            f"beyond {node} GPUs leaves the node. Narayanan et al. ([2021, table 1]({NARAYANAN})) ran this model with "
            f"8 x 64 x 6 and a batch of 3,072; here the batch is {batch:,}, {batch // copies} microbatches for each "
            f"pipeline.",
        ),
        figures=(
            time_bars(
                f"{GIANT} on {GIANT_GPUS:,} A100s, 1F1B, a batch of {batch:,}",
                "seconds per step",
                [
                    time_bar(f"tp {each} x pp {PER_REPLICA // each}", other, note=f"MFU {share(other.mfu)}")
                    for each, other in runs.items()
                ],
            ),
        ),
        finding=(
            f"With tp {width}: bubble {share(one.bubble)}, communication exposed {share(one.exposed)}, a step "
            f"{seconds(one.step_time)}, {gib(one.reserved)} of {gib(one.capacity)}. The fastest of the three is "
            f"tp {best}."
        ),
        ways=(to_train(one),),
        command=one.command,
        scenario=one.text,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A situation, what the rule of thumb says of it, and the layouts to try: the rule's is the first."""

    name: str
    rule: str
    fields: Mapping[str, Value]
    layouts: Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A rule and what the simulator says of it just now."""

    name: str
    rule: str
    advised: str
    fastest: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The runs of one case, and whether its rule holds."""

    lesson: Lesson
    checked: Checked


CASES: Final[Mapping[str, Case]] = {
    "small": Case(
        name="8B, one node",
        rule="The model states fit once they are sharded: use data parallelism with ZeRO alone.",
        fields={"model": "llama3-8b", "cluster": "dgx-h100", "gpus": 8, "batch": {"global": 128}},
        layouts={
            "ZeRO 3 over 8": {"dp": 8, "zero": 3},
            "tp 8": {"tp": 8},
            "pp 8": {"pp": 8},
            "tp 2 x dp 4": {"tp": 2},
        },
    ),
    "large": Case(
        name="70B, eight nodes",
        rule="Tensor parallelism inside the node, the shortest pipeline that fits across, replicas for the rest.",
        fields={"model": "llama3-70b", "cluster": "dgx-h100", "gpus": 64, "batch": {"global": 256}},
        layouts={
            "tp 8 x pp 2 x dp 4": {"tp": 8, "pp": 2},
            "ZeRO 3 over 64": {"tp": 1, "zero": 3},
            "tp 8 x dp 8": {"tp": 8},
            "pp 16 x dp 4": {"tp": 1, "pp": 16},
        },
    ),
    "long": Case(
        name="8B, 131,072 tokens",
        rule="Activations, not weights, fill the memory: use context parallelism before recomputing layers.",
        fields={
            "model": "llama3-8b",
            "cluster": "dgx-h100",
            "gpus": 64,
            "batch": {"global": 32, "seq_len": 131072},
        },
        layouts={
            "tp 2 x cp 8 x dp 4": {"tp": 2, "cp": 8},
            "tp 8 x cp 2 x dp 4": {"tp": 8, "cp": 2},
            "tp 8 x dp 8": {"tp": 8},
        },
    ),
    "experts": Case(
        name="30B of experts",
        rule="Deal the experts over as few GPUs as memory allows, and stay inside the node.",
        fields={
            "model": "qwen3-30b-a3b",
            "cluster": "dgx-h100",
            "gpus": 64,
            "batch": {"global": 256, "seq_len": 4096},
        },
        layouts={
            "ep 4": {"tp": 1, "ep": 4, "recompute": "full"},
            "ep 2": {"tp": 1, "ep": 2, "recompute": "full"},
            "ep 32": {"tp": 1, "ep": 32, "recompute": "full"},
            "tp 4": {"tp": 4, "recompute": "full"},
        },
    ),
}


def choice(name: str) -> Choice:
    """The layouts of a case, played, with what the rule of thumb says of it."""
    case = CASES[name]
    runs = {said: run({**case.fields, "plan": dict(plan)}) for said, plan in case.layouts.items()}
    checked = _checked(case, runs)
    shown = runs[checked.advised]
    return Choice(
        lesson=Lesson(
            sentences=(
                "Use the least that fits, in this order: replicas with ZeRO, tensor parallelism up to the node, then "
                "pipelines; context parallelism for long sequences, expert parallelism for experts (Narayanan et al. "
                "2021; Llama Team 2024).",
                "The table checks such rules by playing them. A thin line on a bar is the interval that holds the "
                "truth in four of five cases like those that were measured. Where two intervals overlap widely, the "
                "simulator does not know which is faster: try both.",
                "What to change next is told by the longest part of the bar that is not compute: a bubble wants more "
                "microbatches, exposed communication faster wires or fewer GPUs in that group.",
            ),
            figures=(_times(case, runs),),
            finding=f"{case.rule} {checked.verdict}",
            ways=(to_train(shown),),
            command=shown.command,
            scenario=shown.text,
        ),
        checked=checked,
    )


def _times(case: Case, runs: Mapping[str, Run]) -> Bars:
    return time_bars(case.name, "seconds per step", [_time(said, one) for said, one in runs.items()])


def _time(said: str, one: Run) -> Bar:
    return time_bar(said, one, note=seconds(one.step_time) if one.fits else f"needs {gib(one.reserved)}")


def _checked(case: Case, runs: Mapping[str, Run]) -> Checked:
    advised = next(iter(runs))
    fitting = {said: one for said, one in runs.items() if one.fits} or runs
    fastest = min(fitting, key=lambda said: fitting[said].step_time)
    return Checked(
        name=case.name, rule=case.rule, advised=advised, fastest=fastest, verdict=_verdict(advised, fastest, runs)
    )


def _verdict(advised: str, fastest: str, runs: Mapping[str, Run]) -> str:
    if not runs[advised].fits:
        return f"Not here: {advised} does not fit."
    if advised == fastest:
        return f"It holds: {advised} is the fastest that fits."
    longer = runs[advised].step_time / runs[fastest].step_time - 1
    ours, theirs = runs[advised].interval, runs[fastest].interval
    said = f"{advised} takes {percent(longer)} longer than {fastest}"
    if ours is not None and theirs is not None and ours[0] <= theirs[1]:
        return f"It holds as far as can be told: {said}, and the intervals overlap."
    return f"It fails here: {said}."


def _giant(width: int, batch: int) -> Run:
    """Layer by layer: kernel by kernel, where tp and messages share wires, takes 20 times as long for 0.07 %."""
    plan: dict[str, Value] = {"tp": width, "pp": PER_REPLICA // width, "schedule": "1f1b", "recompute": "selective"}
    sizes: dict[str, Value] = {"global": batch}
    return run(
        {"model": GIANT, "cluster": GIANT_CLUSTER, "gpus": GIANT_GPUS, "plan": plan, "batch": sizes}, detail="layer"
    )
