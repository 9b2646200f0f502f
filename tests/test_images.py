"""The saved diagrams are those that the script draws."""

import importlib.util

import pytest
from notebooks import ROOT

SPEC = importlib.util.spec_from_file_location("draw",
                                              ROOT / "images" / "draw.py")
DRAW = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(DRAW)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with every diagram, drawn once."""
    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DRAW, "FOLDER", folder)
        DRAW.main()
    return folder


@pytest.mark.parametrize("name", DRAW.FIGURES)
def test_the_saved_diagram_is_what_the_script_draws(name, drawn):
    assert (drawn / f"{name}.svg").read_bytes() \
        == (ROOT / "images" / f"{name}.svg").read_bytes()
