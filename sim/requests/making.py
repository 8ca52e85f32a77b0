"""Requests from a load: when each comes, how long it is, and with whom it shares its beginning.

A trace that says which of its prompts begin alike, or follow each other, is kept as it is; from others, and from
distributions, requests are composed.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from sim.requests import arrivals, lengths, sessions
from sim.requests.checks import MAX_REQUESTS, MAX_TOKENS, MAX_TURNS, check
from sim.requests.load import DEFAULT_OUTPUT, DEFAULT_PROMPT, DEFAULT_REQUESTS, Distribution, Load, Prefix, Sessions
from sim.requests.requests import Counts, Requests, Seconds
from sim.requests.streams import stream
from sim.requests.traces import Trace, loaded, within
from topologies.document import InputError

RUN_TOKENS: Final = 16
"""Tokens that a content's name stands for: a block of vLLM's cache [vllm/config/cache.py, 0.19]."""


def made(load: Load, *, seed: int) -> Requests:
    """The requests of a load; the same seed makes the same ones.

    Raises InputError for a load that contradicts itself, and for a trace that cannot be read (as `traces.loaded`).
    """
    check(load)
    trace = None if load.trace is None else within(loaded(load.trace), load.window)
    if trace is None:
        return _composed(load, None, seed)
    is_tied = trace.after is not None or trace.contents is not None
    if (is_tied or (load.is_replay and load.sessions is None)) and len(trace) < (load.num_requests or 0):
        raise InputError(f"num_requests: {trace.name} has {len(trace):,} here; write at most so many")
    if is_tied:
        return _as_recorded(load, trace, seed)
    return _composed(load, trace, seed)


def _as_recorded(load: Load, trace: Trace, seed: int) -> Requests:
    """Rows of a trace that says which of them belong together: in its order, with its lengths."""
    for name in ("prompt", "output", "prefix", "sessions"):
        if getattr(load, name) is not None:
            raise InputError(f"{name}: {trace.name} says itself which prompts begin alike; leave {name} out")
    begins = np.flatnonzero(trace.begins)
    start = _starts(load, trace, int((begins < (load.num_requests or len(trace))).sum()), seed)
    end = load.num_requests if len(start) == len(begins) else int(begins[len(start)])
    rows = slice(None, min(end or len(trace), load.num_requests or len(trace)))
    arrival = trace.waits()
    arrival[begins[: len(start)]] = start
    return Requests(
        arrival=arrival[rows],
        prompt=trace.prompt[rows],
        output=trace.output[rows],
        after=None if trace.after is None else trace.after[rows],
        contents=None if trace.contents is None else trace.contents[rows],
        content_tokens=trace.content_tokens,
        concurrency=load.concurrency,
        notes=trace.notes,
    )


def _composed(load: Load, trace: Trace | None, seed: int) -> Requests:
    """Rows that nothing ties together but what the load says."""
    count = load.num_requests
    if count is None and load.duration is None:
        count = DEFAULT_REQUESTS if trace is None else len(trace)
    start = _starts(load, trace, count, seed)
    spoken = None if load.sessions is None else _spoken(load.sessions, len(start), count, seed)
    prompt, output = _lengths(load, trace, len(start) if spoken is None else len(spoken.session), seed)
    notes = () if trace is None else trace.notes
    requests = Requests(arrival=start, prompt=prompt, output=output, concurrency=load.concurrency, notes=notes)
    if load.sessions is not None and spoken is not None:
        requests = _in_turns(requests, spoken, load.sessions, seed)
    return _with_prefix(requests, spoken, load.prefix, seed)


def _starts(load: Load, trace: Trace | None, count: int | None, seed: int) -> Seconds:
    """When requests, or sessions, begin; at most `count` of them."""
    start = _recorded(load, trace)[:count] if load.is_replay and trace else None
    if start is None:
        start = arrivals.drawn(load, count, stream(seed, "arrivals"))
    if len(start) == 0:
        raise InputError(f"duration: no request comes within {load.duration:g} s; write more seconds or a higher rate")
    return start


def _recorded(load: Load, trace: Trace) -> Seconds:
    if trace.arrival is None:
        raise InputError(f"trace: {trace.name} does not say when requests came; write a rate, or inf for all at once")
    times = trace.arrival[trace.begins] / load.rate_scale
    return times if load.duration is None else times[times < load.duration]


def _lengths(load: Load, trace: Trace | None, count: int, seed: int) -> tuple[Counts, Counts]:
    """Tokens of prompts and of answers: the trace's where the load says nothing else."""
    rows = np.arange(count)
    if trace is not None and count > len(trace):
        rows = stream(seed, "rows").integers(0, len(trace), count)
    prompt = _column(
        None if trace is None else trace.prompt[rows], load.prompt, DEFAULT_PROMPT, count, stream(seed, "prompts")
    )
    output = _column(
        None if trace is None else trace.output[rows], load.output, DEFAULT_OUTPUT, count, stream(seed, "outputs")
    )
    return prompt, output


def _column(
    recorded: Counts | None, asked: Distribution | None, default: float, count: int, generator: np.random.Generator
) -> Counts:
    if recorded is not None and asked is None:
        return recorded
    return lengths.drawn(asked or Distribution(mean=default), count, MAX_TOKENS, generator)


def _spoken(wanted: Sessions, num_sessions: int, count: int | None, seed: int) -> sessions.Rows:
    turns = lengths.drawn(wanted.turns, num_sessions, MAX_TURNS, stream(seed, "turns"))
    if count is None and turns.sum() > MAX_REQUESTS:
        raise InputError(f"sessions: more than {MAX_REQUESTS:,} requests; write fewer turns, or num_requests")
    return sessions.rows(turns, count)


def _in_turns(requests: Requests, spoken: sessions.Rows, wanted: Sessions, seed: int) -> Requests:
    """Each prompt with all that was said before it; a turn comes when its user has thought."""
    thinking = stream(seed, "thinking").exponential(wanted.think_time, len(requests.prompt))
    return replace(
        requests,
        arrival=np.where(spoken.turn == 0, requests.arrival[spoken.session], thinking),
        prompt=sessions.whole_prompts(spoken, requests.prompt, requests.output),
        after=spoken.after,
    )


def _with_prefix(requests: Requests, spoken: sessions.Rows | None, prefix: Prefix | None, seed: int) -> Requests:
    """Prompts behind what they share, and the names by which a cache finds it."""
    if prefix is None and spoken is None:
        return requests
    shared = prefix or Prefix(tokens=0)
    prompt = requests.prompt + shared.tokens
    num_sessions = len(requests) if spoken is None else int(spoken.session[-1]) + 1
    group = stream(seed, "groups").integers(0, shared.groups, num_sessions)
    if spoken is not None:
        group = group[spoken.session]
    total = prompt + requests.output
    contents = sessions.contents(spoken, total, group, shared.tokens // RUN_TOKENS, RUN_TOKENS)
    return replace(requests, prompt=prompt, contents=contents, content_tokens=RUN_TOKENS)
