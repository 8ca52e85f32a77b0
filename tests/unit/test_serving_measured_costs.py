"""Passes composed of operators' times: made-up operators whose sums can be done by hand."""

from pathlib import Path

import numpy as np
import pytest

import topologies
from sim import models
from sim.deployment import Deployment
from sim.frameworks import serving
from sim.serving.costs import operators
from sim.serving.costs.grids import filled
from sim.serving.costs.measured import DENSE, FIRST, LAST, SAMPLED, Measured, measured_costs
from sim.serving.passes import Shape
from tests.pass_costs import one_by_one
from topologies.document import InputError
from topologies.quantity import MICROSECOND

LAYERS = ("layernorm", "qkv_proj", "rotary_emb", "o_proj")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Each operator: 10 us and 1 us for each token, or sequence; attention: 5 us and 1 ns for each pair of a decode and
    a key, and of a new token and one that it meets."""
    dense = [f"{name},{tokens},{10 + tokens}" for name in (*LAYERS, *DENSE, *FIRST, *LAST) for tokens in (1, 64, 2048)]
    sampled = [f"{name},{count},{10 + count},," for name in SAMPLED for count in (1, 256)]
    decodes = [(0, 0, count, keys) for count in (1, 16, 64) for keys in (16, 1024, 16384)]
    chunks = [(new, before, 0, 0) for new in (16, 512, 2048) for before in (0, 1024, 16384)]
    mixed = [(*chunk[:2], *decode[2:]) for chunk in chunks for decode in decodes]
    attention = [
        f"{new},{before},{count},{keys},{5 + (count * keys + new * (before + new / 2)) / 1000}"
        for new, before, count, keys in (*decodes, *chunks, *mixed)
    ]
    write(tmp_path / "dense_ops.csv", "layer,tokens,time_us", dense)
    write(tmp_path / "attention_ops.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", attention)
    write(tmp_path / "per_sequence_and_moe_ops.csv", "layer,sequences,time_us,tokens,activated_experts", sampled)
    return tmp_path


def write(path: Path, columns: str, rows: list[str]) -> None:
    path.write_text("\n".join([f"hardware,model,tp,{columns}", *(f"gpu,llama,1,{row}" for row in rows)]))


def costs(folder: Path) -> Measured:
    return measured_costs(
        operators.read(folder, "gpu", "llama", 1),
        models.load("llama3.1-8b"),
        topologies.load("rtx-4090-workstation"),
        Deployment(),
        serving.load("vllm-0.19"),
    )


def test_a_pass_is_layers_times_their_operators_and_both_ends(folder: Path) -> None:
    """16 decodes: 32 x 8 operators and 2, of 26 us each, head and sampler of 26 us each; 32 x (5 + 16 x 1000 / 1000) us
    of attention."""
    (stage,) = costs(folder).stages(Shape(16, 16_000, (), 16))
    assert stage.compute == pytest.approx((32 * 8 + 2 + 2) * 26 * MICROSECOND)
    assert stage.attention == pytest.approx(32 * 21 * MICROSECOND)


def test_passes_are_padded_to_the_sizes_of_graphs(folder: Path) -> None:
    """17 tokens run as 24; one is sampled."""
    one, other = (costs(folder).stages(Shape(count, 100 * count, (), 1))[0].compute for count in (17, 24))
    assert one == other


def test_chunks_are_one_that_meets_as_many_keys(folder: Path) -> None:
    """Two chunks of 256 tokens meet 2 x 256 x 128 keys, with 4096 cached before each 2 x 256 x 4096 more."""
    (stage,) = costs(folder).stages(Shape(0, 0, ((256, 4096), (256, 4096)), 0))
    assert stage.attention == pytest.approx(32 * MICROSECOND * (5 + 512 * (4096 + 128) / 1000))
    (fresh,) = costs(folder).stages(Shape(0, 0, ((256, 0), (256, 0)), 0))
    assert fresh.attention == pytest.approx(32 * MICROSECOND * (5 + 512 * 128 / 1000), rel=0.01)


def test_what_prompts_add_is_told_apart(folder: Path) -> None:
    shape = Shape(16, 16_000, ((512, 0),), 17)
    (alone,), (both,) = costs(folder).stages(Shape(16, 16_000, (), 16)), costs(folder).stages(shape)
    assert both.compute == alone.compute
    assert both.seconds > alone.seconds
    assert both.prefill == pytest.approx(both.seconds - alone.seconds)


def test_consecutive_passes_are_those_one_by_one(folder: Path) -> None:
    """To the last digit, beyond the longest measured cache as well."""
    made = costs(folder)
    for context in (1000, 7 * 16_380):
        several = one_by_one(made.decodes(7, context, 9))
        single = [made.stages(Shape(7, context + 7 * step, (), 7)) for step in range(9)]
        assert several == single


def test_holes_are_filled_from_their_neighbours() -> None:
    """A plane with holes is the plane again, at its edges, too."""
    axes = [np.array([1.0, 2, 4, 8]), np.array([0.0, 16, 64])]
    plane = 3 + 2 * axes[0][:, None] + 5 * axes[1][None, :]
    holed = plane.copy()
    holed[1, 1] = holed[3, 2] = holed[2, 0] = np.nan
    assert filled(holed, axes) == pytest.approx(plane)


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="no operators of llama on gpu with tp=2"):
        operators.read(folder, "gpu", "llama", 2)
    write(folder / "dense_ops.csv", "layer,tokens,time_us", ["layernorm,1,x"])
    with pytest.raises(InputError, match=r"dense_ops\.csv: time_us: 'x' is not a number"):
        operators.read(folder, "gpu", "llama", 1)
    write(folder / "dense_ops.csv", "layer,tokens,time_us", ["layernorm,1,1"])
    with pytest.raises(InputError, match="no embedding"):
        costs(folder)
    (folder / "attention_ops.csv").write_text("hardware,model,tp\n")
    with pytest.raises(InputError, match="no column prefill_chunk"):
        operators.read(folder, "gpu", "llama", 1)
