"""Of the Serve page: its controls, each of them in the address, and the scenario that they say."""

from typing import Final

import streamlit as st

import topologies
from sim import models
from sim.frameworks import serving
from topologies.document import Value
from web.answers.serving_scenario import MOST_REQUESTS, Trace, text

DEGREES: Final = ("1", "2", "4", "8", "16", "32", "64")
PROMISES: Final = ("p99 ttft < 1 s", "p95 tpot < 30 ms", "p99 ttft < 2 s", "p95 tpot < 50 ms", "p99 e2el < 30 s")
FIRST_PROMISES: Final = PROMISES[:2]
WEIGHTS: Final = ("bf16", "fp16", "fp8", "fp8_block", "mxfp4", "nvfp4", "int8", "int4")
POLICIES: Final = ("vllm", "sglang", "trtllm-no-evict", "trtllm-max-utilization", "sarathi", "orca", "static")
ROUTERS: Final = ("round-robin", "least-loaded", "prefix-aware")
ARRIVALS: Final = {"rate": "at a rate", "users": "from users", "trace": "from a trace"}
ARRIVALS_HELP: Final = (
    "At a rate: whatever becomes of those before. From users: each sends the next request when the last is answered. "
    "From a trace: arrivals and lengths are those of a file."
)
SPREADS: Final = ("fixed", "uniform", "normal", "lognormal")
DEGREE_HELP: Final = {
    "tp": "Tensor parallelism: every matrix split over so many GPUs. With tp, pp, dp and replicas all empty, the "
    "smallest replica that holds the model well is taken.",
    "pp": "Pipeline parallelism: the layers split over so many stages.",
    "dp": "Data-parallel attention within a replica: so many ranks with requests and a cache of their own.",
    "ep": "Expert parallelism: the experts dealt to so many of the tp x dp GPUs; else each is split over tp.",
    "replicas": "Copies behind a router; left empty, they fill the GPUs.",
}
APART_HELP: Final = {
    "prefill_tp": "Tensor parallelism of replicas for prompts alone, whose caches are then sent to the others; none "
    "where it is empty.",
    "prefill_replicas": "How many of them; they take their GPUs from the others.",
}
LETTERS: Final = 2
"""Of a degree that is called as on the command line."""
LARGEST: Final = 10
"""MB of a trace."""
TRACE_HELP: Final = (
    f"CSV or JSONL, at most {LARGEST} MB, plain or in gzip: Azure, Mooncake, BurstGPT, LLMServingSim, the details of "
    "vllm bench serve, or columns arrival, prompt and output (docs/traces.md). It is read, never run, and not kept."
)
REQUESTS: Final = 300
PLAIN: Final = 120
"""Pixels of a control, which wrap where the page is narrow."""
PERCENT: Final = 100
WIDEST: Final = 0.99
"""Of a uniform length: below its mean there is room for no more."""


