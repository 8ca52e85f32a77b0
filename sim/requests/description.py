"""What a person wants to know of requests before they are served: how many, how often, how long, how much alike."""

from dataclasses import dataclass

import numpy as np

from sim.requests.requests import Counts, Names, Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of a column of tokens."""

    mean: float
    p50: float
    p90: float
    p99: float
    largest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """num_sessions: requests that follow none other. duration: seconds between the first arrival and the last of those;
    rate: so many of them come in a second of it, None where all come at once.

    reusable: share of the prompts' tokens that an endless prefix cache finds, if all before are answered by then.
    """

    num_requests: int
    num_sessions: int
    duration: float
    rate: float | None
    prompt: Spread
    output: Spread
    reusable: float


def described(requests: Requests) -> Description:
    """Raises nothing for requests as `made` makes them, of which there is at least one."""
    begins = requests.arrival if requests.after is None else requests.arrival[requests.after < 0]
    duration = float(begins[-1] - begins[0])
    return Description(
        num_requests=len(requests),
        num_sessions=len(begins),
        duration=duration,
        rate=(len(begins) - 1) / duration if duration > 0 else None,
        prompt=_spread(requests.prompt),
        output=_spread(requests.output),
        reusable=_reusable(requests),
    )


def _spread(tokens: Counts) -> Spread:
    p50, p90, p99 = np.percentile(tokens, (50, 90, 99)).tolist()
    return Spread(mean=float(tokens.mean()), p50=p50, p90=p90, p99=p99, largest=int(tokens.max()))


def _reusable(requests: Requests) -> float:
    """Each name stands for its run and all before it, so that a run is found where its name was seen."""
    if requests.contents is None:
        return 0.0
    seen: set[int] = set()
    longest: dict[int, int] = {}
    found = 0
    for names, prompt in zip(requests.contents, requests.prompt.tolist(), strict=True):
        known = _num_known_of_range(names, longest) if isinstance(names, range) else _num_known(names, seen)
        found += min(known * requests.content_tokens, prompt)
    return found / int(requests.prompt.sum())


def _num_known(names: Names, seen: set[int]) -> int:
    """How many names from the first on have been seen; now all of them have."""
    if not names or names[-1] in seen:
        return len(names)
    known = next(place for place, name in enumerate(names) if name not in seen)
    seen.update(names[known:])
    return known


def _num_known_of_range(names: range, longest: dict[int, int]) -> int:
    """As `_num_known`, of a conversation, which nobody else begins with."""
    known = longest.get(names.start, 0)
    longest[names.start] = max(known, len(names))
    return min(known, len(names))
