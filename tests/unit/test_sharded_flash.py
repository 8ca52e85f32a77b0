"""Which kernel of a GPU attends, and in what shape it has its log-sum-exp: by tensors without numbers."""

import pytest
import torch

from calibrate.sharded import flash

Q, K = (torch.empty(1, 2, tokens, 64, dtype=torch.bfloat16, device="meta") for tokens in (128, 256))


@pytest.mark.parametrize("choice", [1, flash.CUDNN])
@pytest.mark.parametrize("kernel", ["flash", "cudnn"])
def test_the_kernel_that_pytorch_would_run_attends(choice: int, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output, log-sum-exp and gradients have the shapes of queries and keys, whatever its own are."""
    called: list[str] = []
    for name in ("flash", "cudnn"):
        for end in ("", "_backward"):
            operation = f"_scaled_dot_product_{name}_attention{end}"
            run = getattr(torch.ops.aten, operation)
            monkeypatch.setattr(
                flash.aten, operation, lambda *given, n=name, run=run: (called.append(n), run(*given))[1]
            )
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *given: choice)
    output, lse = flash.forward(Q, K, K, causal=False)
    gradients = flash.backward(output, Q, output, lse, K, K, causal=False)
    assert (output.shape, lse.shape) == (Q.shape, Q.shape[:-1])
    assert [one.shape for one in gradients] == [Q.shape, K.shape, K.shape]
    assert (kernel in called) == (kernel == ("cudnn" if choice == flash.CUDNN else "flash"))
