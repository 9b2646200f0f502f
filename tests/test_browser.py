"""A learner's way: open JupyterLab in a browser, press Run All, look.

Skipped where there is no Chromium or Chrome. The notebooks run in a copy
of the repository, with small images and one epoch.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest
from conftest import shortened
from playwright.sync_api import expect, sync_playwright

from lab.lesson import NOTEBOOKS, ROOT, code_cells, read
from lab.quizzes import quizzes

CHROMIUM = next(filter(None, map(shutil.which, [
    "chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on "
                       "Debian or Ubuntu: sudo apt install chromium")]

# All cells of a notebook, not only those in sight.
WHOLE_PAGE = '{"windowingMode": "none"}'
SECONDS = 600  # several minutes on a slow machine


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the repository whose notebooks have short parameters."""
    copy = tmp_path_factory.mktemp("repository")
    for name in ["data", "images", "lab"]:
        shutil.copytree(ROOT / name, copy / name,
                        ignore=shutil.ignore_patterns(
                            "*PH2Dataset*", "cache", "trained"))
    for name in NOTEBOOKS:
        notebook = shortened(read(name))
        for cell in code_cells(notebook):
            cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, copy / name)
    return copy


def free_port():
    """A port on which nothing listens at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(address, server, seconds=60):
    """Wait until a server answers."""
    for _ in range(4 * seconds):
        try:
            return urlopen(address, timeout=5).close()
        except URLError:
            assert server.poll() is None, "JupyterLab ended"
            time.sleep(0.25)
    raise TimeoutError(f"no answer from {address}")


@pytest.fixture(scope="module")
def jupyterlab(repository, tmp_path_factory):
    """The address of a JupyterLab that runs in the copy."""
    settings = tmp_path_factory.mktemp("settings")
    tracker = settings / "@jupyterlab" / "notebook-extension"
    tracker.mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text(WHOLE_PAGE)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
         "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
         "--ServerApp.port_retries=0", "--IdentityProvider.token="],
        cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(settings),
             "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces")})
    try:
        wait_for(f"{address}/api", server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def run_all(page, address, name):
    """Open a notebook, run it, wait for its last cell.

    Execution counts appear in brackets beside the cells; the last one
    tells that all cells have run.
    """
    number = len(code_cells(read(name)))
    prompts = page.locator(".jp-CodeCell .jp-InputArea-prompt")
    page.goto(f"{address}/lab/tree/{name}?reset")  # with no other tab
    expect(prompts).to_have_count(number, timeout=60_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]") \
        .wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(prompts.last).to_have_text(f"[{number}]:",
                                      timeout=1000 * SECONDS)


def play(page, quiz, language="en"):
    """Click on every answer of a quiz and read what it says."""
    for question in quizzes.questions(quiz, language):
        shown = page.locator(".Quiz", has_text=question["question"])
        for answer in question["answers"]:
            shown.locator("label.MCButton").get_by_text(
                answer["answer"], exact=True).click()
            feedback = shown.locator(".Feedback")
            expect(feedback).to_have_text(answer["feedback"])
            right = "correct" in feedback.get_attribute("class").split()
            assert right == answer["correct"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_in_a_browser(chromium, jupyterlab, name, tmp_path):
    page = chromium.new_page(viewport={"width": 1300, "height": 1000})
    run_all(page, jupyterlab, name)
    page.locator(".jp-Notebook").screenshot(path=tmp_path / "page.png")
    outputs = page.locator(".jp-CodeCell .jp-OutputArea-output")
    expect(page.locator("[data-mime-type='application/vnd.jupyter.error'], "
                        "[data-mime-type='application/vnd.jupyter.stderr']")
           ).to_have_count(0)
    assert outputs.locator("img").count() >= 15
    expect(outputs.locator("table", has_text="U-Net").first).to_be_visible()
    expect(page.locator(".widget-hprogress, .jupyter-widget-hprogress, "
                        ".progress")).not_to_have_count(0)
    for quiz in quizzes.QUIZZES:
        play(page, quiz)
    page.close()
