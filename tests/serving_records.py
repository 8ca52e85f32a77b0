"""A served load that a reader can work out by hand, for tests of what is made of one."""

import numpy as np
from numpy.typing import NDArray

from sim.requests import Requests
from sim.serving.record import CAUSES, Record, Steps


def three() -> Record:
    """Three requests on one replica of one stage; a fourth, of a million tokens, is refused.

    | sent | scheduled | first token | finished | prompt | output | TTFT | TPOT | E2EL |
    | 0    | 0         | 1           | 3        | 100    | 3      | 1    | 1    | 3    |
    | 1    | 2         | 3           | 5        | 200    | 5      | 2    | 0.5  | 4    |
    | 4    | 4         | 5           | 5        | 300    | 1      | 1    | -    | 1    |

    Gaps: two of 1 s, four of 0.5 s. Passes from 0 to 1 and from 2 to 5 s: it works for 4 of 5 seconds.
    """
    causes = np.zeros((4, len(CAUSES)))
    causes[:, CAUSES.index("compute")] = [3, 3, 1, 0]
    causes[1, CAUSES.index("queue")] = 1
    first_causes = np.zeros((4, len(CAUSES)))
    first_causes[:, CAUSES.index("compute")] = [1, 1, 1, 0]
    first_causes[1, CAUSES.index("queue")] = 1
    nan = np.nan
    return Record(
        requests=Requests(
            arrival=np.array([0.0, 1, 4, 4]), prompt=np.array([100, 200, 300, 10**6]), output=np.array([3, 5, 1, 9])
        ),
        sent=np.array([0.0, 1, 4, 4]),
        scheduled=np.array([0.0, 2, 4, nan]),
        first_token=np.array([1.0, 3, 5, nan]),
        finished=np.array([3.0, 5, 5, nan]),
        replica=np.zeros(4, np.int64),
        preemptions=np.zeros(4, np.int64),
        cached=np.array([0, 32, 0, 0]),
        first_causes=first_causes,
        causes=causes,
        gap_seconds=np.array([1.0, 0.5]),
        gap_counts=np.array([2, 4]),
        steps=passes(
            start=[0, 2, 3, 4], end=[1, 3, 4, 5], prefill=[100, 200, 0, 300], decodes=[0, 1, 2, 3], used=[7, 20, 13, 40]
        ),
        stage_busy=np.array([[4.0]]),
        num_blocks=100,
        refused={3: "too long"},
    )


def passes(*, start: list[float], end: list[float], prefill: list[int], decodes: list[int], used: list[int]) -> Steps:
    """Passes of replica 0, which run what they decode and one prompt, while one request waits."""
    column: NDArray[np.int64] = np.zeros(len(start), np.int64)
    begin, over = np.array(start, np.float64), np.array(end, np.float64)
    return Steps(
        replica=column,
        start=begin,
        end=over,
        busy=over - begin,
        tokens=np.array(prefill) + np.array(decodes),
        prefill=np.array(prefill),
        decodes=np.array(decodes),
        running=np.array(decodes) + (np.array(prefill) > 0),
        waiting=column + 1,
        used_blocks=np.array(used),
    )
