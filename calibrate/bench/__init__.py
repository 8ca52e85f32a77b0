"""Real microbenchmarks, in torch: what a machine takes for the operations that the simulator has laws for."""
