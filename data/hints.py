"""Says what to do when a cell of a notebook was run too early."""

import sys

HINT = ("This cell needs what an earlier cell makes. Choose Run → Run All "
        "Above Selected Cell, then run this cell again.")


def explain_missing_names():
    """Let this notebook add HINT to every NameError and KeyError.

    `models["U-Net"]` before its training is a KeyError.
    """
    try:
        shell = get_ipython()
    except NameError:  # not in a notebook: there are no cells to run
        return
    shell.set_custom_exc((NameError, KeyError), show_with_hint)


def show_with_hint(shell, kind, error, traceback, tb_offset=None):
    """Show an error as IPython does, and then HINT."""
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    print(HINT, file=sys.stderr)
