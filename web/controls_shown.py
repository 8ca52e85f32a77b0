"""The controls of the Train page as widgets, and the page's address, which always says what they say.

Streamlit's own binding to the address leaves out what is set before a control is first drawn, and forgets all on a
visit to another page; so the address is written here, and what was set is kept beside and put back.
"""

from collections.abc import Mapping
from typing import Final, cast, get_args

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from topologies.document import Value
from web.controls import (
    AUTOMATIC,
    BUILT,
    BY_HAND,
    DEFAULTS,
    DEGREES,
    Key,
    Setting,
    Settings,
    choices,
    degrees,
    from_address,
    in_address,
    opened,
    without,
    written,
)

KEYS: Final[tuple[Key, ...]] = get_args(Key)
TO_PUT: Final = "settings to be put into the controls"
KEPT: Final = "settings of the Train page"
WRITTEN: Final = "settings as they were written into the address"
PLAN: Final = "plan of the step last shown"
BY_READER: Final = "degrees that the reader set"
CARRIED: Final[tuple[Key, ...]] = ("tp", "pp", "vpp", "cp", "ep")
"""The degrees with which going on by hand begins; the others follow from these."""
FOLLOWERS: Final[Mapping[Key, tuple[Key, ...]]] = {
    "gpus": ("dp",),
    "tp": ("dp",),
    "pp": ("dp", "vpp"),
    "cp": ("dp",),
}
"""What goes with each, where the reader has not set it himself."""
FABRICS: Final = (
    "ib-ndr400x8",
    "ib-hdr200x8",
    "roce-400x8",
    "roce-200x8",
    "efa-400x8",
    "ethernet-100x1",
    "nvlink-only",
)
LABELS: Final[Mapping[Key, tuple[str, str]]] = {
    "tp": ("tp", "Tensor parallelism: every matrix split over so many GPUs."),
    "pp": ("pp", "Pipeline parallelism: the layers split over so many ranks."),
    "vpp": ("vpp", "Model chunks per pipeline rank; more than 1 is an interleaved schedule."),
    "cp": ("cp", "Context parallelism: every sequence split over so many GPUs."),
    "ep": ("ep", "Expert parallelism: the experts dealt to so many of the tp x cp x dp GPUs."),
    "dp": ("dp", "Data parallelism: replicas. Left empty, they fill the GPUs."),
    "zero": ("zero", "What is divided over the replicas: 1 optimizer state, 2 gradients too, 3 weights too (FSDP)."),
    "sp": ("sp", "Megatron's sequence parallelism: norms and dropout split along the sequence; on where tp > 1."),
}


def put(settings: Mapping[Key, Setting]) -> None:
    """Set controls, when they are drawn next."""
    st.session_state[TO_PUT] = settings
    st.session_state[BY_READER] = set()


def set_gpus(gpus: int) -> None:
    """In answer to a button."""
    st.session_state["gpus"] = gpus
    _follow("gpus")


def remove(key: Key) -> None:
    """Drop a model, cluster or framework that was opened; its control goes back to what it is at first."""
    st.session_state["more"] = without(key, _said("more"))
    st.session_state[key] = DEFAULTS[key]


def shows_page_anew() -> bool:
    """Whether the reader comes from another page, and by no link: then all is as he left it."""
    return "model" not in st.session_state and not any(key in st.query_params for key in KEYS)


def arrive() -> None:
    """Take the settings from the address where it is a link or the way back, else those before another page's visit.

    Raises InputError for an address that says what no control offers.
    """
    said = {key: st.query_params[key] for key in KEYS if key in st.query_params}
    if shows_page_anew() and KEPT in st.session_state:
        put(st.session_state[KEPT])
    elif said != st.session_state.get(WRITTEN, {}):
        st.session_state[WRITTEN] = said
        put(from_address(said))


def draw() -> tuple[Settings, DeltaGenerator]:
    """The controls: what they say, and a place beside the less usual ones."""
    for key, value in st.session_state.pop(TO_PUT, {}).items():
        st.session_state[key] = value
    _main()
    if st.session_state.get("cluster") == BUILT:
        _built()
    if st.session_state["layout"] == BY_HAND:
        _degrees()
    beside = st.container(horizontal=True)
    with beside:
        _others()
    settings = {key: _said(key) for key in KEYS}
    st.session_state[KEPT] = settings
    _write(in_address(settings))
    return settings, beside


def _said(key: Key) -> Setting:
    """What a control says; of one that is not shown, what it said before."""
    kept = st.session_state.get(KEPT, DEFAULTS)
    return cast("Setting", st.session_state.get(key, kept[key]))


def _write(said: Mapping[str, str]) -> None:
    others = {key: st.query_params[key] for key in st.query_params if key not in KEYS}
    st.session_state[WRITTEN] = said
    if st.query_params.to_dict() != {**others, **said}:
        st.query_params.from_dict({**others, **said})


