"""Steps of the tour about pipelines: the bubble, seen, and the schedules that make it smaller."""

from typing import Final
from urllib.parse import urlencode

from sim.pipelines import Played, chunks_of, measured, pipeline, published
from sim.reports.figures import Share
from sim.reports.palette import KINDS, holding
from sim.reports.panels import panels_data
from sim.schedules.closed_forms import CLOSED_FORMS, PassTimes
from topologies.quantity import MILLISECOND, percent, seconds
from web.answers.lessons.lesson import Bar, Bars, Lesson, Line, Lines, Pipelines, Way, share

PASS: Final = 10
TIMES: Final = PassTimes(
    forward=PASS * MILLISECOND, input_gradient=PASS * MILLISECOND, weight_gradient=PASS * MILLISECOND
)
"""As the Bubble lab begins. A backward pass takes twice as long as a forward pass, for it has two products
for each one there."""
STAGES: Final = 4
MICROBATCHES: Final = (1, 2, 4, 8, 16, 32, 64)
SCHEDULES: Final = ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-h2", "zb-v")
CHUNKS: Final = 2


def bubble(stages: int, microbatches: int) -> Lesson:
    """GPipe over so many stages: what is idle, and what the formula says."""
    played = _played("gpipe", stages, microbatches)
    formula = _formula(stages, microbatches)
    curve = {count: _played("gpipe", stages, count).bubble for count in MICROBATCHES}
    last = max(curve)
    return Lesson(
        sentences=(
            f"Pipeline parallelism cuts the model between layers: here into {stages} *stages*, each on a GPU of its "
            f"own. Only activations at the cuts travel, so it is content with slow wires.",
            "But a stage can only begin when the one before has sent it something, and backward the other way round. "
            "Until then it waits: the *bubble*.",
            f"So the batch is cut too, into *microbatches* that follow one another, here {microbatches}. Of "
            f"m + p - 1 slots each GPU works in m: with equal stages and free messages (p - 1) / (m + p - 1) of the "
            f"step is bubble (Huang et al. 2019).",
        ),
        figures=(
            _pipelines(played),
            Lines(
                title=f"The bubble of {stages} stages",
                x_title="microbatches",
                y_title="bubble, of the step",
                lines=(_curve("played", curve),),
                said=f"The bubble of {stages} stages falls from {share(curve[1])} of the step with one microbatch to "
                f"{share(curve[last])} with {last}",
            ),
        ),
        finding=(
            f"Played: {percent(played.bubble)} of the step is bubble. By the formula: ({stages} - 1) / "
            f"({microbatches} + {stages} - 1) = {percent(formula)}. Nobody told the simulator the formula; it follows "
            f"from who waits for whom."
        ),
        ways=(_to_lab(stages, microbatches, "gpipe"),),
    )


def schedules(name: str, microbatches: int) -> Lesson:
    """The same work in other orders: bubble and memory of each."""
    played = {each: _played(each, STAGES, microbatches) for each in SCHEDULES if _can(each, microbatches)}
    chosen = played[name] if name in played else played["1f1b"]
    other = played["gpipe" if chosen.name == "1f1b" else "1f1b"]
    gpipe, first = played["gpipe"], played["1f1b"]
    best = min(played, key=lambda each: played[each].bubble)
    return Lesson(
        sentences=(
            "The order of the passes is a free choice. **1F1B** starts a backward pass as soon as it can: the bubble "
            f"stays, but a stage keeps at most as many microbatches as there are stages, {max(first.held):.0f} here "
            f"against {max(gpipe.held):.0f} of GPipe (Narayanan et al. 2021).",
            f"**Interleaved** gives each GPU {CHUNKS} thinner stages, so that filling takes a part of the time; for "
            f"that messages are more (Narayanan et al. 2021).",
            "**Zero bubble** splits the backward pass: the gradient of the input, I, which the stage before waits for, "
            "and that of the weights, W, which nobody waits for and which fills the gaps (Qi et al. 2023). H2 keeps "
            "more, and has gaps only at the ends of the step; V folds the stages, and keeps no more than 1F1B.",
        ),
        figures=(
            _pipelines(other, chosen),
            _lengths(played, microbatches),
            _held(played),
        ),
        finding=(
            f"The smallest bubble here has {best}: {share(played[best].bubble)}, against {share(first.bubble)} of "
            f"1F1B; it keeps {max(played[best].held):.3g} microbatches, 1F1B {max(first.held):.3g}. "
            f"{_published(chosen)}"
        ),
        ways=(_to_lab(STAGES, microbatches, *SCHEDULES),),
    )


