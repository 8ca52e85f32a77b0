"""How large the blocks are that `calibrate verify` runs: a small Llama and a microbatch of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """hidden = heads x head_dim; `ffn` is the width of an MLP and of an expert; pipelines run `num_layers` layers."""

    micro_batch: int = 1
    seq_len: int = 128
    heads: int = 4
    head_dim: int = 32
    ffn: int = 256
    vocab: int = 512
    num_layers: int = 4
    num_microbatches: int = 4
    num_experts: int = 4
    top_k: int = 2

    @property
    def hidden(self) -> int:
        return self.heads * self.head_dim
