"""A report to look at: in the terminal, and as one page to send to a colleague. It computes nothing."""
