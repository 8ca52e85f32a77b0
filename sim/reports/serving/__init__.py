"""What a served load came to, for people: in the terminal, as a page to send on, and as files."""
