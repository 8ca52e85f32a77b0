"""The page Learn: a tour in ten steps, each with a figure that is simulated while one reads, and a control to turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from web import chrome
from web.answers.lessons import copies, layouts, memory, pipelines
from web.answers.lessons.lesson import Bars, Figure, Lesson, Lines, figures_csv
from web.charts.lessons import bars, lines
from web.components.pipelines import pipelines as draw_pipelines
from web.simulations import ahead, ask

Value = TypeVar("Value", int, str)

STEP: Final = "step"
BIND: Final = "query-params"
WORDS: Final = 400
FIGURES: Final = 600
"""Pixels, side by side where the window has room for both."""
CLUSTERS: Final = ("dgx-a100", "dgx-h100", "dgx-h200", "dgx-b200")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something to try: its words, and the controls that it turns."""

    words: str
    turns: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A step of the tour: its title, its controls with what they lead to, and a question."""

    title: str
    lesson: Callable[[], Lesson]
    question: Question


def page() -> None:
    """The step that the address names, between the ways back and on."""
    chrome.head("Learn", "Why training a large model takes many GPUs, and what each way of sharing the work costs.")
    number = _number()
    stop = STOPS[number - 1]
    st.subheader(f"{number}. {stop.title}", anchor=False)
    lesson = stop.lesson()
    with st.container(horizontal=True, gap="medium"):
        words, figures = st.container(width=WORDS), st.container(width=FIGURES)
    with figures:
        for place, each in enumerate(lesson.figures):
            _draw(each, f"lesson-{number}-{place}")
    with words:
        for sentence in lesson.sentences:
            st.markdown(sentence)
        st.info(lesson.finding, icon=":material/monitoring:")
        _go_on(stop, lesson)
    chrome.foot(command=lesson.command, downloads=_downloads(number, lesson), key="learn")


def _downloads(number: int, lesson: Lesson) -> list[chrome.Download]:
    """What the figures show, and the scenario that the command plays, where there is one."""
    figures = chrome.Download(
        label="Figures (CSV)", name=f"step-{number}.csv", mime="text/csv", content=partial(figures_csv, lesson.figures)
    )
    if not lesson.scenario:
        return [figures]
    text = lesson.scenario
    return [
        chrome.Download(label="Scenario (YAML)", name="scenario.yaml", mime="application/yaml", content=text.encode),
        figures,
    ]


def _number() -> int:
    """The step, with the ways to the others."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        before = st.container(width="content")
        number = st.segmented_control(
            "step of the tour",
            range(1, len(STOPS) + 1),
            default=1,
            required=True,
            key=STEP,
            bind=BIND,
            label_visibility="collapsed",
        )
        _way(before, "Back", number - 1)
        _way(st.container(width="content"), "Next", number + 1)
    return number


def _way(place: DeltaGenerator, words: str, number: int) -> None:
    """A button that leads to another step, if there is one."""
    is_back = words == "Back"
    place.button(
        words,
        icon=":material/arrow_back:" if is_back else ":material/arrow_forward:",
        icon_position="left" if is_back else "right",
        disabled=not 1 <= number <= len(STOPS),
        on_click=_to,
        args=(number,),
    )


def _to(number: int) -> None:
    st.session_state[STEP] = number


def _turn(turns: Mapping[str, object]) -> None:
    st.session_state.update(turns)


def _go_on(stop: Stop, lesson: Lesson) -> None:
    """A question that turns a control, and links to where all can be changed."""
    st.button(
        stop.question.words,
        icon=":material/help:",
        on_click=_turn,
        args=(stop.question.turns,),
        help="turns the control to it",
        key="try",
    )
    for way in lesson.ways:
        st.markdown(f"[{way.words}]({way.address})")


def _draw(figure: Figure, key: str) -> None:
    match figure:
        case Bars():
            st.altair_chart(bars(figure), alt=figure.said, key=key)
        case Lines():
            st.altair_chart(lines(figure), alt=figure.said, key=key)
        case _:
            draw_pipelines(figure.canvas, key=key)


def _one_gpu() -> Lesson:
    with _controls():
        model = _choice("model", ("llama3-8b", "llama3-70b", "llama3-405b", "gpt-1t"), "llama3-70b", "one_model")
        cluster = _choice("GPU of", CLUSTERS, "dgx-h100", "one_cluster")
    return ask(memory.one_gpu, model, cluster)


def _replicas() -> Lesson:
    with _controls():
        batch = _choice("batch, in sequences", (128, 512, 2048), 512, "data_batch")
        cluster = _choice("cluster", CLUSTERS, "dgx-h100", "data_cluster")
    return ask(copies.replicas, batch, cluster)


def _zero() -> Lesson:
    with _controls():
        gpus = _choice("GPUs", (8, 16, 32, 64, 128, 256), 64, "zero_gpus")
        cluster = _choice("cluster", CLUSTERS, "dgx-h100", "zero_cluster")
    return ask(memory.zero, gpus, cluster)


