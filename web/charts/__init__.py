"""Charts of the pages, drawn by Altair: each is handed what an answer holds."""
