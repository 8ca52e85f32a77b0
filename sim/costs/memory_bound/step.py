"""Kernels of a training step that are not of a layer: the loss over the vocabulary, and what the optimizer does.

Elements are 2 bytes unless said, the optimizer's numbers fp32. What is fused moves each tensor once.
"""

from dataclasses import dataclass

from sim.costs.memory_bound.law import stream
from topologies.hardware import Gpu


def cross_entropy_forward(gpu: Gpu, num_logits: float, logits_nbytes: int) -> float:
    """Loss over a vocabulary shard, as separate kernels [Megatron-LM, vocab_parallel_cross_entropy].

    Cast to `logits_nbytes` where that is not 2, maximum (read), subtract (read, write), exponential (read, write), sum
    (read), divide (read, write).
    """
    cast = 2 + logits_nbytes if logits_nbytes != 2 else 0
    return stream(gpu, num_logits * (cast + 8 * logits_nbytes), "loss") + 4 * gpu.fit["kernel_latency"]


def cross_entropy_backward(gpu: Gpu, num_logits: float, logits_nbytes: int) -> float:
    """Probabilities times the loss's gradient, in place; cast back to 2 bytes."""
    cast = 2 + logits_nbytes if logits_nbytes != 2 else 0
    return stream(gpu, num_logits * (cast + 2 * logits_nbytes), "loss backward")


def fused_cross_entropy_forward(gpu: Gpu, num_logits: float, logits_nbytes: int = 2) -> float:
    """Loss in one kernel that reads 2-byte logits once: running maximum and sum in registers [Liger Kernel].

    In fp32 in three, as the ranks have to meet between them: cast and maximum, exponentials and their sum in place,
    division [Megatron-Core, fusions/fused_cross_entropy.py, compiled by jit_fuser].
    """
    if logits_nbytes == 2:
        return stream(gpu, num_logits * 2)
    return stream(gpu, num_logits * (2 + 5 * logits_nbytes)) + 2 * gpu.fit["kernel_latency"]


def fused_cross_entropy_backward(gpu: Gpu, num_logits: float, logits_nbytes: int = 2) -> float:
    """Logits, or in fp32 the probabilities, read again; their gradient written in 2 bytes."""
    return stream(gpu, num_logits * (logits_nbytes + 2))


def cross_entropy_metric(gpu: Gpu, num_logits: float) -> float:
    """Loss as torch.nn.functional.cross_entropy under autocast, no gradient: 2-byte logits cast to fp32, log-softmax.

    A row of a vocabulary is longer than shared memory, so the softmax reads it for its maximum, for the sum of
    exponentials and for its output [PyTorch, aten/src/ATen/native/cuda/SoftMax.cu, cunn_SoftMaxForward].
    """
    return stream(gpu, num_logits * (2 + 4)) + stream(gpu, num_logits * (3 * 4 + 4))


def embedding_gradient(gpu: Gpu, num_parameters: float, gradient_nbytes: int) -> float:
    """A lookup's gradient: a dense 2-byte matrix of zeros with few rows filled, added to the accumulated gradient."""
    return stream(gpu, num_parameters * (2 + 2 + 2 * gradient_nbytes)) + gpu.fit["kernel_latency"]


def gradient_scale(gpu: Gpu, num_parameters: float, gradient_nbytes: int, copy_nbytes: int = 0) -> float:
    """Divide the gradients by the number of replicas before they are summed, after copies and casts of `copy_nbytes`
    each."""
    return stream(gpu, num_parameters * (copy_nbytes + 2 * gradient_nbytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamWidths:
    """Bytes of each number that Adam keeps or reads per parameter; `working` 0 where there is no second copy."""

    master: int = 4
    momentum: int = 4
    variance: int = 4
    gradient: int = 4
    working: int = 2

    @property
    def nbytes(self) -> int:
        """Bytes of the update: three numbers read and written, the gradient read, the working weight written."""
        return 2 * (self.master + self.momentum + self.variance) + self.gradient + self.working


def adam(gpu: Gpu, num_parameters: float, widths: AdamWidths, *, fused: bool = True) -> float:
    """Seconds of the update alone: one kernel, or as PyTorch's foreach: one pass over memory for each operation.

    Apart: weight decay (w), momentum (m, g), variance (v, g), its root (v, a temporary), plus epsilon (temporary),
    update (w, m, temporary), cast (w, working weight).
    """
    if fused:
        return stream(gpu, num_parameters * widths.nbytes)
    temporary = widths.master
    passes = (
        2 * widths.master,
        2 * widths.momentum + widths.gradient,
        2 * widths.variance + widths.gradient,
        widths.variance + temporary,
        2 * temporary,
        2 * widths.master + widths.momentum + temporary,
        *((widths.master + widths.working,) if widths.working else ()),
    )
    return sum(stream(gpu, num_parameters * nbytes) for nbytes in passes)


def optimizer(gpu: Gpu, num_parameters: float, precision: str, gradient_nbytes: int) -> float:
    """Seconds of a mixed-precision Adam step over `num_parameters` on this rank.

    Kernels over all parameters: unscale and check (fp16 only: read, write), norm (read), clip (read, write), Adam,
    cast of the fp32 weight to the 2-byte one (read, write), zero the gradients (write) [Megatron-LM, optimizer.py;
    apex, multi_tensor_adam].
    """
    around = 4 + (2 if precision == "fp16" else 0)
    update = AdamWidths(gradient=gradient_nbytes, working=0).nbytes + 4 + 2
    return stream(gpu, num_parameters * (around * gradient_nbytes + update))