def draw() -> tuple[str, Trace | None]:
    """The scenario as text, and the reader's trace where requests come as one says.

    Raises InputError where the YAML holds no fields.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", key="serve-main"):
        fields = _what()
    with st.container(horizontal=True, vertical_alignment="bottom", key="serve-load"):
        load, trace = _load()
        promised: list[Value] = list(_promises())
    with st.expander("Precision, experts, scheduler, price, and all other settings"):
        others, deployment, of_load = _others(is_trace="rate_scale" in load)
    fields["deployment"] = {**_degrees(), **deployment}
    return text({**fields, **others, "load": {**load, **of_load}, "slo": promised or None}, _said("more")), trace


def _what() -> dict[str, Value]:
    """Model and hardware."""
    names, clusters = models.names(), topologies.names()
    model = st.selectbox(
        "Model", names, names.index("llama3-70b"), key="serve_model", bind="query-params", width=210,
        help="A model of the catalogue; more of it can be said as YAML below.",
    )  # fmt: skip
    cluster = st.selectbox(
        "Cluster", clusters, clusters.index("dgx-h100"), key="serve_cluster", bind="query-params", width=190,
        help="What a node is, and how nodes are joined.",
    )  # fmt: skip
    gpus = st.number_input(
        "GPUs", 1, 100_000, 8, 1, key="serve_gpus", bind="query-params", width=PLAIN, on_change=_make_room,
        help="How many GPUs serve.",
    )  # fmt: skip
    _degree("tp", "8")
    _degree("pp")
    _degree("replicas")
    return {"model": model, "cluster": cluster, "gpus": gpus}


def _degree(name: str, first: str | None = None, width: int = 100) -> None:
    st.selectbox(
        name.replace("_", " ").capitalize() if len(name) > LETTERS else name,
        DEGREES,
        None if first is None else DEGREES.index(first),
        key=f"serve_{name}",
        bind="query-params",
        placeholder="auto",
        accept_new_options=True,
        width=width,
        help={**DEGREE_HELP, **APART_HELP}[name],
    )


def _make_room() -> None:
    """For another number of GPUs: what does not fit into it any more follows from it again."""
    gpus = st.session_state["serve_gpus"] or 1
    st.session_state["serve_replicas"] = None
    taken = 1
    for name in ("tp", "pp", "dp"):
        said = str(st.session_state.get(f"serve_{name}") or "1")
        taken *= int(said) if said.isdecimal() else 1
    if taken == 0 or gpus % taken:
        st.session_state.update({"serve_tp": None, "serve_pp": None})


def _degrees() -> dict[str, Value]:
    """What was said of the layout."""
    said = {name: _said(name) for name in DEGREE_HELP}
    return {name: _number(degree) for name, degree in said.items() if degree}


def _said(name: str) -> str:
    return str(st.session_state.get(f"serve_{name}") or "")


def _load() -> tuple[dict[str, Value], Trace | None]:
    """How requests come, and how long they are."""
    kind = st.segmented_control(
        "Requests come", list(ARRIVALS), default="rate", required=True, key="serve_load", bind="query-params",
        format_func=ARRIVALS.__getitem__, help=ARRIVALS_HELP,
    )  # fmt: skip
    if kind == "trace":
        return _of_trace()
    load: dict[str, Value] = {}
    if kind == "users":
        load["concurrency"] = st.number_input(
            "Users", 1, MOST_REQUESTS, 32, 1, key="serve_users", bind="query-params", width=PLAIN,
            help="So many requests are under way at once.",
        )  # fmt: skip
    else:
        load["rate"] = st.number_input(
            "Requests/s", 0.01, 100_000.0, 8.0, 1.0, format="%.4g", key="serve_rate", bind="query-params",
            width=PLAIN, help="On average; how evenly they come is said below.",
        )  # fmt: skip
    load["input_len"] = _length("Prompt", "prompt", 1024, "Tokens of a prompt, in the mean.")
    load["output_len"] = _length("Answer", "answer", 256, "Tokens of an answer, in the mean.")
    return load, None


def _of_trace() -> tuple[dict[str, Value], Trace | None]:
    with st.popover("Open a trace", icon=":material/upload_file:"):
        file = st.file_uploader(
            "File", ["csv", "jsonl", "json", "gz"], max_upload_size=LARGEST, key="serve_trace", help=TRACE_HELP
        )
        st.caption(TRACE_HELP)
    faster = st.number_input(
        "Times as fast", 0.001, 1000.0, 1.0, 0.5, format="%.4g", key="serve_faster", bind="query-params", width=PLAIN,
        help="The trace's requests come so many times as fast as they came.",
    )  # fmt: skip
    st.empty()  # a trace has a control less than a rate, and those beside it stay in their place
    if file is None:
        return {"rate_scale": faster}, None
    return {"rate_scale": faster}, Trace(name=file.name, content=file.getvalue())


def _length(label: str, name: str, first: int, words: str) -> Value:
    """A number of tokens, or around it as the settings below say."""
    mean = st.number_input(
        label, 1, 1_000_000, first, 128, key=f"serve_{name}", bind="query-params", width=PLAIN, help=words
    )
    kind = str(st.session_state.get("serve_spread", SPREADS[0]))
    width = int(st.session_state.get("serve_width", 50)) / PERCENT
    if kind == "fixed" or not width:
        return mean
    if kind == "uniform":
        return {"mean": mean, "kind": kind, "range_ratio": min(width, WIDEST)}
    return {"mean": mean, "kind": kind, "deviation": max(1, round(mean * width))}


def _promises() -> list[str]:
    return st.multiselect(
        "Promised", PROMISES, FIRST_PROMISES, key="serve_slo", bind="query-params", accept_new_options=True, width=380,
        placeholder="p99 ttft < 2 s",
        help="Type others, of ttft, tpot, itl and e2el, by mean or a percentile: p99 ttft < 2 s, mean tpot < 40 ms.",
    )  # fmt: skip


def _others(*, is_trace: bool) -> tuple[dict[str, Value], dict[str, Value], dict[str, Value]]:
    """What is less often changed: fields of the scenario, of its deployment, of its load."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        deployment = _precision()
        _degree("dp")
        _degree("ep")
        deployment |= _apart() | _scheduler()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fields = _rest()
        load = _more_load(is_trace=is_trace)
    st.text_area(
        "More settings (YAML)",
        key="serve_more",
        bind="query-params",
        height=100,
        max_chars=20_000,
        placeholder="model: {num_layers: 40}\ndeployment: {speculation: {tokens: 3, acceptance: 0.7}}\n"
        "load: {prefix: {tokens: 512, groups: 4}}",
        help="Any field of a serving scenario; it is laid over the controls.",
    )
    return fields, deployment, load


