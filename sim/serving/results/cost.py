"""What answers cost: GPUs x hours x the price of an hour, over what came out.

Reserved: all GPUs are paid from the first request to the last token, busy or not. By use: only the seconds in which a
GPU computes or communicates, as if others paid for the rest; the floor that better packing could reach.
"""

import numpy as np

from sim.serving.record import Record
from topologies.quantity import HOUR, MEGA


def costs(record: Record, num_gpus: int, dollars: float | None) -> dict[str, object]:
    """US dollars per query and per million tokens, at `dollars` per GPU-hour; null without a price or answers.

    The tokens are those of completed requests; the stages' GPUs are taken as equally many.
    """
    done = ~np.isnan(record.finished)
    output = int(record.requests.output[done].sum())
    tokens = output + int(record.requests.prompt[done].sum())
    reserved = None if dollars is None else num_gpus * record.duration / HOUR * dollars
    used = None if reserved is None else reserved * busy_fraction(record, num_gpus)
    return {
        "price_per_gpu_hour_usd": dollars,
        "cost_per_million_output_tokens_usd": _each(reserved, output / MEGA),
        "cost_per_million_tokens_usd": _each(reserved, tokens / MEGA),
        "cost_per_query_usd": _each(reserved, int(done.sum())),
        "cost_per_million_output_tokens_by_use_usd": _each(used, output / MEGA),
        "cost_per_million_tokens_by_use_usd": _each(used, tokens / MEGA),
        "cost_per_query_by_use_usd": _each(used, int(done.sum())),
    }


def busy_fraction(record: Record, num_gpus: int) -> float:
    """The share of the whole time in which the mean GPU is busy, of those that decode and those for prompts alone."""
    if record.duration == 0:
        return 0.0
    seconds, apart = float(record.stage_busy.mean()), record.prefill
    if apart is not None:
        share = apart.num_gpus / num_gpus
        seconds = (1 - share) * seconds + share * float(apart.stage_busy.mean())
    return seconds / record.duration


def _each(dollars: float | None, number: float) -> float | None:
    return None if dollars is None or number == 0 else dollars / number
