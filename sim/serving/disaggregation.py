"""Prefill and decoding on replicas of their own: a prompt is computed here, its cache sent, its answer decoded there.

One that decodes takes blocks for the whole prompt, then its GPUs read the cache; where there is no room, the request
waits, and so do its blocks here. Transfers share the cluster's wires with each other, max-min fairly; not with the
messages inside of replicas. vLLM computes a prompt's last token again where it decodes, and so has the first token
from there [0.19, scheduler.py: _update_waiting_for_remote_kv; the prefill request asks for one token, which is
dropped]. SGLang sends the first token with the cache [0.5, disaggregation/decode.py], as TensorRT-LLM does. DistServe
[OSDI 2024] shows it before; SGLang also sends each chunk as it is done, in which it is not followed here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from simpy import Environment

from sim.deployment import Policy
from sim.network import Network
from sim.serving.attribution import HOST, QUEUE, TRANSFER
from sim.serving.columns import Columns
from sim.serving.fleet import Fleet, refusal
from sim.serving.passes import PassCosts
from sim.serving.record import Prefilled, Record
from sim.serving.sequence import Sequence
from sim.serving.settings import Settings
from sim.serving.transfer import Ways
from topologies.fabric import capacity

At = Callable[[float, Callable[[float], None]], None]
RELAYED: Final[tuple[Policy, ...]] = ("vllm",)
"""Policies of the framework whose proxy sends a request on when its prompt is done, not to both from the start [vLLM,
tests/v1/kv_connector/nixl_integration/toy_proxy_server.py]; the first token is then from where it is decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """The replicas for prompts: as `serve` takes those that decode; the ways between them. `relay`: seconds of the host
    from a prompt's last pass to when a replica that decodes knows of it."""

    settings: Settings
    costs: PassCosts
    ways: Ways
    replicas: int = 1
    dp: int = 1
    relay: float = 0.0

    @property
    def gives_first_token(self) -> bool:
        return self.settings.policy not in RELAYED


class Handover:
    """The state of one run: who is on the way, on which wires. `at` calls back at a time; `leave` is told of rows
    that end here: refused, or answered as soon as the prompt is computed."""

    def __init__(
        self, apart: Apart, prompts: Fleet, answers: Fleet, columns: Columns, before: Columns, env: Environment, at: At,
        leave: Callable[[int, float], None], output: list[int],
    ) -> None:  # fmt: skip
        self._apart, self._prompts, self._answers = apart, prompts, answers
        self._columns, self._before, self._output = columns, before, output
        self._env, self._at, self._leave = env, at, leave
        self._network = Network(env, [])
        self._num_wires = 0
        self._sources: dict[int, tuple[Sequence, int]] = {}
        self._nbytes = np.zeros(len(output))
        self._seconds = np.full(len(output), np.nan)
        before.passes = columns.passes
        for replica in prompts.replicas:
            replica.core.hands_on = True
            replica.answered = self._prefilled
        for replica in answers.replicas:
            replica.fetch = self._fetch

    def refusal(self, sequence: Sequence) -> str | None:
        """Why the prompt can never be computed."""
        return refusal(self._apart.settings, self._prompts.num_blocks, sequence.prompt, 1)

    def send(self, sequence: Sequence, now: float) -> None:
        """A request comes: its prompt is to be computed, for one token."""
        sequence.output = 1
        target = self._prompts.deal(sequence, now)
        self._sources[sequence.row] = sequence, target
        replica, rank = self._prompts.at(target)
        replica.take(sequence, rank, now)

    def _prefilled(self, sequence: Sequence, now: float) -> None:
        """A prompt's last pass is out, or the scheduler would never admit it."""
        target = self._sources[sequence.row][1]
        self._prompts.router.answered(target, now)
        if sequence.row in self._before.refused:
            self._columns.refused[sequence.row] = self._before.refused[sequence.row]
            self._leave(sequence.row, now)
        else:
            self._at(now + self._apart.relay, partial(self._ask, sequence))

    def _ask(self, before: Sequence, now: float) -> None:
        """A replica that decodes is told of the request."""
        before.causes[HOST] += now - before.since
        sequence = Sequence(
            row=before.row,
            prompt=before.prompt,
            output=self._output[before.row],
            arrival=before.arrival,
            contents=before.contents,
            causes=before.causes,
            since=now,
        )
        target = self._answers.deal(sequence, now)
        self._columns.replica[sequence.row] = target
        replica, rank = self._answers.at(target)
        replica.expect(sequence, rank, now)

    def _fetch(self, sequence: Sequence, target: int, now: float) -> None:
        """There are blocks for the cache: it is sent."""
        sequence.causes[QUEUE] += now - sequence.since
        sequence.since = now
        source, tokens = self._sources[sequence.row][1], sequence.prompt - sequence.computed
        ways = self._apart.ways
        flow = ways.flow(source, target, tokens)
        if len(ways.numbers) > self._num_wires:
            self._network.widen([capacity(ways.cluster, wire) for wire in list(ways.numbers)[self._num_wires :]])
            self._num_wires = len(ways.numbers)
        self._nbytes[sequence.row] = ways.nbytes(tokens)
        self._network.start(flow, partial(self._sent, sequence, target))

    def _sent(self, sequence: Sequence, target: int) -> None:
        """The last byte is there: those who sent it need it no more."""
        now = self._env.now
        sequence.causes[TRANSFER] += now - sequence.since
        self._seconds[sequence.row] = now - sequence.since
        sequence.since = now
        before, source = self._sources.pop(sequence.row)
        replica, rank = self._prompts.at(source)
        replica.release(before, rank, now)
        replica, rank = self._answers.at(target)
        sequence.computed = sequence.prompt - 1
        if self._apart.gives_first_token:
            sequence.generated, sequence.told, sequence.computed = 1, now, sequence.prompt
            self._columns.first(sequence, now)
        if sequence.generated < sequence.output:
            replica.receive(sequence, rank, now)
            return
        replica.release(sequence, rank, now)
        self._columns.last(sequence, now)
        self._answers.router.answered(target, now)
        self._leave(sequence.row, now)

    def told(self, record: Record) -> Record:
        """The record with what the replicas for prompts know of it."""
        own = self._before.record(self._prompts.busy(), self._prompts.num_blocks)
        return replace(
            record,
            scheduled=own.scheduled,
            preemptions=record.preemptions + own.preemptions,
            cached=own.cached,
            prefill=Prefilled(
                num_gpus=self._apart.ways.prefill.num_gpus,
                stage_busy=own.stage_busy,
                num_blocks=own.num_blocks,
                nbytes=self._nbytes,
                seconds=self._seconds,
            ),
        )