def _pipelines(*played: Played) -> Pipelines:
    return Pipelines(canvas=panels_data(played), steps={one.name: one.seconds for one in played})


def _lengths(played: dict[str, Played], microbatches: int) -> Bars:
    bars = tuple(_length(one, microbatches) for one in played.values())
    said = "The step of each schedule: " + "; ".join(f"{bar.name} {bar.note}" for bar in bars)
    return Bars(title="The step of each schedule, a GPU's time", unit="seconds", bars=bars, said=said)


def _length(one: Played, microbatches: int) -> Bar:
    """The mean over ranks: every rank does the same work."""
    parts = {"F": TIMES.forward, "I": TIMES.input_gradient, "W": TIMES.weight_gradient}
    amounts = {key: microbatches * time for key, time in parts.items()} | {"bubble": one.bubble * one.seconds}
    shares = tuple(
        Share(kind=KINDS[key], amount=amount, text=f"{seconds(amount)}, {share(amount / one.seconds)}")
        for key, amount in amounts.items()
    )
    return Bar(name=one.name, shares=shares, note=f"bubble {share(one.bubble)}")


def _held(played: dict[str, Played]) -> Bars:
    kind = holding("activations")
    bars = tuple(
        Bar(
            name=one.name,
            shares=(Share(kind=kind, amount=max(one.held), text=f"{max(one.held):.3g} microbatches"),),
            note=f"{max(one.held):.3g}",
        )
        for one in played.values()
    )
    said = "Most microbatches kept: " + "; ".join(f"{bar.name} {bar.note}" for bar in bars)
    return Bars(title="What it keeps: activations of so many microbatches", unit="microbatches", bars=bars, said=said)


def _published(one: Played) -> str:
    """The formula, and whether this pipeline has the number that it gives, or why not."""
    form = CLOSED_FORMS[one.name]
    found = published(one, TIMES)
    here = f"Here it is up to {seconds(one.idle)}: {found.why}." if found.why else "So it is here."
    said = f"from its first pass to its last a GPU idles at most {form.bubble} ({form.source})"
    return f"Published for {one.name}: {said}. {here}"


def _curve(name: str, bubbles: dict[int, float]) -> Line:
    texts = tuple(f"{count} microbatches: {share(part)} bubble" for count, part in bubbles.items())
    return Line(name=name, x=tuple(map(float, bubbles)), y=tuple(bubbles.values()), texts=texts)


def _formula(stages: int, microbatches: int) -> float:
    """With equal stages and free messages [Huang et al. 2019]."""
    return (stages - 1) / (microbatches + stages - 1)


def _can(name: str, microbatches: int) -> bool:
    """Interleaving deals microbatches in rounds of as many as there are stages; zero bubbles fill with them."""
    return microbatches >= STAGES or chunks_of(name, CHUNKS) == 1


def _played(name: str, stages: int, microbatches: int) -> Played:
    return measured(name, pipeline(name, stages, CHUNKS, microbatches), TIMES)


def _to_lab(stages: int, microbatches: int, *names: str) -> Way:
    query = [("stages", str(stages)), ("microbatches", str(microbatches)), *(("schedules", name) for name in names)]
    return Way(words="Open this pipeline in the Bubble lab", address=f"/bubbles?{urlencode(query)}")
