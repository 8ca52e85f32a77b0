"""The schedules simulated are the schedules run: a real block makes the products and collectives that sim.layers has
for the same Transformer, kernel by kernel under the same names.

PyTorch's dispatcher tells what two real processes do; the simulator's passes, what it plays for one of two ranks.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

import topologies
from calibrate.sharded.block import Shard
from calibrate.sharded.blocks import BLOCKS
from calibrate.verification.predicted import FACTS, LAYERS, model_of
from calibrate.verification.sizes import Sizes
from sim import frameworks
from sim.costs import ELEMENT, compression
from sim.instructions import Collective, Compute
from sim.layers import Context, Pass, products
from sim.models.transformer import layer_kind
from tests.sharded import on_ranks
from topologies.quantity import MICROSECOND

pytestmark = pytest.mark.timeout(300)  # each process imports PyTorch

SIZES = Sizes(micro_batch=2, seq_len=32, heads=4, head_dim=16, ffn=96)
RANKS = 2
NAMES = tuple(LAYERS)

Did = tuple[str, tuple[int, ...]]
"""A product of (m, n, k), or a collective of so many elements as nccl-tests counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Real:
    """What a rank did, and what it called it: (stream, name)."""

    done: list[Did] = field(default_factory=list)
    names: list[tuple[str, str]] = field(default_factory=list)


