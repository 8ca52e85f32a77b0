"""Steps of the tour about memory: one GPU is not enough, sharding what every replica keeps, long sequences."""

from collections.abc import Mapping

from sim.models.flops import attention_flops, hardware_flops, layers_flops, model_flops
from sim.models.transformer import num_parameters
from sim.reports.figures import count, days
from topologies.document import Value
from topologies.quantity import DAY, GIB, TERA, seconds
from web.answers.lessons.lesson import (
    Lesson,
    Run,
    data,
    gib,
    memory_bar,
    memory_bars,
    run,
    share,
    time_bar,
    time_bars,
    to_train,
)

ZERO_MODEL, LONG_MODEL = "llama3-8b", "llama3-8b"
ZERO_BATCH = 512
STATES = ("weights", "gradients", "optimizer")
LONG_CLUSTER, LONG_GPUS, LONG_TP = "dgx-h100", 64, 4


def one_gpu(model: str, cluster: str) -> Lesson:
    """What training the model would put on a single GPU, and how long it would take there."""
    runs = {kind: _alone(model, cluster, kind) for kind in ("none", "full")}
    kept, again = runs["none"], runs["full"]
    gpu, parameters = kept.cluster.gpu.name, num_parameters(kept.model)
    each = {name: kept.held[name] / parameters for name in STATES}
    states = sum(kept.held[name] for name in STATES)
    length = kept.model.max_seq_len
    extra = hardware_flops(kept.model, 1, length, "full") / model_flops(kept.model, 1, length) - 1
    saved = (kept.held["activations"], again.held["activations"] + again.held["recomputation"])
    held = {"every activation kept": kept, "layers recomputed": again}
    return Lesson(
        sentences=(
            f"A model is trained by running it forward, running it backward for the gradients, and letting an "
            f"optimizer take a step. **{model}** has {count(parameters)} parameters; in two bytes each its weights "
            f"alone take {data(kept.held['weights'])}.",
            f"Training keeps more: per parameter {each['weights']:.0f} bytes of weights, {each['gradients']:.0f} of "
            f"gradient and {each['optimizer']:.0f} for Adam, which holds a copy of the weight and two moments in fp32 "
            f"(Rajbhandari et al. 2020). Together {data(states)}.",
            f"The backward pass also needs what the forward pass computed, the *activations*: {data(saved[0])} for one "
            f"sequence of {length:,} tokens. To compute them again layer by layer leaves {data(saved[1])}, and costs "
            f"{share(extra)} more FLOPs.",
            f"And time: on one {gpu}, had it the room, a trillion tokens would take "
            f"{_long(TERA / again.tokens_per_s / DAY)}. So the work is spread, and that is what the nine steps to come "
            f"are about.",
        ),
        figures=(
            memory_bars(
                f"{model} on one {gpu}, one sequence at a time",
                [memory_bar(name, one) for name, one in held.items()],
                kept.capacity,
                gpu,
            ),
        ),
        finding=_fit(again, gpu, states),
        ways=(to_train(again),),
        command=again.command,
        scenario=again.text,
    )


def zero(gpus: int, cluster: str) -> Lesson:
    """The four stages of sharding over so many replicas: memory and time."""
    runs = {f"ZeRO {stage}": _sharded(gpus, cluster, stage) for stage in range(4)}
    none, full = runs["ZeRO 0"], runs["ZeRO 3"]
    parameters = num_parameters(none.model)
    states = {name: sum(one.held[key] for key in STATES) for name, one in runs.items()}
    fits = [name for name, one in runs.items() if one.fits]
    gpu = none.cluster.gpu.name
    return Lesson(
        sentences=(
            f"Every replica keeps the same optimizer state, gradients and weights: for {ZERO_MODEL} "
            f"{data(states['ZeRO 0'])} on each of {gpus} GPUs. ZeRO cuts them into {gpus} parts, and each GPU keeps "
            f"one (Rajbhandari et al. 2020).",
            "Stage 1 cuts the optimizer's state, stage 2 the gradients too, stage 3 the weights too, which is what "
            "PyTorch calls FSDP: a layer's weights are gathered just before they are used, and dropped after it.",
            f"Stages 1 and 2 send no more than plain data parallelism does: the all-reduce becomes a reduce-scatter of "
            f"gradients and an all-gather of new weights. Stage 3 gathers the weights of {count(parameters)} "
            f"parameters twice, forward and backward: half as much again in the same number format (Rajbhandari et "
            f"al. 2020).",
        ),
        figures=(
            memory_bars(
                f"{ZERO_MODEL} on {gpus} GPUs, memory of each",
                [memory_bar(name, one) for name, one in runs.items()],
                none.capacity,
                gpu,
            ),
            time_bars(
                "The same, time of a step",
                "seconds per step",
                [time_bar(name, one) for name, one in runs.items()],
            ),
        ),
        finding=(
            f"Model states shrink from {data(states['ZeRO 0'])} to {data(states['ZeRO 3'])} per GPU. "
            f"{', '.join(fits) or 'No stage'} {'fit' if len(fits) != 1 else 'fits'} in {gib(none.capacity)}; stage 3 "
            f"waits {share(full.exposed)} of its step for communication, stage 0 {share(none.exposed)}."
        ),
        ways=(to_train(full),),
        command=full.command,
        scenario=full.text,
    )


