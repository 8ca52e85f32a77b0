"""The controls of the Train page as values, and the scenario that they say.

What no control says stands in `more`, as YAML that is laid over them; so every scenario can be taken apart into
controls, and put together again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import topologies
from sim import frameworks, models
from sim.detail import DETAILS
from sim.scenario import as_yaml, described
from sim.scenario.fields import SCHEDULES
from sim.workload import PRECISIONS
from topologies.document import Document, InputError, Value, closest, parse, shorten
from web import scenarios

Key = Literal[
    "model", "cluster", "gpu", "fabric", "gpus", "layout", "tp", "pp", "vpp", "cp", "ep", "dp", "zero", "sp",
    "schedule", "recompute", "micro", "batch", "seq_len", "precision", "framework", "tokens", "price", "more",
    "detail", "tab",
]  # fmt: skip
Setting = str | int | None
Settings = Mapping[Key, Setting]

MORE: Final = "more settings"
BUILT: Final = "a GPU and a fabric"
"""In place of a cluster of the catalogue."""
CHOSEN, BY_HAND = "chosen for me", "by hand"
"""The layout."""
AUTOMATIC: Final = "automatic"
"""How finely the step is played."""
TABS: Final = ("Timeline", "Ranks", "Memory", "Critical path", "Cluster", "Assumptions and sources")
RECOMPUTES: Final = ("none", "selective", "full")
ZEROS: Final = ("0", "1", "2", "3")
DEGREES: Final[tuple[Key, ...]] = ("tp", "pp", "vpp", "cp", "ep", "dp", "zero", "sp")
_UNSAID: Final[tuple[Key, ...]] = (*DEGREES, "schedule", "recompute", "micro", "batch", "seq_len")
DEFAULTS: Final[Settings] = {
    "model": "llama3-70b",
    "cluster": "dgx-h100",
    "gpu": "h100-80gb-sxm",
    "fabric": "ib-ndr400x8",
    "gpus": 64,
    "layout": CHOSEN,
    **dict.fromkeys(_UNSAID),
    "precision": "bf16",
    "framework": frameworks.DEFAULT,
    "tokens": "",
    "price": "",
    "more": "",
    "detail": AUTOMATIC,
    "tab": TABS[0],
}
MOST_CHUNKS: Final = 16
MOST: Final[Mapping[Key, int]] = {"gpus": 1_000_000, "micro": 10_000_000, "batch": 10_000_000, "seq_len": 100_000_000}
_BESIDE: Final[Mapping[Key, tuple[Key, ...]]] = {
    "tp": ("pp", "cp", "dp"),
    "pp": ("tp", "cp", "dp"),
    "cp": ("tp", "pp", "dp"),
    "dp": ("tp", "pp", "cp"),
    "ep": ("pp",),
}
"""The degrees with which each shares the GPUs."""
_FLAGS: Final = {"on": True, "off": False}
_MAY_BE_EMPTY: Final[tuple[Key, ...]] = ("gpus", "fabric")
"""Of the controls that have a value at first."""
_CHOICES: Final[Mapping[Key, Callable[[], Sequence[str]]]] = {
    "model": models.names,
    "cluster": lambda: [*topologies.names(), BUILT],
    "gpu": lambda: topologies.names("gpus"),
    "layout": lambda: (CHOSEN, BY_HAND),
    "zero": lambda: ZEROS,
    "sp": lambda: tuple(_FLAGS),
    "schedule": lambda: SCHEDULES,
    "recompute": lambda: RECOMPUTES,
    "precision": lambda: PRECISIONS,
    "framework": frameworks.names,
    "detail": lambda: (AUTOMATIC, *DETAILS[::-1]),
    "tab": lambda: TABS,
}
_BATCH: Final[Mapping[str, Key]] = {"global": "batch", "micro": "micro", "seq_len": "seq_len"}
_AS_THEY_ARE: Final[tuple[Key, ...]] = ("gpus", "precision", "framework", "tokens")
_OPENED: Final = " (opened)"


def scenario(settings: Settings) -> str:
    """The scenario that the controls say, as text.

    Raises InputError where a field holds no number, or `more` is no YAML; what the scenario itself has wrong is found
    by `scenarios.parsed`.
    """
    by_hand = settings["layout"] == BY_HAND
    plan: dict[str, Value] = {key: _degree(key, settings[key]) for key in DEGREES if by_hand}
    batch: dict[str, Value] = {name: _within(key, settings[key]) for name, key in _BATCH.items()}
    _within("gpus", settings["gpus"])
    fields: dict[str, Value] = {key: settings[key] or None for key in _AS_THEY_ARE}
    fields |= {"model": settings["model"], "cluster": _cluster(settings), "batch": batch, "price": _price(settings)}
    fields["plan"] = plan | {"schedule": settings["schedule"], "recompute": settings["recompute"]}
    return scenarios.text(scenarios.laid_over(fields, _more(settings["more"])))


def choices(key: Key) -> list[str]:
    """What a control offers."""
    return list(_CHOICES[key]())


def opened(key: Key, more: Setting) -> str | None:
    """How a control shows the model, cluster or framework that is named in `more` and so counts; None without one."""
    if key not in scenarios.REFERENCES:
        return None
    try:
        said = _more(more).get(key)
    except InputError:
        return None
    name = said.get("name") if isinstance(said, dict) else said
    return f"{name}{_OPENED}" if isinstance(name, str) and name else None


def without(key: Key, more: Setting) -> str:
    """`more` without what it says of a model, a cluster or a framework."""
    try:
        fields = _more(more)
    except InputError:
        return str(more)
    return as_yaml({field: value for field, value in fields.items() if field != key})


def degrees(key: Key, settings: Settings) -> list[str]:
    """What a degree may be: the divisors of the GPUs that the other degrees leave; others can be typed.

    Experts are dealt to the tp x cp x dp GPUs of a stage. Model chunks are a few, whatever the GPUs.
    """
    if key == "zero":
        return choices(key)
    if key == "vpp":
        return [str(chunks) for chunks in range(1, MOST_CHUNKS + 1)]
    said, others = settings["gpus"], [settings[other] for other in _BESIDE[key]]
    gpus = said if isinstance(said, int) else 1
    taken = math.prod(int(other) for other in others if isinstance(other, str) and other.isdecimal())
    left = gpus // taken if taken and gpus % taken == 0 else gpus
    small = {number for number in range(1, math.isqrt(left) + 1) if left % number == 0}
    return [str(number) for number in sorted(small | {left // number for number in small})]


def in_address(settings: Settings) -> dict[str, str]:
    """What an address must hold to say these settings: those that are not as they are at first."""
    idle = () if settings["layout"] == BY_HAND else DEGREES
    unused = () if settings["cluster"] == BUILT else ("gpu", "fabric")
    return {
        key: "" if value is None else str(value)
        for key, value in settings.items()
        if value != DEFAULTS[key] and key not in (*idle, *unused) and not opened(key, settings["more"])
    }


def from_address(said: Mapping[Key, str]) -> Settings:
    """The settings that an address says.

    Raises InputError for what no control offers.
    """
    return dict(DEFAULTS) | {key: _offered(key, value) for key, value in said.items()}


def _offered(key: Key, value: str) -> Setting:
    if key in _MAY_BE_EMPTY and not value:
        return None
    if key in MOST:
        number = _degree(key, value)
        return _within(key, number) if isinstance(number, int) else None
    if key in _CHOICES and value not in choices(key):
        raise InputError(f"{key}: {shorten(value)} is not known{closest(value, choices(key))}")
    return value


def taken_apart(text: str) -> Settings:
    """The controls that say the scenario in a text; raises InputError for one that is impossible."""
    found = scenarios.parsed(text)
    fields = described(found)
    settings = dict(DEFAULTS)
    more: dict[str, Value] = {field: fields[field] for field in ("experts", "jitter", "seed") if field in fields}
    for field, take in (("model", _take_model), ("cluster", _take_cluster), ("framework", _take_framework)):
        rest = take(fields[field], settings)
        more |= {field: rest} if rest else {}
    for key in ("gpus", "precision", "tokens", "price"):
        settings[key] = _plain(fields.get(key, DEFAULTS[key]))
    _take_batch(fields["batch"], settings, found.model.max_seq_len)
    rest = _take_plan(fields["plan"], settings)
    settings["more"] = as_yaml(more | ({"plan": rest} if rest else {}))
    return settings


def _degree(key: Key, said: Setting) -> Value:
    """A number that was chosen or written; `sp` is on or off."""
    if key == "sp" or not isinstance(said, str):
        return _FLAGS[said] if isinstance(said, str) else said
    if not (said.isascii() and said.isdigit() and len(said) < 9):
        raise InputError(f"{key}: must be a whole number, got {shorten(said)}; leave it empty to have it chosen")
    return int(said)


def _within(key: Key, said: Setting) -> Setting:
    """A count that is possible."""
    if isinstance(said, int) and not 1 <= said <= MOST[key]:
        raise InputError(f"{key}: {said:,} is not possible; use 1 to {MOST[key]:,}")
    return said


def _price(settings: Settings) -> Setting:
    """As people write it: $2.50 is 2.50."""
    return str(settings["price"] or "").removeprefix("$").strip() or None


def _cluster(settings: Settings) -> Value:
    if settings["cluster"] != BUILT:
        return settings["cluster"]
    return {"gpu": settings["gpu"], "fabric": settings["fabric"] or None}


def _more(said: Setting) -> dict[str, Value]:
    if not isinstance(said, str) or not said.strip():
        return {}
    document = parse(said, MORE)
    if not isinstance(document.data, dict):
        raise _no_fields(document)
    return document.data


def _no_fields(document: Document) -> InputError:
    return InputError(f"{MORE}: write fields such as 'jitter: 0.02', not {shorten(document.data)}")


def _take_model(reference: Value, settings: dict[Key, Setting]) -> dict[str, Value]:
    """A model of the catalogue for its control; what is laid over it, or a model of the reader's own, is left."""
    name, rest = _opened(reference)
    known = models.find(name)
    if known is None:
        return {"name": name, **rest}
    settings["model"] = str(known["name"])
    return rest


