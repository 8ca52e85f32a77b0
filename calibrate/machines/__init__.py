"""The machine at hand: what stands in it, by its names in the catalogue, and what its driver says."""