def long_sequences(seq_len: int, kind: str) -> Lesson:
    """What sequence and context parallelism take off a GPU's activations, and what they cost."""
    runs = {"tp 4 alone": _long_run(seq_len, {"tp": LONG_TP, "sp": False})}
    runs["+ sequence parallel"] = _long_run(seq_len, {"tp": LONG_TP, "sp": True})
    for degree in (2, 4, 8):
        runs[f"+ context parallel {degree}"] = _long_run(seq_len, {"tp": LONG_TP, "cp": degree, "cp_kind": kind})
    alone, sequence, most = runs["tp 4 alone"], runs["+ sequence parallel"], runs["+ context parallel 8"]
    model, gpu = alone.model, alone.cluster.gpu.name
    attention = attention_flops(model, seq_len)
    fits = [name for name, one in runs.items() if one.fits]
    return Lesson(
        sentences=(
            f"Activations grow with the sequence. Tensor parallelism cuts those inside attention and MLP, but norms "
            f"and dropout still see all {seq_len:,} tokens on each GPU.",
            "*Sequence parallelism* cuts these too, along the sequence, over the same GPUs: each all-reduce becomes a "
            "reduce-scatter and an all-gather of the same bytes (Korthikanti et al. 2022).",
            "*Context parallelism* gives each GPU a part of the sequence through the whole model. Only attention looks "
            "across: keys and values travel round a ring (Liu et al. 2023), are gathered first (Llama 3), or heads are "
            "exchanged for tokens by all-to-all (DeepSpeed-Ulysses).",
            f"Attention compares all pairs of tokens, so its FLOPs grow with the square: at {seq_len:,} tokens they "
            f"are {share(attention / (attention + layers_flops(model, seq_len)))} of the layers' work.",
        ),
        figures=(
            memory_bars(
                f"{LONG_MODEL}, sequences of {seq_len:,} tokens, nothing recomputed but attention scores",
                [memory_bar(name, one) for name, one in runs.items()],
                alone.capacity,
                gpu,
            ),
        ),
        finding=(
            f"Sequence parallelism: {gib(alone.reserved)} become {gib(sequence.reserved)}; context parallelism over 8 "
            f"leaves {gib(most.reserved)}. {_first(fits)} A step over the same batch takes {seconds(most.step_time)} "
            f"with it, {seconds(sequence.step_time)} without."
        ),
        ways=(to_train(most),),
        command=most.command,
        scenario=most.text,
    )


def _first(fits: list[str]) -> str:
    return f"The first that fits is *{fits[0].removeprefix('+ ')}*." if fits else "None of them fits."


def _fit(one: Run, gpu: str, states: float) -> str:
    if one.fits:
        return f"With layers recomputed it fits: {gib(one.reserved)} of {gib(one.capacity)} on one {gpu}."
    many = states / GIB / one.capacity
    return (
        f"It does not fit: {gib(one.reserved)} are needed, one {gpu} has {gib(one.capacity)}. The model states alone "
        f"would fill {many:,.1f} of them."
    )


def _alone(model: str, cluster: str, recompute: str) -> Run:
    plan: dict[str, Value] = {"tp": 1, "recompute": recompute}
    return run({"model": model, "cluster": cluster, "gpus": 1, "plan": plan, "batch": {"global": 1}})


def _sharded(gpus: int, cluster: str, stage: int) -> Run:
    plan: dict[str, Value] = {"tp": 1, "zero": stage, "recompute": "full"}
    return run({"model": ZERO_MODEL, "cluster": cluster, "gpus": gpus, "plan": plan, "batch": {"global": ZERO_BATCH}})


def _long_run(seq_len: int, plan: Mapping[str, Value]) -> Run:
    batch: dict[str, Value] = {"global": LONG_GPUS // LONG_TP, "seq_len": seq_len}
    whole: dict[str, Value] = {**plan, "recompute": "selective"}
    return run({"model": LONG_MODEL, "cluster": LONG_CLUSTER, "gpus": LONG_GPUS, "plan": whole, "batch": batch})


def _long(time: float) -> str:
    """A time of days or years."""
    year = 365.25
    return f"{time / year:,.0f} years" if time >= 2 * year else days(time)
