"""Controls that the address follows keep their place on the page, whatever is shown before them.

The browser makes a control that moves anew, and takes the former one away only later, with it the address.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.command import ROOT

pytest.importorskip("streamlit", reason="streamlit is not installed")

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Node

from web import simulations
from web.bundle import Kept, packed

SMALL = {"serve_model": "llama3-8b", "serve_gpus": "2", "serve_tp": "2", "serve_requests": "10", "serve_answer": "8"}
PROFILE = (ROOT / "topologies" / "fits" / "h100-80gb-sxm.yaml").read_bytes()
Act = Callable[[AppTest], object]


def places(app: AppTest) -> dict[str, tuple[int, ...]]:
    """Of each control in the address, the way to it through the containers of the page."""
    assert not app.exception
    return dict(found(app.main, ()))


def found(node: Node, place: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    key = bound(node.proto)
    if key:
        yield key, place
    for number, child in node.children.items() if isinstance(node, Block) else ():
        yield from found(child, (*place, number))


def bound(proto: object) -> str:
    """What a control, or a block that is one, is called in the address."""
    tabs = getattr(proto, "tab_container", proto)
    return str(getattr(tabs, "query_param_key", ""))


def slow_page() -> None:
    import time

    import streamlit as st

    from web.simulations import ask

    ask(time.sleep, 0.5)
    st.slider("control", 0, 9, key="control", bind="query-params")


def test_a_control_is_where_it_was_after_the_page_had_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    wait = simulations._wait
    monkeypatch.setattr(simulations, "PATIENCE", 0)
    monkeypatch.setattr(simulations, "_wait", lambda *its: (waits.append("waited"), wait(*its)))
    app = AppTest.from_function(slow_page, default_timeout=60).run()
    waited = places(app)
    assert waits == ["waited"]
    assert places(app.run()) == waited == {"control": waited["control"]}
    assert waits == ["waited"], "the answer was known"


def serve_page() -> None:
    from web.views import serve

    serve.page()


@pytest.mark.parametrize(
    ("act", "some"),
    [
        (lambda app: app.segmented_control(key="serve_load").set_value("users"), {"serve_seed", "serve_tab"}),
        (lambda app: app.segmented_control(key="serve_load").set_value("trace"), {"serve_seed", "serve_slo"}),
        (lambda app: app.multiselect(key="serve_slo").set_value(["p99 ttft < 1 ms"]), {"serve_slo", "serve_tab"}),
    ],
    ids=["users", "a trace", "a promise that is not kept"],
)
def test_controls_of_serve_stay_where_they_are(act: Act, some: set[str]) -> None:
    check(AppTest.from_function(serve_page, default_timeout=60), SMALL, act, some)


def compare_page() -> None:
    from web.views import compare

    compare.page()


def test_controls_of_compare_stay_where_they_are_as_the_basket_is_emptied() -> None:
    from web import basket

    kept = (*basket.EXAMPLES, Kept(name="third", text=basket.EXAMPLES[0].text.replace("gpus: 64", "gpus: 32")))
    app = AppTest.from_function(compare_page, default_timeout=60)
    check(app, {"basket": packed(kept)}, lambda app: app.button(key="remove 2").click(), {"look", "a", "b"})


def calibration_page() -> None:
    from web.views import calibration

    calibration.page()


def test_controls_of_calibration_stay_where_they_are_as_a_profile_is_read() -> None:
    app = AppTest.from_function(calibration_page, default_timeout=60)
    check(app, {}, open_profile, {"part", "operation", "fits_draw"})


def open_profile(app: AppTest) -> None:
    app.file_uploader(key="fits_profile").upload("profile.yaml", PROFILE, "application/yaml")


def check(app: AppTest, address: dict[str, str], act: Act, some: set[str]) -> None:
    """All controls that are there before and after are where they were, among them some that were in danger."""
    for key, said in address.items():
        app.query_params[key] = said
    before = places(app.run())
    act(app)
    after = places(app.run())
    both = before.keys() & after.keys()
    assert some <= both
    assert {key: after[key] for key in both} == {key: before[key] for key in both}
