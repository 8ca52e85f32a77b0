"""`calibrate run`: what is asked for, measured, fitted and said."""
