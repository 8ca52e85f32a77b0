"""How long a pass takes on each stage of a replica: sums of kernels and collectives, or of measured operators.

A layer is a sum of parts: what depends on the number of tokens alone, and attention's core, which meets the cache.
"""
