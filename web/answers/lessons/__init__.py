"""The ten steps of the tour: what each says, with the numbers of what was simulated for it just now."""
