"""Communication by itself: a collective against its size, what tensor parallelism costs a layer, what sharing does.

The same costs and the same network as in a step, without the step.
"""
