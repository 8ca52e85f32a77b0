"""What `calibrate` can be asked for, a file per command; everything heavy is imported inside them."""
