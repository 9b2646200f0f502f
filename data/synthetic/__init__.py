"""Images drawn by a program, for when no real data set can be had."""
