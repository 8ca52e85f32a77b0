"""When tokens of answers came out: first ones as clients saw them, further ones at the end of the server's passes.

The latter are early by the client's way (`request_seconds`, some 20 ms): little beside windows of a second.
"""

import numpy as np
from numpy.typing import NDArray

from sim.serving.record import Record


def token_times(record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times at which tokens came out, and how many: together as many as all answers that finished have.

    A pass gives a token for each request that decodes in it. Where it gives more (it speculates) or other ones (it
    computes again what was preempted), the counts of all passes are scaled alike: of one pass an approximation.
    """
    begun = ~np.isnan(record.first_token)
    done = ~np.isnan(record.finished)
    further = int(record.requests.output[done].sum()) - int(done.sum())
    decodes = record.steps.decodes.astype(float)
    total = decodes.sum()
    scaled = decodes * (further / total) if total > 0 else decodes
    return (
        np.concatenate([record.first_token[begun], record.steps.end]),
        np.concatenate([np.ones(int(begun.sum())), scaled]),
    )
