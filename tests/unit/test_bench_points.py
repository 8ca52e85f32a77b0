"""Every family of points: what is measured, whether its results are right, and whether wrong ones are found."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest
import torch

import topologies
from calibrate.bench import attention, gemm, grouped, launch_overhead, memory_bound, plan, row_kernels, sustained
from calibrate.bench.point import Point, Ranks, Run
from calibrate.bench.shapes import Candidate, Heads, heads, small_weights, spread_out, weights
from calibrate.bench.tensors import difference, random, some
from calibrate.machines.machine import LOOPBACK, Machine
from calibrate.verification.sizes import Sizes
from sim.costs.laws import KERNEL_LAWS
from sim.costs.processor import KINDS, Kind
from topologies.document import Document
from topologies.hardware import Gpu
from topologies.sheets import gpu as gpu_in

HERE = Ranks(rank=0, num_ranks=2, ranks_per_node=2, device=torch.device("cpu"))
NAME = "cpu-test"
PROCESSOR = {
    "name": NAME,
    "peak_flops": {"bf16": "100 GFLOP/s", "fp32": "100 GFLOP/s"},
    "memory": "8 GiB",
    "memory_bandwidth": "20 GB/s",
    "num_sms": 1,
    "l2_cache": "32 MiB",
    "power_limit": "100 W",
    "achievable": {
        "gemm_efficiency": 0.75,
        "memory_efficiency": 0.77,
        "kernel_latency": "4 us",
        "flash_forward_efficiency": 0.5,
        "flash_backward_efficiency": 0.5,
    },
}
LINK = {
    "name": LOOPBACK,
    "bandwidth": "2 GB/s",
    "latency": "100 us",
    "achievable": {"bandwidth_efficiency": 0.7, "launch_latency": "400 us"},
}


@pytest.fixture(scope="module")
def machine() -> Machine:
    hardware = {"gpu": PROCESSOR, "link": LINK}
    return Machine(backend="gloo", part=NAME, link=LOOPBACK, device="a test", num_gpus=2, hardware=hardware)


@pytest.fixture(scope="module")
def processor() -> Gpu:
    return gpu_in(Document(name="processor", data=dict(PROCESSOR), lines={}))


@pytest.fixture(scope="module")
def h200() -> Machine:
    return Machine(backend="nccl", part="h200-sxm", link="nvlink4", device="NVIDIA H200", num_gpus=8)


@pytest.fixture(scope="module")
def everything(h200: Machine, machine: Machine, processor: Gpu) -> dict[str, list[Point]]:
    """The thorough plans of a GPU and of a processor: they take a second or two to make."""
    return {
        "gpu": plan.points(h200, topologies.gpu("h200-sxm"), "full"),
        "processor": plan.points(machine, processor, "full"),
    }


def checked(run: Run) -> str:
    run.go()
    return run.check()


def few(points: Iterator[Point]) -> list[Point]:
    """The first two of each operation that take little."""
    by_operation: dict[str, list[Point]] = {}
    for one in points:
        if one.seconds < 0.005:
            by_operation.setdefault(one.operation, []).append(one)
    return [one for group in by_operation.values() for one in islice(group, 2)]


@pytest.mark.parametrize("family", [gemm, attention, memory_bound, row_kernels, launch_overhead, grouped])
def test_every_operation_runs_on_a_processor_and_is_right(family: object, machine: Machine, processor: Gpu) -> None:
    wrong = {one.operation: checked(one.prepare(HERE)) for one in few(family.points(machine, processor))}  # type: ignore[attr-defined]
    assert wrong
    assert set(wrong.values()) == {""}


@pytest.mark.parametrize(
    "prepare",
    [
        partial(gemm._fp8, 32, 48, 64),
        partial(gemm._product, 0, torch.float16, 8, 16, 32),
        partial(attention._decode, 2, 64, Heads(4, 2, 16)),
        partial(memory_bound._stream, "norm", 8, 64),
        partial(memory_bound._stream, "activation", 8, 64),
        partial(sustained._mixed, sustained.Mix(16, 32, 64, 4096), "sustained product"),
    ],
)
def test_what_only_gpus_are_asked_for_is_right_too(prepare: partial[Run]) -> None:
    assert checked(prepare(HERE)) == ""


def test_products_of_all_experts_in_one_are_right() -> None:
    """What a GPU runs as one kernel gives what the loop of a processor gives."""
    x, w = torch.randn(32, 16).bfloat16(), torch.randn(2, 24, 16).bfloat16().transpose(1, 2)
    together = grouped._grouped(x, w, torch.tensor([16, 32], dtype=torch.int32))()
    assert difference(together, grouped._looped(x, w, [16, 32])(), list(range(32))) == ""


def test_a_wrong_product_is_found_and_its_row_named(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = torch.mm

    def broken(left: torch.Tensor, right: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        multiply(left, right, out=out)
        out[-1] *= 1.1
        return out

    monkeypatch.setattr(torch, "mm", broken)
    for layout in (0, 1, 2):
        said = checked(gemm._product(layout, torch.bfloat16, 16, 16, 16, HERE))
        assert said.startswith("result off by 10.")
        assert said.endswith("at row 15")


@pytest.mark.parametrize("spoiled", [0, 2])
def test_a_wrong_gradient_of_attention_is_found(spoiled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """dq by rows, dv by its sum."""
    differentiate = torch.autograd.grad

    def broken(*arguments: object, **options: object) -> tuple[torch.Tensor, ...]:
        right = differentiate(*arguments, **options)  # type: ignore[arg-type]
        return tuple(one * 1.2 if index == spoiled else one for index, one in enumerate(right))

    monkeypatch.setattr(torch.autograd, "grad", broken)
    for causal in (0, 1):
        assert "result off by 20." in checked(attention._backward(1, 32, 2, 16, causal, HERE))


def test_attention_that_forgets_its_mask_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attention.scaled_dot_product_attention
    monkeypatch.setattr(attention, "scaled_dot_product_attention", lambda q, k, v, is_causal: whole(q, k, v))
    assert "result off" in checked(attention._forward(1, 32, 2, 16, 1, HERE))
    assert checked(attention._forward(1, 32, 2, 16, 0, HERE)) == ""


def test_what_is_not_a_number_is_wrong() -> None:
    right, broken = torch.ones(2, 4), torch.tensor([[1.0] * 4, [math.nan] * 4])
    assert difference(right, right, [3, 7]) == ""
    assert difference(broken, right, [3, 7]).endswith("at row 7")


def test_some_indices_reach_from_the_first_to_the_last() -> None:
    assert some(2, 3) == [0, 1]
    assert some(101, 3) == [0, 50, 100]


def test_candidates_are_taken_far_apart(machine: Machine, processor: Gpu) -> None:
    """Of 1, 2, ..., 64 (powers of two) first the middle, then both ends."""
    candidates = [Candidate((2**power,), 0.0, 0.0) for power in range(7)]
    sizes = [one.sizes[0] for one in spread_out(candidates, machine, processor, (3, 7, 7))]
    assert sizes[0] == 8
    assert set(sizes[1:3]) == {1, 64}
    assert sorted(sizes) == [2**power for power in range(7)]


def test_what_is_wanted_first_comes_first(machine: Machine, processor: Gpu) -> None:
    candidates = [Candidate((2**power,), 0.0, 0.0) for power in range(7)]
    chosen = list(spread_out(candidates, machine, processor, (2, 3, 3), first=[(2,), (4,)]))
    assert [(one.sizes[0], one.budget) for one in chosen] == [(2, "quick"), (4, "quick"), (64, "default")]


def test_what_takes_too_long_or_too_much_memory_is_left_out(machine: Machine, processor: Gpu) -> None:
    """Half of 8 GiB is more than a point may have; a second is longer than any may take."""
    candidates = [Candidate((1,), 0.0, 2.0**32), Candidate((2,), 1.0, 0.0), Candidate((3,), 0.055, 0.0)]
    chosen = list(spread_out(candidates, machine, processor, (9, 9, 9)))
    assert [(one.sizes, one.budget) for one in chosen] == [((3,), "default")]


def test_without_candidates_nothing_is_chosen(machine: Machine, processor: Gpu) -> None:
    assert not list(spread_out([Candidate((1,), 9.0, 0.0)], machine, processor, (9, 9, 9)))


def test_layers_of_the_catalogue_are_among_the_weights() -> None:
    """Llama 3 70B: 8192 x (64 + 2 x 8) x 128 for queries, keys and values, 2 x 28672 up and gate, halved on two ranks;
    its heads on eight ranks are eight, over one of keys."""
    assert {(10240, 8192), (5120, 8192), (57344, 8192), (8192, 28672), (8192, 14336), (128256, 8192)} <= {*weights()}
    assert Heads(8, 1, 128) in heads()


def test_products_as_large_as_those_of_the_verified_blocks_are_measured_first_on_a_processor(
    machine: Machine, processor: Gpu
) -> None:
    planned = [one for one in plan.points(machine, processor, "quick") if one.operation == "gemm fp32"]
    shapes = [(one.inputs["m"], one.inputs["n"], one.inputs["k"]) for one in planned]
    assert shapes[: len(gemm.FIRST_ON_PROCESSOR)] == [*gemm.FIRST_ON_PROCESSOR]


def test_the_layers_of_the_small_model_are_among_the_products_of_a_processor(machine: Machine) -> None:
    """Tokens 128, hidden 128: queries, keys and values of both and of one rank."""
    shapes = {*gemm._shapes(machine)}
    assert {(128, n, k) for n, k in small_weights(Sizes())} <= shapes
    assert {(128, 384, 128), (128, 192, 128)} <= shapes


def test_a_processor_computes_in_fp32_and_counts_its_bytes(machine: Machine, processor: Gpu) -> None:
    """A sum of 4-byte numbers reads two and writes one; a norm reads one and writes one."""
    planned = [one for one in plan.points(machine, processor, "quick") if one.operation == "memory bound"]
    each = {(one.inputs["kind"], one.inputs["nbytes"] / one.inputs["rows"] / one.inputs["width"]) for one in planned}
    assert {(0, 12.0), (1, 8.0)} <= each
    assert {kind for kind, _ in each} == {*range(len(KINDS))}
    assert random(4, device=HERE.device).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_kernel_of_a_layer_that_is_wrong_is_found(kind: Kind) -> None:
    kernel = row_kernels.KERNELS[kind]
    function = kernel.function
    wrong = kernel._replace(function=lambda *inputs: function(*inputs) * 1.1, exact=kernel.exact or function)
    assert row_kernels.prepare(kernel, 16, 256, HERE).check() == ""
    assert row_kernels.prepare(wrong, 16, 256, HERE).check().startswith("result off by")


def test_a_quick_plan_suffices_for_every_law(machine: Machine, processor: Gpu) -> None:
    planned = plan.points(machine, processor, "quick")
    number = {name: sum(one.operation == name for one in planned) for name in {one.operation for one in planned}}
    assert number["gemm fp32"] >= 24
    assert number["gemm gradients"] >= 12
    assert number["attention forward"] >= 10
    assert number["attention backward"] >= 10
    assert number["memory bound"] >= 12 + 4 * len(KINDS[1:])


def test_a_plan_is_the_same_every_time(machine: Machine, processor: Gpu) -> None:
    one, other = ([_key(point) for point in plan.points(machine, processor, "default")] for _ in range(2))
    assert one == other


def test_a_plan_begins_with_that_of_a_less_thorough_run(
    machine: Machine, processor: Gpu, everything: dict[str, list[Point]]
) -> None:
    full = [_key(point) for point in everything["processor"]]
    quick = [_key(point) for point in plan.points(machine, processor, "quick")]
    assert full[: len(quick)] == quick
    assert len(full) > 2 * len(quick)


def test_no_point_is_planned_twice(everything: dict[str, list[Point]]) -> None:
    for planned in everything.values():
        keys = [_key(one) for one in planned]
        assert len(keys) == len(set(keys))


def test_points_have_the_inputs_of_their_laws(everything: dict[str, list[Point]]) -> None:
    """All but what a sustained run finds itself."""
    for one in [point for planned in everything.values() for point in planned]:
        if one.operation in KERNEL_LAWS and not one.members:
            assert {*KERNEL_LAWS[one.operation].inputs} - {"alone"} <= {*one.inputs}, one.operation


def test_a_course_of_clocks_is_measured_whole_or_not_at_all(h200: Machine) -> None:
    """One slice of five is left: all are measured again, in their order; with none left, none is."""
    planned = [*sustained.points(h200, topologies.gpu("h200-sxm"))]
    slices, mixes = planned[: sustained.NUM_SLICES], planned[sustained.NUM_SLICES :]
    assert sustained.with_whole_course([slices[3], mixes[1]], planned) == [*slices, mixes[1]]
    assert sustained.with_whole_course(mixes[2:], planned) == mixes[2:]


def test_an_operation_that_does_not_run_is_found_by_launches_too() -> None:
    """Also where so many ones were added that one more changes nothing in fp32."""
    numbers = torch.full((4,), 2.0**24)
    assert launch_overhead._counted(numbers, lambda: numbers.add_(1.0)).check() == ""
    assert "gave 0" in launch_overhead._counted(numbers, lambda: None).check()
    assert "3 times" in launch_overhead._counted(numbers, lambda: numbers.add_(1.0), times=3).check()


@pytest.mark.parametrize("operation", ["gemm fp16", "grouped product bf16", "sdpa decode bf16"])
def test_what_has_no_law_is_measured_at_a_handful_of_sizes(operation: str, everything: dict[str, list[Point]]) -> None:
    assert 2 <= sum(one.operation == operation for one in everything["gpu"]) <= 6


def test_a_processor_is_not_told_which_kernel_attends() -> None:
    assert attention._forward(1, 32, 2, 16, 1, HERE).found == {}


@pytest.mark.filterwarnings("ignore")  # PyTorch tells why each kernel refused
def test_a_kernel_that_writes_all_scores_is_no_choice_of_a_gpu() -> None:
    """Keys of another width than queries, which no fused kernel takes."""
    q = torch.randn(1, 2, 8, 16)
    with attention.fused(torch.device("cuda")), pytest.raises(RuntimeError):
        torch.nn.functional.scaled_dot_product_attention(q, q, q[..., :8])
    with attention.fused(torch.device("cpu")):
        torch.nn.functional.scaled_dot_product_attention(q, q, q[..., :8])


def test_fp8_holds_the_largest_number_and_its_scale_gives_it_back() -> None:
    x = torch.tensor([[1.0, -3.5], [0.5, 7.0]], dtype=torch.bfloat16)
    cast, scale = gemm.quantised(x)
    assert float(cast.float().abs().max()) == gemm.LARGEST_FP8
    assert torch.allclose(cast.float() * scale, x.float(), rtol=0.07)


def test_operations_take_turns() -> None:
    def point(operation: str, size: float) -> Point:
        return Point(
            operation=operation, part="x", inputs={"n": size}, prepare=lambda ranks: Run(str, str), seconds=0.0
        )

    wanted = [point("a", 1), point("a", 2), point("a", 3), point("b", 1), point("b", 2)]
    assert [(one.operation, one.inputs["n"]) for one in plan.in_turn(wanted)] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3),
    ]  # fmt: skip


def test_only_the_operations_that_are_asked_for_are_planned(machine: Machine, processor: Gpu) -> None:
    planned = plan.points(machine, processor, "default", only="attention")
    assert {one.operation for one in planned} == {"attention forward", "attention backward"}


def test_processors_get_neither_fp8_nor_half_a_minute_of_one_product(everything: dict[str, list[Point]]) -> None:
    on_gpu, on_processor = ({one.operation for one in everything[kind]} for kind in ("gpu", "processor"))
    assert {"gemm fp8", "gemm fp16", "host copy", "power", "sustained product"} <= on_gpu - on_processor


def test_fp8_is_for_gpus_that_have_it() -> None:
    a100 = Machine(backend="nccl", part="a100-80gb-sxm", link="nvlink3", device="A100", num_gpus=1)
    gpu = topologies.gpu("a100-80gb-sxm")
    assert "gemm fp8" not in {one.operation for one in gemm.points(a100, gpu)}


def test_sustained_work_is_told_by_its_data_sheet_shares(h200: Machine) -> None:
    """2 x 8192^3 FLOP at 989.4 TFLOP/s are 1.11 ms; three matrices of 128 MiB at 4.8 TB/s 0.084 ms."""
    gpu = topologies.gpu("h200-sxm")
    first = next(one for one in sustained.points(h200, gpu) if one.operation == "power")
    assert first.inputs["math"] == pytest.approx(1.111e-3, rel=1e-3)
    assert first.inputs["memory"] == pytest.approx(0.0839e-3, rel=1e-3)
    assert first.inputs["link"] == 0.0


def test_half_a_minute_of_one_product_is_told(h200: Machine) -> None:
    gpu = topologies.gpu("h200-sxm")
    planned = [one for one in sustained.points(h200, gpu) if one.operation == "sustained product"]
    assert plan.expected_seconds(h200, planned)["sustained product"] == pytest.approx(30, abs=1)


def _key(one: Point) -> tuple[object, ...]:
    return one.operation, one.part, one.fabric, one.members, tuple(sorted(one.inputs.items()))
