"""When the passes of a stretch happen: each begins when the host, the stages before and the passes before are done."""

from itertools import accumulate, cycle

from sim.serving.cohort import Cohort, Seconds, Stretch
from sim.serving.pipeline import Pipeline


def plan(cohorts: list[Cohort], now: float, under_way: list[float], pipeline: Pipeline) -> Stretch:
    """When the passes happen, the first one scheduled now. under_way: ends of the passes before, oldest first, each of
    which is waited for before the next but one is scheduled."""
    free, num_stages = pipeline.free, len(cohorts[0].seconds)
    if num_stages > 1 and not pipeline.is_serial:
        seconds = [_in_turn([one.seconds[stage] for one in cohorts]) for stage in range(num_stages)]
        return _max_plus(cohorts, now, under_way, free, seconds)
    (cohort,) = cohorts
    whole = cohort.seconds[0]
    if num_stages > 1:
        sends = sum(cohort.sends)
        whole = [sum(each) + sends for each in zip(*cohort.seconds, strict=True)]
    if not under_way:
        return _one_by_one(cohort, now, whole)
    if len(under_way) == 1 and cohort.host <= min(whole):
        return _back_to_back(cohort, now, under_way, free[-1], whole)
    return _max_plus(cohorts, now, under_way, free[-1:], [whole])


def _in_turn(by_cohort: list[list[float]]) -> list[float]:
    """One of each cohort in turn."""
    if len(by_cohort) == 1:
        return by_cohort[0]
    turns = [0.0] * (len(by_cohort) * len(by_cohort[0]))
    for turn, each in enumerate(by_cohort):
        turns[turn :: len(by_cohort)] = each
    return turns


def _one_by_one(cohort: Cohort, now: float, seconds: list[float]) -> Stretch:
    """One stage, one pass at a time: scheduled when the one before is out."""
    host = cohort.host
    times = list(accumulate([each + host for each in seconds], initial=now))
    return Stretch([cohort], times[:-1], times[1:], [], [])


def _back_to_back(
    cohort: Cohort, now: float, under_way: list[float], free: float, seconds: list[float]
) -> Stretch:  # fmt: skip
    """One stage that never waits for the host, since the next pass is prepared while one runs."""
    host = cohort.host
    ended = list(accumulate(seconds, initial=max(now + host, free)))[1:]
    scheduled = [now, *under_way, *ended][: len(ended)]
    for index in range(1, min(len(under_way) + 1, len(ended))):
        scheduled[index] = max(scheduled[index - 1] + host, scheduled[index])
    return Stretch([cohort], scheduled, ended, [], under_way)


def _max_plus(
    cohorts: list[Cohort], now: float, under_way: list[float], free: list[float], seconds: Seconds
) -> Stretch:  # fmt: skip
    """Pass by pass, from stage to stage."""
    ends, scheduled = [now, *under_way], []
    leaves: Seconds = [[] for _ in free[1:]]
    later = list(zip(range(1, len(free)), leaves, seconds[1:], strict=True))
    turns = cycle([(one.host, one.sends) for one in cohorts])
    launched, busy_until, stages = now, free[0], free.copy()
    for index, (time, (host, sends)) in enumerate(zip(seconds[0], turns, strict=False)):
        end = ends[index]
        start = launched if launched > end else end
        launched = start + host
        ready = busy_until = (launched if launched > busy_until else busy_until) + time
        for stage, leave, times in later:
            leave.append(ready)
            begins, left = stages[stage], ready + sends[stage - 1]
            stages[stage] = ready = (left if left > begins else begins) + times[index]
        scheduled.append(start)
        ends.append(ready)
    return Stretch(cohorts, scheduled, ends[len(under_way) + 1 :], leaves, under_way)
