"""Who gets the next request."""

import numpy as np

from sim import deployment
from sim.serving.router import MOST_AHEAD, ROUTERS, Router


def dealt(router: Router, name: deployment.Router, *contents: tuple[int, ...]) -> list[int]:
    targets = []
    for each in contents:
        targets.append(ROUTERS[name](router, each))
        router.send(targets[-1])
    return targets


def test_round_robin_deals_in_turn() -> None:
    assert dealt(Router(3, 0.1), "round-robin", *[()] * 5) == [0, 1, 2, 0, 1]


def test_least_loaded_knows_what_it_sent_but_hears_of_answers_later() -> None:
    router = Router(2, 0.1)
    assert dealt(router, "least-loaded", (), (), ()) == [0, 1, 0]
    router.answered(0, 1.0)
    router.answered(0, 1.0)
    router.hear(1.05)
    assert dealt(router, "least-loaded", ()) == [1]
    router.hear(1.1)
    assert dealt(router, "least-loaded", (), ()) == [0, 0]


def test_least_loaded_is_the_least_of_all_however_long_it_goes_on() -> None:
    """Far more is dealt and answered than is kept of it."""
    random, router = np.random.default_rng(0), Router(5, 0.0)
    last_turn = [target - 5 for target in range(5)]
    for turn in range(500):
        router.hear(turn)
        target = router.least_loaded()
        assert target == min(range(5), key=lambda each: (router.known[each], last_turn[each]))
        target = int(random.integers(5)) if turn % 3 else target
        router.send(target)
        last_turn[target] = turn
        if turn % 4:
            router.answered(target, turn)


def test_prefix_aware_goes_where_the_longest_beginning_is_known() -> None:
    assert dealt(Router(3, 0.1), "prefix-aware", (1, 2, 3), (7, 8), (1, 2, 9), (7, 5), (2,)) == [0, 1, 0, 1, 2]


def test_prefix_aware_passes_over_a_replica_that_is_much_more_loaded() -> None:
    targets = dealt(Router(2, 0.1), "prefix-aware", *[(1, 2)] * (MOST_AHEAD + 2))
    assert targets == [0] * (MOST_AHEAD + 1) + [1]
