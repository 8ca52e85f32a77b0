"""What is published of each schedule: its bubble and what it holds, as formulas, with the numbers for which they hold.

p ranks, v chunks on each, m microbatches; F, B = I + W, I and W are the seconds of a rank's passes, all its chunks
together, and F&B those of a forward and a backward that run as one. No formula knows of communication.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTimes:
    """Seconds of a microbatch's passes through all layers of a rank, and of a message from stage to stage."""

    forward: float
    input_gradient: float
    weight_gradient: float
    message: float = 0.0

    @property
    def backward(self) -> float:
        return self.input_gradient + self.weight_gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedForm:
    """`idea` says in words what the schedule does.

    `bubble` is in seconds, the most that a rank idles from its first pass to its last, or in the whole step; `held` in
    microbatches of a rank's layers, the most on any rank. Both hold where all of `needs` is true.
    """

    idea: str
    bubble: str
    held: str
    source: str
    counted: Literal["rank", "step"] = "rank"
    needs: tuple[str, ...] = ()


CLOSED_FORMS: Final[Mapping[str, ClosedForm]] = {
    "gpipe": ClosedForm(
        idea="all forwards, then all backwards", bubble="(p - 1) × (F + B)", held="m", source="Huang et al. 2019"
    ),
    "1f1b": ClosedForm(
        idea="one forward, one backward in turn",
        bubble="(p - 1) × (F + B)",
        held="min(p, m)",
        source="Narayanan et al. 2021",
    ),
    "interleaved": ClosedForm(
        idea="1f1b, several chunks a rank",
        bubble="(p - 1) × (F + B) / v",
        held="min((2 × (p - 1) + (v - 1) × p + 1) / v, m)",
        source="Narayanan et al. 2021",
    ),
    "looped": ClosedForm(
        idea="gpipe chunk by chunk",
        bubble="(p - 1) × (F + B) / v",
        held="m",
        source="Lamy-Poirier 2022, equation 3",
        needs=("m >= p",),
    ),
    "naive": ClosedForm(
        idea="one microbatch at a time", bubble="m × (p - 1) × (F + B)", held="1", source="Huang et al. 2019, figure 2b"
    ),
    "zb-h1": ClosedForm(
        idea="weight gradients put off",
        bubble="(p - 1) × (F + I - W)",
        held="min(p, m)",
        source="Qi et al. 2023, table 2",
        needs=("W <= F", "m >= p"),
    ),
    "zb-h2": ClosedForm(
        idea="twice the forwards first",
        bubble="max(0, (p - 1) × (F + I - 2 × W))",
        held="min(2 × p - 1, m)",
        source="Qi et al. 2023, table 2",
        needs=("W <= F", "m >= 2 × p - 1"),
    ),
    "zb-v": ClosedForm(
        idea="two chunks, down and back",
        bubble="0",
        held="min(p, m)",
        source="Qi et al. 2023, section 6",
        needs=("F = I = W", "m >= 2 × p - 1"),
    ),
    "v-half": ClosedForm(
        idea="a V that holds half",
        bubble="(3 × (p - 1) - p mod 2) × F / 2",
        held="min((p + 2) div 2, m)",
        source="counted here; Qi et al. 2024: about half of 1f1b's",
        needs=("F = I = W", "m >= p", "p >= 2"),
    ),
    "v-min": ClosedForm(
        idea="a V that holds a third",
        bubble="(4 × p - 5 + 2 × (p mod 3 = 0)) × F / 2",
        held="min((p + 4) div 3, m)",
        source="counted here; Qi et al. 2024: about 2/3 of 1f1b's",
        needs=("F = I = W", "m >= p", "p >= 2"),
    ),
    "dualpipe": ClosedForm(
        idea="from both ends, the model twice",
        bubble="(p / 2 - 1) × (F&B + B - 3 × W)",
        held="p + 1",
        source="DeepSeek-AI, github.com/deepseek-ai/DualPipe",
        counted="step",
        needs=("W <= F", "F = I"),
    ),
    "dualpipev": ClosedForm(
        idea="dualpipe in one V",
        bubble="(p - 1) × (F&B + B - 3 × W) / 2",
        held="p + 1 / 2",
        source="Sea AI Lab 2025; github.com/deepseek-ai/DualPipe",
        counted="step",
        needs=("W <= F", "F = I"),
    ),
}
"""By the names of SCHEDULES."""

Symbols = Mapping[str, float]
_SYMBOL = re.compile(r"F&B|\b[pvmFBIW]\b")
_PYTHON = {"×": "*", " mod ": " % ", " div ": " // ", " = ": " == "}
_OPERATORS: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"min": min, "max": max}


def symbols_of(num_ranks: int, num_chunks: int, num_microbatches: int, times: PassTimes) -> Symbols:
    """What the letters of a formula stand for."""
    lasting = {"F": times.forward, "B": times.backward, "I": times.input_gradient, "W": times.weight_gradient}
    paired = {"F&B": times.forward + times.backward}
    return {"p": num_ranks, "v": num_chunks, "m": num_microbatches, **lasting, **paired}


def value_of(formula: str, symbols: Symbols) -> float:
    """What a formula comes to; 1 or 0 for a condition."""
    text = with_numbers(formula, symbols, repr)
    for written, python in _PYTHON.items():
        text = text.replace(written, python)
    return float(_evaluated(ast.parse(text, mode="eval").body))


def with_numbers(formula: str, symbols: Symbols, shown: Callable[[float], str] = "{:.4g}".format) -> str:
    """The formula with a number in place of each letter."""
    return _SYMBOL.sub(lambda found: shown(symbols[found[0]]), formula)


def unmet(form: ClosedForm, symbols: Symbols) -> tuple[str, ...]:
    """Which of a formula's needs are not true of these numbers."""
    return tuple(need for need in form.needs if not value_of(need, symbols))


def _evaluated(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=sign, right=right):
            return _OPERATORS[type(sign)](_evaluated(left), _evaluated(right))
        case ast.Compare(left=left, ops=signs, comparators=others):
            terms = [_evaluated(each) for each in (left, *others)]
            return all(_OPERATORS[type(sign)](*pair) for sign, pair in zip(signs, pairwise(terms), strict=True))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*map(_evaluated, arguments))
        case _:
            raise AssertionError(ast.dump(node))