def _main() -> None:
    """In one row, where the window has room for it."""
    with st.container(horizontal=True, key="main"):
        _select("model", "Model", "A model of the catalogue; one of your own opens below.")
        _select("cluster", "Cluster", "What a node is, and how nodes are joined.")
        _number("gpus", "GPUs", "How many GPUs run the step.")
        _layout()
        _choice("schedule", "Schedule", "The order of forward and backward passes in a pipeline.")
        _choice("recompute", "Recompute", "What the backward pass computes again; the least that fits.")


def _built() -> None:
    gpu, fabric = st.columns(2)
    with gpu:
        _select("gpu", "GPU", "The nodes hold eight of them, or as many as is usual.")
    with fabric:
        st.selectbox(
            "Fabric",
            FABRICS,
            key="fabric",
            accept_new_options=True,
            help="Type and Gb/s of a NIC x NICs a node, such as ib-ndr400x8 or roce-200x4; or type another.",
        )


def _layout() -> None:
    st.segmented_control(
        "Layout",
        choices("layout"),
        default=DEFAULTS["layout"],
        key="layout",
        required=True,
        on_change=_take_over,
        help="How the model is spread. Chosen for me: as little tensor and pipeline parallelism as fits in memory.",
    )


def _take_over() -> None:
    """Going on by hand begins with what was chosen."""
    if st.session_state["layout"] == BY_HAND:
        plan: Mapping[str, Value] = st.session_state.get(PLAN, {})
        put({key: written(plan.get(key)) if key in CARRIED else None for key in DEGREES})


def _follow(key: Key) -> None:
    """What the reader sets stays; what he left to follow from it does."""
    set_by_reader = st.session_state.setdefault(BY_READER, set())
    set_by_reader.add(key)
    for follower in FOLLOWERS.get(key, ()):
        if follower not in set_by_reader:
            st.session_state[follower] = None


def _degrees() -> None:
    with st.container(horizontal=True, key="degrees"):
        for key in DEGREES:
            label, why = LABELS[key]
            if key == "sp":
                _choice(key, label, why, "auto")
            else:
                _degree(key, label, why)


def _degree(key: Key, label: str, why: str) -> None:
    st.selectbox(
        label,
        degrees(key, {other: _said(other) for other in ("gpus", *DEGREES)}),
        index=None,
        key=key,
        placeholder="auto",
        accept_new_options=key != "zero",
        on_change=_follow,
        args=(key,),
        help=why,
    )


def _others() -> None:
    with st.expander("Batch, precision, framework, price, and all other settings"):
        micro, batch, seq_len, precision = st.columns(4)
        with micro:
            _number("micro", "Micro-batch", "Sequences per microbatch; 1 where it is empty.")
        with batch:
            _number("batch", "Global batch", "Sequences per step; about 4 million tokens where it is empty.")
        with seq_len:
            _number("seq_len", "Sequence length", "Tokens per sequence; the model's own where it is empty.")
        with precision:
            _select("precision", "Precision", "That of the large products.")
        framework, tokens, price = st.columns([2, 1, 1])
        with framework:
            _select("framework", "Framework", "The training software: what it fuses and overlaps.")
        with tokens:
            _text("tokens", "Tokens of the run", "1T", "Such as 15T, for the days and dollars of the run.")
        with price:
            _text("price", "Dollars per GPU-hour", "on-demand", "Such as 2.50; or on-demand or reserved.")
        st.text_area(
            "More settings (YAML)",
            key="more",
            height=100,
            max_chars=20_000,
            placeholder="jitter: 0.02\nmodel: {num_layers: 16}\nplan: {offload: optimizer}",
            help="Any field of a scenario; it is laid over the controls. What it says of the model or of the cluster "
            "goes when another is chosen.",
        )


def _select(key: Key, label: str, why: str) -> None:
    """One of the choices, never none."""
    offered, own = choices(key), opened(key, _said("more"))
    if own:
        st.session_state[key] = own
    elif st.session_state.get(key, DEFAULTS[key]) not in offered:
        st.session_state[key] = DEFAULTS[key]
    usual = offered.index(str(DEFAULTS[key]))
    st.selectbox(label, [own, *offered] if own else offered, usual, key=key, help=why, on_change=_drop, args=(key,))


def _drop(key: Key) -> None:
    """Another one was chosen: what was said of the one before goes."""
    st.session_state["more"] = without(key, _said("more"))


def _choice(key: Key, label: str, why: str, placeholder: str = AUTOMATIC) -> None:
    """One of the choices, or what is chosen automatically."""
    st.selectbox(label, choices(key), index=None, key=key, placeholder=placeholder, help=why)


def _number(key: Key, label: str, why: str) -> None:
    """Bounds are for the scenario to say in words; a box with bounds keeps silent."""
    usual = DEFAULTS[key]
    value = usual if isinstance(usual, int) else None
    st.number_input(
        label,
        value=value,
        step=1,
        key=key,
        on_change=_follow,
        args=(key,),
        placeholder=AUTOMATIC,
        help=why,
    )


def _text(key: Key, label: str, placeholder: str, why: str) -> None:
    st.text_input(label, key=key, placeholder=placeholder, max_chars=30, help=why)
