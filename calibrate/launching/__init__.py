"""Processes that measure together: one for each GPU, started here or by torchrun, srun or mpirun."""
