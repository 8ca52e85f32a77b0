"""The what-if app: the pages of a browser over `sim`, with no logic of their own. It comes with a later release."""
