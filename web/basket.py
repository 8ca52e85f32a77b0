"""The basket: scenarios that a reader has put aside to compare, kept for the session and in the address of the page.

While it is empty, two examples stand in for it.
"""

from collections.abc import Mapping
from typing import Final

import streamlit as st

from topologies.document import InputError, Value
from web import scenarios
from web.bundle import MOST, Kept, called, packed, shortened, unpacked

IN_ADDRESS: Final = "basket"
_OWN: Final = "own scenarios"
_WRITTEN: Final = "basket as it was written into the address"
_PLANS: Final[Mapping[str, dict[str, Value]]] = {
    "Llama 3 70B, 1F1B": {"tp": 8, "pp": 4, "schedule": "1f1b"},
    "Llama 3 70B, interleaved": {"tp": 8, "pp": 4, "vpp": 5, "schedule": "interleaved"},
}
_ALIKE: Final[Mapping[str, Value]] = {
    "model": "llama3-70b",
    "cluster": "dgx-h100",
    "gpus": 64,
    "batch": {"global": 64},
}
EXAMPLES: Final = tuple(Kept(name=name, text=scenarios.text({**_ALIKE, "plan": plan})) for name, plan in _PLANS.items())


def held() -> tuple[Kept, ...]:
    """What the reader has put in."""
    own: tuple[Kept, ...] = st.session_state.get(_OWN, ())
    return own


def shown() -> tuple[Kept, ...]:
    """What there is to compare: the reader's own, or the examples."""
    return held() or EXAMPLES


def texts() -> tuple[str, ...]:
    """The scenarios that there are to compare, as texts."""
    return tuple(kept.text for kept in shown())


def add(text: str, name: str = "") -> None:
    """Put a scenario in, under a name of its own; the same text is not put in twice.

    Raises InputError where the basket is full.
    """
    if text not in (kept.text for kept in held()):
        _keep((*held(), Kept(name=_unique(name or called(text), held()), text=text)))


def button(text: str, key: str, name: str = "") -> None:
    """A button that puts this scenario in, and says so."""
    is_in = text in (kept.text for kept in held())
    says = "In the basket" if is_in else "Add to the basket"
    icon = ":material/check:" if is_in else ":material/add_shopping_cart:"
    why = "The Compare page shows the scenarios of the basket side by side."
    if st.button(says, key=key, icon=icon, disabled=is_in, help=why):
        add(text, name)
        st.toast(f"{len(held())} of {MOST} in the basket: see the page Compare.")
        st.rerun()


def remove(place: int) -> None:
    """Take one out; an example that stays becomes the reader's own."""
    _keep(shown()[:place] + shown()[place + 1 :])


def rename(place: int, name: str) -> None:
    """Call one otherwise; an example becomes the reader's own."""
    before, after = shown()[:place], shown()[place + 1 :]
    text = shown()[place].text
    _keep((*before, Kept(name=_unique(name or called(text), (*before, *after)), text=text), *after))


def put(found: tuple[Kept, ...]) -> None:
    """Put several in, as `add` does each."""
    for kept in found:
        add(kept.text, kept.name)


def empty() -> None:
    """Take all out: the examples are shown again."""
    _keep(())


def from_address() -> None:
    """Take the basket from the page's address, where it says another than this session wrote.

    Raises InputError, once, for an address that was cut off.
    """
    letters = st.query_params.get(IN_ADDRESS)
    if letters and letters != st.session_state.get(_WRITTEN):
        st.session_state[_WRITTEN] = letters
        found = unpacked(letters)
        empty()
        put(found)


def to_address() -> None:
    """Write the basket into the page's address; raises InputError where it is too long for one."""
    st.session_state[_WRITTEN] = ""
    try:
        letters = packed(held()) if held() else ""
    except InputError:
        _put_into_address("")
        raise
    st.session_state[_WRITTEN] = letters
    _put_into_address(letters)


def _put_into_address(letters: str) -> None:
    if not letters:
        st.query_params.pop(IN_ADDRESS, None)
    elif st.query_params.get(IN_ADDRESS) != letters:
        st.query_params[IN_ADDRESS] = letters


def _keep(kept: tuple[Kept, ...]) -> None:
    if len(kept) > MOST:
        raise InputError(f"the basket is full: {MOST} scenarios; take one out on the page Compare")
    st.session_state[_OWN] = kept


def _unique(name: str, beside: tuple[Kept, ...]) -> str:
    """The name, with a number behind it where another has it already."""
    name, taken = shortened(name), {kept.name for kept in beside}
    numbered = (f"{name} ({number})" for number in range(2, MOST + 2))
    return name if name not in taken else next(other for other in numbered if other not in taken)
