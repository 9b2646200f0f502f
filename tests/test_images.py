"""The saved diagrams are those that the script draws."""

import importlib.util

import pytest
from notebooks import ROOT

SPEC = importlib.util.spec_from_file_location("draw",
                                              ROOT / "images" / "draw.py")
DRAW = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(DRAW)


@pytest.mark.parametrize("name", DRAW.FIGURES)
def test_the_saved_diagram_is_what_the_script_draws(name, tmp_path,
                                                    monkeypatch):
    monkeypatch.setattr(DRAW, "FOLDER", tmp_path)
    DRAW.main()
    assert (tmp_path / f"{name}.svg").read_bytes() \
        == (ROOT / "images" / f"{name}.svg").read_bytes()
