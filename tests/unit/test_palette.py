"""Every kind of time and memory has a colour and a letter that all eyes tell apart, on light and dark pages."""

import itertools

import numpy as np
import pytest

from sim.reports.palette import BLACK, KINDS, MEMORY, WHITE, contrast, depth, kind_of, part


def test_no_two_slices_side_by_side_share_a_letter_and_a_colour():
    for family in (KINDS, MEMORY):
        assert len({(kind.letter, kind.color) for kind in family.values()}) == len(family)
        assert len({kind.letter for kind in family.values()}) == len(family)


def test_exposed_communication_looks_like_the_communication_it_waits_for():
    assert kind_of("exposed_tp") == kind_of("tp") == "tp"
    assert part("exposed_tp").title == "exposed tensor-parallel communication"
    assert [part(f"exposed_{axis}").letter for axis in ("tp", "cp", "ep", "pp", "dp")] == list("TXEPD")
    assert kind_of("exposed_wires") == "other"


def test_text_on_a_colour_can_be_read():
    """WCAG asks for a contrast of 4.5 [WCAG 2.2, 1.4.3]."""
    assert contrast(WHITE, BLACK) == pytest.approx(21)
    for kind in (*KINDS.values(), *MEMORY.values()):
        assert contrast(kind.color, kind.ink) >= 4.5
    for count in (1, 2, 8, 64):
        assert min(contrast(*depth(place, count)) for place in range(count)) >= 4.5


SEEN_BY = {
    "all three cones": np.eye(3),
    "no long cone": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no middle cone": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no short cone": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""Linear RGB as it is seen [Machado, Oliveira & Fernandes 2009, severity 1]."""


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_any_two_colours_of_a_timeline_are_told_apart_by_all_eyes(eyes):
    """At least 10 apart in CIELAB [CIE 1976], where 2.3 is just seen."""
    seen = [lightness_and_hue(color, SEEN_BY[eyes]) for color in {kind.color for kind in KINDS.values()}]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 10


def lightness_and_hue(color, eyes):
    """CIELAB of an sRGB colour under D65."""
    channels = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ np.clip(eyes @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_pipeline_ranks_go_from_light_to_dark():
    against_white = [contrast(depth(place, 16)[0], WHITE) for place in range(16)]
    assert against_white == sorted(against_white)
