"""Two profiles, or a profile and a reference, side by side."""
