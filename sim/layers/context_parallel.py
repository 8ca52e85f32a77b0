"""The core of attention where cp ranks share a sequence: a ring, all keys gathered, or heads for tokens.

All else in a layer works on its own tokens. Gathered [Llama 3, arXiv 2407.21783, section 3.3.2], keys and values arrive
before the core starts; with all-to-all [Ulysses, Jacobs et al. 2023, arXiv 2309.14509] a rank has all tokens of 1/cp of
its heads. Each is as Transformer Engine's context_parallel.py has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sim.costs import ELEMENT
from sim.costs.attention import Shape
from sim.instructions import Block, Collective, CollectiveOperation
from sim.layers import core, ring
from sim.layers.context import Context, Pass, compute_pass, run
from sim.layers.ring import key_value_elements, output_elements, query_elements
from sim.plan import ContextKind
from topologies.document import InputError


def forward(context: Context, prefix: str = "") -> Pass:
    """The core, with what the ranks tell each other; `prefix` tells a recomputation apart."""
    return _FORWARD[_kind(context)](context, prefix)


def backward(context: Context) -> Pass:
    """Gradients of queries, keys and values, those of keys and values from all ranks added up."""
    return _BACKWARD[_kind(context)](context)


def key_value_copies(context: Context) -> float:
    """How often keys and values are held: where there are fewer kv heads than ranks to deal them to, more than once."""
    if context.cp == 1 or _kind(context) != "all-to-all":
        return 1.0
    return max(1.0, context.cp / core.shape_of(context).num_kv_heads)


def exchanges_heads(context: Context) -> bool:
    """Whether the core's output travels before it is used, so that both it and what arrives are kept."""
    return _kind(context) == "all-to-all"


def _kind(context: Context) -> ContextKind | None:
    """None: the rank has the sequence to itself. A ring cannot stop at a window: Transformer Engine refuses the two
    together [the same, attn_forward_func_with_cp], and such layers gather."""
    if context.cp == 1:
        return None
    if not core.is_flash(context):
        raise InputError(
            f"{context.framework.name} has unfused attention, which cannot share a sequence; use cp=1, or a framework "
            "with attention: flash"
        )
    return "all-gather" if context.cp_kind == "ring" and context.kind.window else context.cp_kind


def _alone(context: Context, prefix: str) -> Pass:
    return compute_pass(core.forward(context, core.shape_of(context), prefix))


def _alone_backward(context: Context) -> Pass:
    return compute_pass(core.backward(context, core.shape_of(context)))


def _gathered(context: Context, prefix: str) -> Pass:
    """Each chunk of the rank's own queries meets the keys up to its own."""
    kernels = [core.forward(context, chunk, prefix) for chunk in chunks_of(context)]
    return compute_pass((*_key_values(context, prefix), *(kernel for block in kernels for kernel in block)))


def _gathered_backward(context: Context) -> Pass:
    """Keys and values are gathered again, not kept; their gradients are summed to where they belong."""
    kernels = [core.backward(context, chunk) for chunk in chunks_of(context)]
    elements = context.cp * key_value_elements(core.shape_of(context))
    sums = (
        run(context, "key and value gradient sum", "add", elements),
        run(context, "key and value gradient order", "copy", elements),
    )
    scatter = _of_keys_and_values(context, "gradient scatter", "reduce_scatter")
    gather = _key_values(context, "backward ")
    return compute_pass((*gather, *(kernel for block in kernels for kernel in block), *sums, *scatter))


def chunks_of(context: Context) -> tuple[Shape, Shape]:
    """The last rank's two chunks of the 2 cp that a sequence has, those in the middle: their queries and all keys up to
    them. Together as much as those of any other rank, or where windows spare the first tokens work at least as much."""
    shape = core.shape_of(context)
    chunk = replace(shape, seq_len=shape.seq_len // 2)
    middle = context.cp * chunk.seq_len
    return replace(chunk, num_keys=middle), replace(chunk, num_keys=middle + chunk.seq_len)


def _key_values(context: Context, prefix: str) -> Block:
    """All ranks' keys and values, put in the order of the sequence."""
    elements = context.cp * key_value_elements(core.shape_of(context))
    gather = _of_keys_and_values(context, f"{prefix}gather", "all_gather")
    return (*gather, run(context, f"{prefix}key and value order", "copy", elements))


def _of_keys_and_values(context: Context, name: str, operation: CollectiveOperation) -> Block:
    """One collective for all ranks' keys, one for all values."""
    shape = core.shape_of(context)
    tokens = ELEMENT * context.cp * shape.batch * shape.seq_len * shape.num_kv_heads
    return (
        _collective(f"key {name}", operation, tokens * shape.head_dim),
        _collective(f"value {name}", operation, tokens * shape.value_dim),
    )


def _exchanged(context: Context, prefix: str) -> Pass:
    """Queries, keys and values to the ranks that have their heads; the output back to those that have its tokens."""
    shape = core.shape_of(context)
    inputs = _to_other_ranks(context, f"{prefix}query, key and value", *_inputs(context, shape))
    output = _to_other_ranks(context, f"{prefix}output", output_elements(shape))
    return compute_pass((*inputs, *core.forward(context, heads_of(context), prefix), *output))


def _exchanged_backward(context: Context) -> Pass:
    shape = core.shape_of(context)
    output = _to_other_ranks(context, "output gradient", output_elements(shape))
    inputs = _to_other_ranks(context, "query, key and value gradient", *_inputs(context, shape))
    return compute_pass((*output, *core.backward(context, heads_of(context)), *inputs))


def heads_of(context: Context) -> Shape:
    """All tokens of 1/cp of the heads, and of a kv head at least one."""
    shape = core.shape_of(context)
    if shape.num_heads % context.cp:
        heads = f"num_heads / tp = {shape.num_heads}"
        raise InputError(
            f"cp={context.cp} does not divide {heads}, as all-to-all needs; use another cp, or cp_kind: ring"
        )
    return replace(
        shape,
        seq_len=context.seq_len,
        num_heads=shape.num_heads // context.cp,
        num_kv_heads=max(1, shape.num_kv_heads // context.cp),
    )


def _inputs(context: Context, shape: Shape) -> tuple[float, float, float]:
    """Elements of queries, of keys and of values that a rank sends, copies of shared kv heads included."""
    kept = key_value_copies(context) * shape.batch * shape.seq_len * shape.num_kv_heads
    return query_elements(shape), kept * shape.head_dim, kept * shape.value_dim


def _to_other_ranks(context: Context, name: str, *elements: float) -> Block:
    """A tensor each: put in the order of the ranks, sent, put in the order of the sequence."""
    copy = run(context, f"{name} order", "copy", sum(elements))
    sends = (_collective(f"{name} exchange", "all_to_all", ELEMENT * number) for number in elements)
    return (copy, *sends, copy)


def _collective(name: str, operation: CollectiveOperation, nbytes: float) -> Collective:
    return Collective(name=name, axis="cp", group="cp", operation=operation, nbytes=nbytes)


_FORWARD: Final[Mapping[ContextKind | None, Callable[[Context, str], Pass]]] = {
    None: _alone,
    "ring": ring.forward,
    "all-gather": _gathered,
    "all-to-all": _exchanged,
}
_BACKWARD: Final[Mapping[ContextKind | None, Callable[[Context], Pass]]] = {
    None: _alone_backward,
    "ring": ring.backward,
    "all-gather": _gathered_backward,
    "all-to-all": _exchanged_backward,
}
