"""What is installed is pinned, and the lock file belongs to the pins."""

import re

from packaging.requirements import Requirement

from lab.lesson import ROOT

LINES = (ROOT / "requirements.txt").read_text().splitlines()
SITE = (ROOT / "lab/site/requirements.txt").read_text().splitlines()
PINS, SITE_PINS = [[Requirement(line.split("#")[0]) for line in lines
                    if line.split("#")[0].strip()] for lines in (LINES, SITE)]
LOCK = (ROOT / "requirements.lock").read_text()
# An entry is one line, continued by a backslash before each of its hashes.
ENTRIES = re.findall(r"^([a-z0-9][\w.-]*==\S+)(.*(?:\n +--hash=.*)+)", LOCK,
                     re.MULTILINE)


def test_every_package_is_pinned_and_locked():
    locked = {entry for entry, _ in ENTRIES}
    assert len(PINS) > 20
    for pin in SITE_PINS:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
    for pin in PINS:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), pin
        assert f"{pin.name}{pin.specifier}" in locked, pin


def test_everything_in_the_lock_has_its_hashes():
    packages = re.findall(r"^[a-z0-9].*==.*", LOCK, re.MULTILINE)
    assert len(ENTRIES) == len(packages) > len(PINS)
    for entry, rest in ENTRIES:
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}(?: \\)?$", rest,
                            re.MULTILINE)
        assert len(hashes) == rest.count("--hash=") > 0, entry


def test_the_lock_names_no_place_to_get_packages_from():
    assert "http" not in re.sub(r"\bhttp(core|x|tools)\b", "", LOCK)


def test_the_pages_name_the_pinned_versions():
    """The small installation for Linux fetches two packages by name."""
    pinned = {f"{pin.name}{pin.specifier}" for pin in PINS}
    for page in ("README.md", "lab/teaching/HELP.md"):
        named = re.findall(r"\b[a-z]+==\d[\w.]+", (ROOT / page).read_text())
        assert {name for name in named if name.startswith("torch")}
        assert {name for name in named if "torch" in name} <= pinned
