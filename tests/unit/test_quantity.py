"""Laws of quantity.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.document import InputError
from topologies.quantity import GIB, TERA, Unit, count, count_text, flops, nbytes, parse, pattern, rate, seconds


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("450 GB/s", "B/s", 450e9),
        ("400 Gb/s", "B/s", 50e9),
        ("400 Gbps", "B/s", 50e9),
        ("3.35 TB/s", "B/s", 3.35e12),
        ("80 GB", "B", 80e9),
        ("40 GiB", "B", 40 * 2**30),
        ("50MiB", "B", 50 * 2**20),
        ("3.4 us", "s", 3.4e-6),
        ("1.5 µs", "s", 1.5e-6),
        ("8 ms", "s", 8e-3),
        ("989.4 TFLOP/s", "FLOP/s", 989.4e12),
        ("624 TOP/s", "FLOP/s", 624e12),
        (" 700 W ", "W", 700.0),
        ("1e3 W", "W", 1000.0),
    ],
)
def test_text_with_a_unit_is_its_amount_in_si(text: str, unit: Unit, amount: float) -> None:
    assert parse(text, unit) == amount
    assert re.match(pattern(unit), text)


def test_a_byte_is_eight_bits() -> None:
    assert parse("8 Gb/s", "B/s") == parse("1 GB/s", "B/s")


@pytest.mark.parametrize(
    ("text", "unit"),
    [("80", "B"), ("50 GB", "B/s"), ("80 GB/s", "B"), ("-1 s", "s"), ("fast", "B/s"), ("1e3", "W"), ("1 2 GB", "B")],
)
def test_an_editor_is_told_what_will_be_refused(text: str, unit: Unit) -> None:
    assert not re.match(pattern(unit), text)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("450 GB/x", "B/s", "'450 GB/x' is not a bandwidth; write for example '450 GB/s'"),
        ("80 GB/s", "B", "'80 GB/s' is not a size; write for example '80 GB'"),
        ("fast", "B/s", "'fast' is not a bandwidth; write for example '450 GB/s'"),
        ("80", "B", "'80' has no unit; write for example '80 GB'"),
        (80, "B", "80 has no unit; write for example '80 GB'"),
        (None, "s", "nothing is not a time; write for example '1.5 us'"),
        ([1], "W", "a list is not a power; write for example '700 W'"),
        ("-450 GB/s", "B/s", "'-450 GB/s': a bandwidth must be positive"),
        ("0 s", "s", "'0 s': a time must be positive"),
        ("1e-999 s", "s", "'1e-999 s': a time must be positive"),
        ("1e40 GB", "B", "'1e40 GB': absurdly large for a size; check the unit"),
        ("1e999 GB", "B", "'1e999 GB': absurdly large for a size; check the unit"),
        ("1e9999999 GB", "B", "'1e9999999 GB' is not a size; write for example '80 GB'"),
        ("nan GB", "B", "'nan GB' is not a size; write for example '80 GB'"),
        ("inf W", "W", "'inf W' is not a power; write for example '700 W'"),
        ("1 2 GB", "B", "'1 2 GB' is not a size; write for example '80 GB'"),
    ],
)
def test_what_is_no_positive_amount_is_refused_with_an_example(text: object, unit: Unit, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, unit)
    assert str(caught.value) == message


@given(st.text())
def test_any_text_is_an_amount_or_a_short_error(text: str) -> None:
    said = ""
    try:
        assert 0 < parse(text, "B/s") <= 1e30
    except InputError as error:
        said = str(error)
    assert len(said) < 200


def test_people_read_four_digits_and_the_fitting_unit() -> None:
    assert [seconds(1.23456), seconds(56.78e-3), seconds(3.1e-6), seconds(0)] == [
        "1.235 s",
        "56.78 ms",
        "3.1 us",
        "0 ns",
    ]
    assert seconds(0.00099999) == "1 ms"
    assert [nbytes(79.25 * GIB), nbytes(12)] == ["79.25 GiB", "12 B"]
    assert rate(4.5e11) == "450 GB/s"
    assert flops(312 * TERA) == "312 TFLOP/s"


@given(st.floats(min_value=1e-9, max_value=1e6))
def test_a_time_that_is_shown_reads_back_to_four_digits(time: float) -> None:
    assert parse(seconds(time), "s") == pytest.approx(time, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "number"),
    [("15T", 15 * 10**12), ("1.5T", 1_500_000_000_000), ("300 B", 300 * 10**9), ("2G", 2 * 10**9), ("1e12", 10**12),
     (7, 7), (1.5e9, 1_500_000_000), ("3k", 3000)],
)  # fmt: skip
def test_a_count_is_a_whole_number_with_a_suffix(text: object, number: int) -> None:
    assert count(text) == number


@pytest.mark.parametrize("text", ["", "many", "1.5", "15 TB", -3, 0, True, None, "1e40", [1]])
def test_what_is_no_count_is_refused(text: object) -> None:
    with pytest.raises(InputError):
        count(text)


@given(number=st.integers(1, 10**18))
def test_a_count_reads_back_exactly(number: int) -> None:
    assert count(count_text(number)) == number
