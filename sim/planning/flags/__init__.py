"""A plan in the words of the software that is to run it: options to paste."""

from collections.abc import Callable, Mapping

from sim.models import Transformer
from sim.plan import Plan
from sim.planning.flags import megatron_lm, torchtitan
from sim.workload import TrainingStep

FLAGS: Mapping[str, Callable[[Plan, Transformer, TrainingStep], str]] = {
    "megatron-lm": megatron_lm.flags,
    "torchtitan": torchtitan.flags,
}
