"""The figures, and the program that draws them."""
