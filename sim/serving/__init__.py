"""An inference server under load: requests, a scheduler, a cache of keys and values, passes on the GPUs, and what came
of each request. The costs are those of training's kernels; bubbles, queues and stragglers emerge."""
