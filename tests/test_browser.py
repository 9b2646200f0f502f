"""A learner's way: open JupyterLab in a browser, press Run All, look.

Skipped where there is no Chromium or Chrome. The notebooks run in a copy
of the repository, with small images and one epoch.
"""

import json
import os
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import CHROMIUM, NO_CHROMIUM, shortened
from playwright.sync_api import expect, sync_playwright

from lab.lesson import (
    NOTEBOOKS,
    PYTORCH,
    ROOT,
    TENSORFLOW,
    code_cells,
    read,
)
from lab.quizzes import quizzes

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

# All cells of a notebook, not only those in sight.
WHOLE_PAGE = '{"windowingMode": "none"}'
SECONDS = 600  # several minutes on a slow machine


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """The address of a JupyterLab that runs in a copy of the repository."""
    home = tmp_path_factory.mktemp("lesson")
    for name in ["data", "images", "lab"]:
        shutil.copytree(ROOT / name, home / name,
                        ignore=shutil.ignore_patterns(
                            "*PH2Dataset*", "cache", "trained"))
    for name in NOTEBOOKS:
        notebook = shortened(read(name))
        for cell in code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, home / name)
    settings = home / "lab_settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(WHOLE_PAGE)
    folders = {f"JUPYTER{name}_DIR": str(home / name.strip("_").lower())
               for name in ("_RUNTIME", "LAB_SETTINGS", "LAB_WORKSPACES")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
         "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token="],
        cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | folders)
    try:
        # JupyterLab chooses a free port, and writes it here.
        for _ in range(240):
            told = list((home / "runtime").glob("jpserver-*.json"))
            if told:
                break
            assert server.poll() is None, "JupyterLab ended"
            time.sleep(0.25)
        yield json.loads(told[0].read_text())["url"]
    finally:
        server.terminate()
        server.wait(timeout=30)


def run_all(page, address, name):
    """Open a notebook, run it, wait for its last cell.

    Execution counts appear in brackets beside the cells whose code is not
    folded; then the last cell, which may be folded, is waited for.
    """
    numbers = [number for number, cell in enumerate(code_cells(read(name)), 1)
               if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    prompts = page.locator(".jp-CodeCell .jp-InputArea-prompt")
    idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    page.goto(f"{address}lab/tree/{name}?reset")  # with no other tab
    expect(prompts).to_have_count(len(numbers), timeout=60_000)
    idle.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(prompts.last).to_have_text(f"[{numbers[-1]}]:",
                                      timeout=1000 * SECONDS)
    idle.wait_for(timeout=60_000)


def play(page, quiz):
    """Click on every answer of a quiz and read what it says."""
    for question in quizzes.questions(quiz):
        shown = page.locator(".Quiz", has_text=question["question"])
        for answer in question["answers"]:
            shown.locator("label.MCButton").get_by_text(
                answer["answer"], exact=True).click()
            feedback = shown.locator(".Feedback")
            expect(feedback).to_have_text(answer["feedback"])
            right = "correct" in feedback.get_attribute("class").split()
            assert right == answer["correct"]


@pytest.mark.parametrize("name", [
    pytest.param(PYTORCH, marks=pytest.mark.full),
    pytest.param(TENSORFLOW, marks=pytest.mark.slow)])
def test_run_all_in_a_browser(jupyterlab, name, tmp_path):
    """No error, all pictures, a table, progress bars, and both quizzes."""
    with sync_playwright() as playwright, playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        run_all(page, jupyterlab, name)
        page.locator(".jp-Notebook").screenshot(path=tmp_path / "page.png")
        outputs = page.locator(".jp-CodeCell .jp-OutputArea-output")
        expect(page.locator(
            "[data-mime-type='application/vnd.jupyter.error'], "
            "[data-mime-type='application/vnd.jupyter.stderr']")
        ).to_have_count(0)
        assert outputs.locator("img").count() >= 15
        expect(outputs.locator("table", has_text="U-Net").first
               ).to_be_visible()
        expect(page.locator(".widget-hprogress, .jupyter-widget-hprogress, "
                            ".progress")).not_to_have_count(0)
        for quiz in quizzes.QUIZZES:
            play(page, quiz)
