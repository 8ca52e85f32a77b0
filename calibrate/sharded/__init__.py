"""Real sharded blocks, in torch.distributed: each technique that the simulator plays, as short as a textbook's example.

Each gives on every rank what an unsharded reference gives there, forward and backward.
"""
