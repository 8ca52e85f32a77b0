"""Which plan: the space of candidates, bounds on each, and the search for the best among them."""
