"""The lab, and the programs that use the notebooks' code."""
