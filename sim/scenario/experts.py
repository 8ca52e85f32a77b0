"""How a scenario says which experts are asked for: as evenly as can be, by a power law, or by counts that were seen."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from sim.models import Transformer
from sim.models.transformer import layer_kinds
from sim.scenario.fields import Section
from sim.workload import ExpertLoad
from topologies.document import Value, shorten

_Tokens = Annotated[float, Field(ge=0)]
_Histogram = Annotated[list[_Tokens], Field(min_length=1)]
_FORMS = "write balanced, {power_law: 1.2} or {histogram: [3, 1, ...]}"


def _opened(load: object) -> object:
    """`load: balanced` as the section that says nothing else."""
    if isinstance(load, str) and load != "balanced":
        raise ValueError(f"{shorten(load)} is not known; {_FORMS}")
    return {} if load == "balanced" else load


class LoadSection(Section):
    """One of the two; with neither, all experts get as many tokens."""

    power_law: Annotated[float | None, Field(gt=0, le=10, examples=[1.2])] = None
    """Exponent of the experts' popularity: about 1.0 for DeepSeek-V3, 1.2 for Qwen3-235B."""
    histogram: Annotated[_Histogram | list[_Histogram] | None, Field(examples=[[40, 30, 20, 10]])] = None
    """Tokens of each expert, in any unit, in the order in which ep ranks take them; or a list for each layer that has
    experts."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.power_law is not None and self.histogram is not None:
            raise ValueError(f"power_law and histogram are two ways to say it; {_FORMS}")
        return self


class ExpertsSection(Section):
    """What the router does in a model with experts."""

    load: Annotated[LoadSection, BeforeValidator(_opened, json_schema_input_type=Literal["balanced"] | LoadSection)] = (
        LoadSection()
    )
    """Who gets how many tokens: balanced, {power_law: 1.2} or {histogram: [3, 1, ...]}."""
    capacity_factor: Annotated[float | None, Field(gt=0, le=1000, examples=[1.0, 1.25])] = None
    """An expert takes at most so many times its even share and drops the rest; left out, none is dropped."""

    def expert_load(self) -> ExpertLoad:
        """The noun that layers are costed by."""
        if self.load.power_law is not None:
            power_law = self.load.power_law
            return ExpertLoad(kind="power_law", exponent=power_law, capacity_factor=self.capacity_factor)
        if self.load.histogram is None:
            return ExpertLoad(capacity_factor=self.capacity_factor)
        histograms = _listed(self.load.histogram)
        return ExpertLoad(kind="histogram", histograms=histograms, capacity_factor=self.capacity_factor)


def problem(load: ExpertLoad, model: Transformer) -> str | None:
    """What of it the model does not have, and what to write instead."""
    if load == ExpertLoad():
        return None
    if model.moe is None:
        return f"{model.name} has no experts; take it out"
    num_layers = sum(kind.has_experts for kind in layer_kinds(model))
    if load.histograms and len(load.histograms) not in (1, num_layers):
        return f"{len(load.histograms)} histograms; write one, or one for each of {num_layers} layers with experts"
    for histogram in load.histograms:
        if len(histogram) != model.moe.num_experts:
            return f"a histogram of {len(histogram)} numbers; write {model.moe.num_experts}, one for each expert"
        if not sum(histogram):
            return "a histogram that is zero everywhere; write how many tokens each expert gets"
    return None


def written(load: ExpertLoad) -> dict[str, Value] | None:
    """The section that says it; None where nothing needs to be said."""
    if load == ExpertLoad():
        return None
    several: list[Value] = [list(histogram) for histogram in load.histograms]
    forms: dict[str, Value] = {
        "balanced": "balanced",
        "power_law": {"power_law": load.exponent},
        "histogram": {"histogram": several[0] if len(several) == 1 else several},
    }
    factor = {} if load.capacity_factor is None else {"capacity_factor": load.capacity_factor}
    return {"load": forms[load.kind], **factor}


def _listed(said: list[float] | list[list[float]]) -> tuple[tuple[float, ...], ...]:
    rows = [entry if isinstance(entry, list) else None for entry in said]
    if None in rows:
        return (tuple(entry for entry in said if not isinstance(entry, list)),)
    return tuple(tuple(row) for row in rows if row is not None)
