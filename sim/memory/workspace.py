"""Memory that a pass needs only while it runs: gradients on their way, copies of the logits, the libraries' own.

The gradient of a weight matrix is made in 2 bytes and added to the accumulated one; the embedding's and the head's are
the largest. Kernels that add on their own still give autograd a tensor of that shape: Transformer Engine keeps one for
each shape for good.
"""

from dataclasses import replace

from sim.costs import ELEMENT
from sim.layers import core, embedding, head
from sim.layers.context import Context
from sim.layers.stage import Stage
from sim.memory.shapes import weight_shapes
from sim.models.transformer import LayerKind
from topologies.quantity import MIB

FLOAT = 4
LIBRARIES = 64 * MIB
"""Two workspaces of cuBLAS, 32 MiB each from Hopper on: Transformer Engine's [pytorch/module/base.py,
get_cublas_workspace_size_bytes] and PyTorch's [aten/src/ATen/cuda/CublasHandlePool.cpp]."""


def libraries(context: Context, kinds: set[LayerKind]) -> float:
    """Bytes that stay all the time: the products' workspaces and, where they are kept, a dummy gradient per shape."""
    if not context.framework.dummy_gradients:
        return LIBRARIES
    shapes = {shape for kind in kinds for shape in weight_shapes(replace(context, kind=kind))}
    return LIBRARIES + sum(ELEMENT * rows * columns for rows, columns in shapes)


def of_layers(context: Context, stage: Stage) -> float:
    """Bytes while gradients of the widest part of the stage's largest layer are made."""
    return max((_of_layer(replace(context, kind=kind)) for kind in set(stage.kinds)), default=0.0)


def of_head(context: Context) -> float:
    """Bytes while the head's gradients are made: of its matrix, of its input, and the logits a second time where the
    loss works on a wider copy of them."""
    copy = ELEMENT * _num_logits(context) if context.framework.logits_nbytes > ELEMENT else 0.0
    return ELEMENT * head.matrix_parameters(context) + copy + _hidden(context)


def of_embedding(context: Context) -> float:
    """Bytes while the embedding's gradient is made, which is dense, of the words that the rank looks after."""
    return ELEMENT * embedding.parameters(context) + _hidden(context)


def _num_logits(context: Context) -> float:
    """Of the rank's part of the vocabulary."""
    return context.num_tokens * head.matrix_parameters(context) / context.model.hidden


def _of_layer(context: Context) -> float:
    return max(_of_attention(context), _of_mlp(context)) + _hidden(context)


def _hidden(context: Context) -> float:
    """The gradient of the hidden state, where it is cut along the sequence gathered too, beside the input gathered."""
    local = ELEMENT * context.local_hidden_elements
    return 2 * context.hidden_nbytes + local if context.sp else local


def _of_mlp(context: Context) -> float:
    """The gradient of what the activation takes; of experts, for all rows that come, and that of the rows."""
    model = context.model
    gates = 2 if model.gated_mlp else 1
    if not context.kind.has_experts or model.moe is None:
        return ELEMENT * context.num_tokens * gates * model.ffn / context.tp
    rows = context.num_tokens * model.moe.top_k
    return ELEMENT * rows * (gates * model.moe.ffn / context.etp + model.hidden)


def _of_attention(context: Context) -> float:
    """Gradients of queries, keys and values, those of queries summed in fp32; or, unfused, of scores and softmax."""
    model, mla = context.model, context.model.mla
    query = model.num_heads * (mla.nope_head_dim + mla.rope_head_dim) if mla else model.query_width
    others = query + model.num_heads * mla.v_head_dim if mla else 2 * model.kv_width
    if core.is_flash(context):
        return context.num_tokens * ((ELEMENT + FLOAT) * query + ELEMENT * others) / context.tp
    scores = context.num_tokens * context.seq_len * model.num_heads / context.tp
    return ELEMENT * 2 * scores
