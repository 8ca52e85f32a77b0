"""Ring attention [Liu et al. 2023, arXiv 2310.01889]: keys and values go round the ranks that share a sequence.

Each step a rank attends to those it has while the next arrive. Every rank has two chunks, the i-th from the front and
from the end (zig-zag), so that the mask hides as much from each: all of a step but its own is half a square without
mask. So does Transformer Engine [context_parallel.py, AttnFuncWithCPAndKVP2P], whose order and bytes these are.
"""

from dataclasses import replace

from sim.costs import ELEMENT
from sim.costs.attention import Shape
from sim.instructions import Block, Collective
from sim.layers import core
from sim.layers.context import COMPUTE, CP, Context, Pass, compute_pass, join, run
from sim.layers.overlap import beside


def forward(context: Context, prefix: str = "") -> Pass:
    """Own tokens under the mask, then half of those of each other rank, and what it gives merged into the output.

    Keys and values of the next step travel beside this one's kernel: cp - 1 times.
    """
    shape = core.shape_of(context)
    own, other = core.forward(context, shape, prefix), core.forward(context, half_of(shape), prefix)
    merge = run(context, f"{prefix}output merge", "add", output_elements(shape))
    pack = run(context, f"{prefix}key and value copy", "copy", key_value_elements(shape))
    name, nbytes = f"{prefix}ring forward", ELEMENT * key_value_elements(shape)
    steps = [_step(name, 0, nbytes, own)]
    steps += [_step(name, step, nbytes, (*other, merge)) for step in range(1, context.cp - 1)]
    return join(compute_pass((pack,)), *steps, compute_pass((*other, merge)))


def backward(context: Context) -> Pass:
    """Gradients; those of keys and values travel with them, one hop behind, and are added to what arrives.

    The own tokens come last. Keys and values go cp - 1 times, their gradients too.
    """
    shape, last = core.shape_of(context), context.cp - 1
    own, other = core.backward(context, shape), core.backward(context, half_of(shape))
    pack = run(context, "key and value copy for backward", "copy", key_value_elements(shape))
    queries, pairs = query_elements(shape), key_value_elements(shape)
    add = run(context, "ring gradient sum", "add", queries + pairs / 2)
    add_own = run(context, "ring gradient sum", "add", queries + pairs)
    name, nbytes = "ring backward", ELEMENT * pairs
    steps = [_step(name, 0, nbytes, other)]
    steps += [join(_step(name, step, 2 * nbytes, other), compute_pass((add,))) for step in range(1, last)]
    return join(compute_pass((pack,)), *steps, _step(name, last, nbytes, own), compute_pass((add_own,)))


def half_of(shape: Shape) -> Shape:
    """What a rank does of another's keys: all its queries meet the front half of them, or the back half of its queries
    all of them. As much work; the first merges more, and some rank does it in every step."""
    return replace(shape, causal=False, num_keys=shape.seq_len // 2)


def query_elements(shape: Shape) -> int:
    """Numbers of all queries."""
    return shape.batch * shape.seq_len * shape.num_heads * shape.head_dim


def output_elements(shape: Shape) -> int:
    """Numbers of the output of all queries."""
    return shape.batch * shape.seq_len * shape.num_heads * shape.value_dim


def key_value_elements(shape: Shape) -> int:
    """Numbers of keys and values of as many tokens."""
    return shape.batch * shape.seq_len * shape.num_kv_heads * (shape.head_dim + shape.value_dim)


def _step(name: str, step: int, nbytes: float, kernels: Block) -> Pass:
    """Kernels, and beside them what goes to the next rank."""
    send = Collective(name=f"{name} exchange", axis="cp", group="cp", operation="exchange", nbytes=nbytes)
    sending = beside((send,), f"{name} {step}")
    return {COMPUTE: (*sending.begin, *kernels, *sending.end), CP: sending.aside}