class Dispatched(TorchDispatchMode):
    """Notes products and collectives as PyTorch dispatches them."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Did] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        note = NOTED.get(func.overloadpacket._qualified_op_name)
        if note:
            self.done.append(note(*args))
        return func(*args, **(kwargs or {}))


NOTED: Mapping[str, Callable[..., Did]] = {
    "aten::mm": lambda a, b: ("product", (a.shape[0], b.shape[1], a.shape[1])),
    "c10d::allreduce_": lambda tensors, *_: ("all_reduce", (tensors[0].numel(),)),
    "c10d::_allgather_base_": lambda whole, part, *_: ("all_gather", (whole.numel(),)),
    "c10d::_reduce_scatter_base_": lambda part, whole, *_: ("reduce_scatter", (whole.numel(),)),
    "c10d::alltoall_base_": lambda arrived, sent, *_: ("all_to_all", (sent.numel(),)),
    "c10d::send": lambda tensors, *_: ("exchange", (tensors[0].numel(),)),
}


def real(shard: Shard) -> dict[str, Real]:
    return {name: _noted(shard, name) for name in (*NAMES, "int8 gradients")}


def _noted(shard: Shard, name: str) -> Real:
    recorder = shard.recorder
    run = BLOCKS[name].prepare(shard, SIZES)
    recorder.is_on = True
    recorder.begin()
    with Dispatched() as dispatched:
        run()
    recorder.is_on = False
    return Real(done=dispatched.done, names=[(span.stream, span.name) for span in recorder.spans])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Real]]:
    return on_ranks(real, RANKS, tmp_path_factory.mktemp("ranks"))


def context_of(name: str) -> Context:
    """One of two ranks, each block spread as its name says."""
    model = model_of(name, SIZES)
    spread: Mapping[str, Mapping[str, object]] = {
        "sequence parallelism": {"tp": RANKS, "sp": True},
        "ring attention": {"cp": RANKS, "cp_kind": "ring"},
        "ulysses": {"cp": RANKS, "cp_kind": "all-to-all"},
        "expert parallelism": {"ep": RANKS},
    }
    alone = Context(
        model=model,
        gpu=topologies.gpu("h100-80gb-sxm"),
        framework=frameworks.laid_over("fsdp2", {**FACTS, "moe_sync_seconds": MICROSECOND}),
        tp=1,
        sp=False,
        recompute="none",
        micro_batch=SIZES.micro_batch,
        seq_len=SIZES.seq_len,
        precision="bf16",
        kind=layer_kind(model, 0),
    )
    return replace(alone, **spread.get(name, {"tp": RANKS}))  # type: ignore[arg-type]


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, ...]]:
    """(m, n, k) of each product that the simulator plays, by its name; to be read once the passes are made."""
    found: dict[str, tuple[int, ...]] = {}
    make = products._product

    def noted(context: Context, name: str, shape: tuple[int, int, int], *rest: object) -> Compute:
        found[name] = shape
        return make(context, name, shape, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(products, "_product", noted)
    return found


def passes(name: str) -> Iterator[Pass]:
    for direction in LAYERS[name]:
        yield direction(context_of(name))


def simulated(name: str, shapes: Mapping[str, tuple[int, ...]]) -> list[Did]:
    """Products and collectives, in the order of each stream."""
    entries = [entry for one in passes(name) for block in one.values() for entry in block]
    return [did for entry in entries for did in _did(entry, shapes)]


def _did(entry: object, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Did]:
    if isinstance(entry, Compute) and entry.name in shapes:
        yield "product", shapes[entry.name]
    if isinstance(entry, Collective):
        yield entry.operation, (round(entry.nbytes / ELEMENT),)


def simulated_names(name: str) -> list[tuple[str, str]]:
    return [
        (stream, entry.name)
        for one in passes(name)
        for stream, block in one.items()
        for entry in block
        if isinstance(entry, Compute | Collective)
    ]


TENSOR_PARALLEL = (
    "column-parallel linear",
    "row-parallel linear",
    "tensor-parallel attention",
    "tensor-parallel mlp",
    "sequence parallelism",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TENSOR_PARALLEL)
def test_a_tensor_parallel_block_does_what_is_simulated_in_that_order(
    name: str, ranks: list[dict[str, Real]], shapes: dict[str, tuple[int, ...]]
) -> None:
    expected = simulated(name, shapes)
    assert any(operation != "product" for operation, _ in expected)
    for rank in ranks:
        assert rank[name].done == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", TENSOR_PARALLEL)
def test_and_its_kernels_have_the_same_names(name: str, ranks: list[dict[str, Real]]) -> None:
    for rank in ranks:
        assert rank[name].names == simulated_names(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring attention", "ulysses"])
def test_ranks_that_share_a_sequence_send_what_is_simulated(
    name: str, ranks: list[dict[str, Real]], shapes: dict[str, tuple[int, ...]]
) -> None:
    """And as many flash kernels run: of two ranks of a ring two forward and two backward."""
    for rank in ranks:
        assert Counter(rank[name].done) == Counter(simulated(name, shapes))
        assert flash_kernels(rank[name].names) == flash_kernels(simulated_names(name))


def flash_kernels(names: list[tuple[str, str]]) -> Counter[str]:
    return Counter(name for _, name in names if name.startswith("flash"))


@pytest.mark.slow
def test_experts_run_the_kernels_simulated_and_send_as_many_rows(
    ranks: list[dict[str, Real]], shapes: dict[str, tuple[int, ...]]
) -> None:
    """The simulator deals rows evenly; real tokens do not, but each rank sends two rows for each of its tokens."""
    name = "expert parallelism"
    for rank in ranks:
        assert Counter(label for _, label in rank[name].names) == Counter(label for _, label in simulated_names(name))
    wanted = Counter(did for did in simulated(name, shapes) if did[0] == "all_to_all")
    rows = SIZES.micro_batch * SIZES.seq_len * SIZES.top_k
    assert wanted[("all_to_all", (rows * SIZES.hidden,))] == 4
    sent = [Counter(did for did in rank[name].done if did[0] == "all_to_all") for rank in ranks]
    total = sum(math.prod(size) * count for one in sent for (_, size), count in one.items())
    assert total == RANKS * (4 * rows * SIZES.hidden + 2 * rows)


@pytest.mark.slow
def test_gradients_in_int8_take_the_bytes_simulated(ranks: list[dict[str, Real]]) -> None:
    """One byte a value, and four for each 256 of them."""
    count = SIZES.hidden * SIZES.ffn
    steps = compression.int8(topologies.gpu("h100-80gb-sxm"), count, RANKS, 4, scattered=False)
    wire = [(step.operation, (round(step.nbytes),)) for step in steps if isinstance(step, compression.OnWire)]
    for rank in ranks:
        assert rank["int8 gradients"].done == wire
        assert [label for _, label in rank["int8 gradients"].names] == [step.name for step in steps]
