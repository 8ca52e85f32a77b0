"""How the numbers are known: measure a machine, fit the costs of `sim`, score the fit. A later release brings it."""