def _take_cluster(reference: Value, settings: dict[Key, Setting]) -> dict[str, Value]:
    name, rest = _opened(reference)
    if name:
        settings["cluster"] = topologies.load(name).name
        return rest
    settings["cluster"], settings["gpu"] = BUILT, topologies.gpu(str(rest.pop("gpu"))).name
    fabric = rest.pop("fabric", None)
    settings["fabric"] = None if fabric is None else str(fabric)
    return rest


def _take_framework(reference: Value, settings: dict[Key, Setting]) -> dict[str, Value]:
    settings["framework"], rest = _opened(reference)
    return rest


def _take_batch(batch: Value, settings: dict[Key, Setting], usual: int) -> None:
    """A sequence as long as the model's own is not said, so that it goes with the model."""
    said = batch if isinstance(batch, dict) else {}
    for name, key in _BATCH.items():
        settings[key] = _plain(said.get(name))
    if settings["seq_len"] == usual:
        settings["seq_len"] = None


def _take_plan(plan: Value, settings: dict[Key, Setting]) -> dict[str, Value]:
    rest = dict(plan) if isinstance(plan, dict) else {}
    for key in ("schedule", "recompute"):
        settings[key] = _plain(rest.pop(key, None))
    said = {key: rest.pop(key) for key in DEGREES if key in rest}
    if said:
        settings["layout"] = BY_HAND
    for key, value in said.items():
        settings[key] = written(value)
    return rest


def written(value: Value) -> str | None:
    """A degree as its control has it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else str(value)


def _opened(reference: Value) -> tuple[str, dict[str, Value]]:
    """The name in a reference, empty where there is none, and the fields that are laid over it."""
    if isinstance(reference, str):
        return reference, {}
    assert isinstance(reference, dict)
    rest = dict(reference)
    return str(rest.pop("name", "")), rest


def _plain(value: Value) -> Setting:
    return value if value is None or isinstance(value, int) else str(value)
