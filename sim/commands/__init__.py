"""The commands of `shardsim`: a file for each family, what they share in console.py and completion.py.

Everything heavy is imported inside the commands, so that --help and completion answer at once.
"""
