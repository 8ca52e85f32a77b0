"""The what-if app: pages over `sim` and `calibrate`, with no logic of their own. `shardsim web` opens it."""