def _precision() -> dict[str, Value]:
    weights = st.selectbox(
        "Weights", WEIGHTS, key="serve_weights", bind="query-params", width=PLAIN,
        help="Precision of the large products' weights; int8 and int4 are of weights only.",
    )  # fmt: skip
    cache = st.selectbox(
        "Keys and values", ("auto", "fp8"), key="serve_kv", bind="query-params", width=PLAIN,
        help="Precision of the cache; auto: as the activations.",
    )  # fmt: skip
    said: dict[str, Value] = {"weights": weights} if weights != WEIGHTS[0] else {}
    return said | ({"cache": {"precision": cache}} if cache != "auto" else {})


def _apart() -> dict[str, Value]:
    """Replicas for prompts alone."""
    for name in APART_HELP:
        _degree(name, width=150)
    tp, replicas = (_number(_said(name)) for name in APART_HELP)
    return {"prefill": {"tp": tp, "replicas": replicas or None}} if tp else {}


def _number(said: str) -> Value:
    """Numbers as numbers; the scenario says what is wrong with all else."""
    return int(said) if said.isdecimal() else said


def _scheduler() -> dict[str, Value]:
    policy = st.selectbox(
        "Scheduler", POLICIES, None, key="serve_policy", bind="query-params", placeholder="the framework's", width=200,
        help="Who runs in the next pass.",
    )  # fmt: skip
    seqs = _count("Requests at once", "seqs", "Of a scheduler, at most.")
    tokens = _count("Tokens of a pass", "tokens", "Of prompts and answers together, at most.")
    router = st.selectbox(
        "Router", ROUTERS, key="serve_router", bind="query-params", width=150, help="Which replica gets a request."
    )
    limits = {"policy": policy, "max_num_seqs": seqs, "max_num_batched_tokens": tokens}
    scheduling: dict[str, Value] = {name: value for name, value in limits.items() if value is not None}
    said: dict[str, Value] = {"scheduling": scheduling} if scheduling else {}
    return said | ({"router": router} if router != ROUTERS[0] else {})


def _count(label: str, name: str, words: str) -> int | None:
    return st.number_input(
        label, 1, 1_000_000, None, 1, key=f"serve_{name}", bind="query-params", placeholder="automatic", width=150,
        help=words,
    )  # fmt: skip


def _more_load(*, is_trace: bool) -> dict[str, Value]:
    load: dict[str, Value] = {
        "num_requests": st.number_input(
            "Requests", 1, MOST_REQUESTS, REQUESTS, 100, key="serve_requests", bind="query-params", width=PLAIN,
            help="How many are played. Few keep the page quick, and leave a p99 to the last of a hundred.",
        )
    }  # fmt: skip
    if is_trace:
        return load
    st.selectbox(
        "Lengths", SPREADS, key="serve_spread", bind="query-params", width=PLAIN,
        help="How prompts and answers spread around their means.",
    )  # fmt: skip
    st.slider(
        "Spread", 0, 200, 50, 10, format="%d %%", key="serve_width", bind="query-params", width=PLAIN,
        help="Of the mean: uniform, so much below and above it; normal and lognormal, the standard deviation.",
    )  # fmt: skip
    if _said("load") != "users":
        burstiness = st.number_input(
            "Burstiness", 0.01, 100.0, 1.0, 0.25, format="%.4g", key="serve_burstiness", bind="query-params",
            width=PLAIN, help="Shape of the gaps between requests: 1 Poisson, below 1 bursts, above 1 more evenly.",
        )  # fmt: skip
        load |= {"burstiness": burstiness} if burstiness != 1 else {}
    return load


def _rest() -> dict[str, Value]:
    framework = st.selectbox(
        "Framework", serving.names(), serving.names().index(serving.DEFAULT), key="serve_framework",
        bind="query-params", width=150, help="The serving software: scheduler, kernels, host.",
    )  # fmt: skip
    price = st.text_input(
        "Dollars per GPU-hour", key="serve_price", bind="query-params", placeholder="on-demand", max_chars=30,
        width=180, help="Such as 2.50; or on-demand or reserved.",
    )  # fmt: skip
    seed = st.number_input(
        "Seed", 0, 2**32 - 1, 0, 1, key="serve_seed", bind="query-params", width=PLAIN, help="Same seed, same draws."
    )
    return {"framework": framework, "price": price.removeprefix("$").strip() or None, "seed": seed or None}
