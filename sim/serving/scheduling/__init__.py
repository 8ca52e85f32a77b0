"""Who runs in the next pass: the schedulers of serving frameworks, as functions of queues and cache, without a clock.

A decision changes the queues and the pool that it is given, and nothing else; the same state gives the same decision.
"""

from collections.abc import Mapping
from typing import Final

from sim.deployment import Policy
from sim.serving.scheduling import orca, sarathi, sglang, static, trtllm, vllm
from sim.serving.scheduling.decision import Decision as Decision
from sim.serving.scheduling.decision import Rules as Rules
from sim.serving.scheduling.decision import advance as advance
from sim.serving.scheduling.decision import leave as leave

POLICIES: Final[Mapping[Policy, Rules]] = {
    "vllm": Rules(schedule=vllm.schedule, quiet=vllm.quiet, advance=advance),
    "sglang": Rules(schedule=sglang.schedule, quiet=sglang.quiet, advance=sglang.advance),
    "trtllm-no-evict": Rules(schedule=trtllm.no_evict, quiet=trtllm.no_evict_quiet, advance=advance),
    "trtllm-max-utilization": Rules(
        schedule=trtllm.max_utilization, quiet=trtllm.max_utilization_quiet, advance=advance
    ),
    "sarathi": Rules(schedule=sarathi.schedule, quiet=sarathi.quiet, advance=advance),
    "orca": Rules(schedule=orca.schedule, quiet=orca.quiet, advance=advance),
    "static": Rules(
        schedule=static.schedule, quiet=static.quiet, advance=advance, padding=static.padding, finish=static.finish
    ),
}