def _bubble() -> Lesson:
    with _controls():
        stages = _choice("stages", (2, 4, 8), 4, "pipe_stages")
        microbatches = _choice("microbatches", pipelines.MICROBATCHES, 4, "pipe_microbatches")
    return ask(pipelines.bubble, stages, microbatches)


def _schedules() -> Lesson:
    with _controls():
        name = _choice("schedule", pipelines.SCHEDULES, "1f1b", "order")
        microbatches = _choice("microbatches", (4, 8, 16, 32), 8, "order_microbatches")
    return ask(pipelines.schedules, name, microbatches)


def _tensor() -> Lesson:
    with _controls():
        cluster = _choice("cluster", CLUSTERS, "dgx-h100", "cut_cluster")
    return ask(copies.tensor, cluster)


def _long() -> Lesson:
    with _controls():
        length = _choice("tokens in a sequence", (8192, 32768, 131072, 524288), 131072, "long_tokens")
        kind = _choice("context parallel by", ("ring", "all-gather", "all-to-all"), "ring", "long_kind")
    return ask(memory.long_sequences, length, kind)


def _experts() -> Lesson:
    with _controls():
        model = _choice("model", tuple(copies.EXPERTS), "qwen3-30b-a3b", "expert_model")
        cluster = _choice("cluster", CLUSTERS, "dgx-h100", "expert_cluster")
    return ask(copies.experts, model, cluster)


def _cube() -> Lesson:
    with _controls():
        width = _choice("GPUs that share a layer", layouts.WIDTHS, 8, "cube_tp")
        batch = _choice("batch, in sequences", (768, 1536, 3072), 768, "cube_batch")
    return ask(layouts.cube, width, batch)


def _choices() -> Lesson:
    with _controls():
        name = _choice("situation", tuple(layouts.CASES), "small", "case", lambda key: layouts.CASES[key].name)
    lesson = ask(layouts.choice, name).lesson
    table = st.container()
    with ahead(layouts.choice, [(each,) for each in layouts.CASES]):
        checked = [ask(layouts.choice, each, says="playing every situation").checked for each in layouts.CASES]
    table.dataframe(
        {
            "situation": [each.name for each in checked],
            "rule of thumb": [each.rule for each in checked],
            "so": [each.advised for each in checked],
            "fastest that fits, played": [each.fastest for each in checked],
        },
        hide_index=True,
    )
    return lesson


def _controls() -> DeltaGenerator:
    return st.container(horizontal=True, gap="medium")


def _choice(
    label: str, options: tuple[Value, ...], default: Value, key: str, shown: Callable[[Value], str] = str
) -> Value:
    chosen = st.segmented_control(label, options, default=default, required=True, key=key, bind=BIND, format_func=shown)
    return chosen


STOPS: Final = (
    Stop(
        title="One GPU is not enough",
        lesson=_one_gpu,
        question=Question(words="And with 405 billion parameters?", turns={"one_model": "llama3-405b"}),
    ),
    Stop(
        title="Data parallelism: copies that agree",
        lesson=_replicas,
        question=Question(words="What if the batch has 2,048 sequences?", turns={"data_batch": 2048}),
    ),
    Stop(
        title="ZeRO and FSDP: why keep everything everywhere?",
        lesson=_zero,
        question=Question(words="Does it help on 8 GPUs already?", turns={"zero_gpus": 8}),
    ),
    Stop(
        title="Pipeline parallelism: the bubble",
        lesson=_bubble,
        question=Question(words="What happens with 64 microbatches?", turns={"pipe_microbatches": 64}),
    ),
    Stop(
        title="Better schedules: less bubble, less memory",
        lesson=_schedules,
        question=Question(words="What does a zero-bubble V look like?", turns={"order": "zb-v"}),
    ),
    Stop(
        title="Tensor parallelism: why it stays in the node",
        lesson=_tensor,
        question=Question(words="And on faster GPUs?", turns={"cut_cluster": "dgx-b200"}),
    ),
    Stop(
        title="Sequence and context parallelism: long sequences",
        lesson=_long,
        question=Question(words="Half a million tokens?", turns={"long_tokens": 524288}),
    ),
    Stop(
        title="Expert parallelism: all to all",
        lesson=_experts,
        question=Question(words="And few, large experts?", turns={"expert_model": "mixtral-8x7b"}),
    ),
    Stop(
        title="Three dimensions: 3,072 GPUs",
        lesson=_cube,
        question=Question(words="What if more GPUs share a layer?", turns={"cube_tp": 16}),
    ),
    Stop(
        title="When to use which",
        lesson=_choices,
        question=Question(words="And for 131,072 tokens?", turns={"case": "long"}),
    ),
)
