"""A load as its clients see it: HTTP, tokens and messages between processes lie between them and the scheduler.

The way there and back is told once, with the first token; further tokens come in the rhythm of their passes.
"""

from dataclasses import replace

import numpy as np

from sim.serving.record import CAUSES, Record


def as_seen(record: Record, seconds: float) -> Record:
    """The record with every answer so much later, which counts as `host`: the time to the first token and to the last
    one grow by it, the time per further token does not."""
    answered = ~np.isnan(record.first_token)
    later = np.where(answered, seconds, 0.0)[:, None] * (np.array(CAUSES) == "host")
    return replace(
        record,
        first_token=record.first_token + seconds,
        finished=record.finished + seconds,
        first_causes=record.first_causes + later,
        causes=record.causes + later,
    )
