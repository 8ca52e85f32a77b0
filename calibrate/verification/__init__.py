"""Real sharded blocks beside the simulator: how large they are, what it predicts of them, and how both are shown."""
