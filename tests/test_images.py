"""The saved figures are those that the script draws."""

import matplotlib
import numpy as np
import pytest
from notebooks import ROOT
from PIL import Image

from images import draw


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with every figure, drawn once."""
    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "FOLDER", folder)
        draw.main()
    return folder


@pytest.mark.skipif(
    f"matplotlib=={matplotlib.__version__}\n"
    not in (ROOT / "requirements.txt").read_text(),
    reason="each matplotlib draws a little differently")
@pytest.mark.parametrize("name", draw.FIGURES)
def test_the_saved_figure_is_what_the_script_draws(name, drawn):
    saved = ROOT / "images" / name
    if name.endswith(".svg"):
        assert (drawn / name).read_bytes() == saved.read_bytes()
    else:  # processors differ in the last digit, and so may single pixels
        one, other = (np.asarray(Image.open(file)).astype(float)
                      for file in (drawn / name, saved))
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < 0.5


def test_every_saved_figure_has_a_function_that_draws_it():
    saved = {file.name for file in (ROOT / "images").iterdir()
             if file.suffix in (".svg", ".png", ".jpg")}
    assert saved == set(draw.FIGURES)
