"""The lab: made from its solution, says what to do, graded by nbgrader."""

import base64
import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import shortened, tree
from nbclient.exceptions import CellExecutionError
from PIL import Image

from data.synthetic import people
from lab import assignment, lesson
from lab.lesson import PYTORCH, ROOT, code_cells

COURSES = {"BodySegmentationPytorch.ipynb": "bodies-pytorch",
           "BodySegmentationTF.ipynb": "bodies-tf"}  # nbgrader's assignments
NAMES = [*COURSES]
SOLUTIONS = {name: Path("lab", "solutions", course, name)
             for name, course in COURSES.items()}
BOTH = pytest.mark.parametrize("name", NAMES)
SHORT = "SOURCE = 'sample'; HEIGHT, WIDTH = 48, 64; TARGET = 0.3"
TUNING = "EPOCHS = 15"
POINTS = {"person_share": 1, "split_by_sequence": 3, "unet": 3,
          "cross_entropy": 2, "train_network": 2, "predict": 2,
          "metrics": 2, "table": 2, "target": 3, "compose": 4, "steady": 2}
QUESTIONS = ["question_worst", "question_choice", "question_gap"]


def read(*parts):
    return lesson.read(Path(*parts))


def graded(notebook):
    """[(task, its points or None)] of the cells with tasks, in order."""
    return [(task, cell.metadata.nbgrader.get("points"))
            for cell in notebook.cells
            for task in [cell.metadata.get("nbgrader", {})
                         .get("grade_id", "").removesuffix("_check")]
            if task in POINTS]


# --- Made from the solution -----------------------------------------------

@BOTH
def test_the_assignment_is_what_its_solution_gives(name):
    made = assignment.assignment(ROOT / SOLUTIONS[name])
    assert made == (ROOT / "lab" / name).read_text(encoding="utf-8"), \
        "run: python -m lab.assignment"


@pytest.mark.parametrize(("change", "replaced"), [
    (None, True),  # not there
    (lambda made: made, True),
    # An answer, a note, a cell less, half a file, another notebook.
    (lambda made: made.replace("# YOUR CODE HERE", "return 1", 1), False),
    (lambda made: made.replace("Set up", "My notes", 1), False),
    (lambda made: made.replace('"cells": [', '"cells": [], "old": [', 1),
     False),
    (lambda made: made[:len(made) // 2], False),
    (lambda made: (ROOT / PYTORCH).read_text(encoding="utf-8"), False)])
def test_an_assignment_that_was_changed_is_not_replaced(
        change, replaced, tmp_path, monkeypatch):
    [*made] = [(ROOT / "lab" / name).read_text(encoding="utf-8")
               for name in NAMES]
    monkeypatch.setattr(assignment, "LAB", tmp_path)
    monkeypatch.setattr(assignment, "assignment",
                        lambda solution: "made anew")
    file = tmp_path / NAMES[1]
    (tmp_path / NAMES[0]).write_text(made[0], encoding="utf-8")
    if change:
        file.write_text(change(made[1]), encoding="utf-8")
    before = tree(tmp_path)
    monkeypatch.setattr(sys, "argv", ["assignment"])
    with contextlib.nullcontext() if replaced else pytest.raises(
            SystemExit, match=f"{file} was changed .* by --force.$"):
        assignment.main()
    anew = dict.fromkeys(NAMES, b"made anew")
    assert tree(tmp_path) == (anew if replaced else before)
    monkeypatch.setattr(sys, "argv", ["assignment", "--force"])
    assignment.main()
    assert tree(tmp_path) == anew


@BOTH
def test_the_assignment_gives_no_answer_away(name):
    solution, handed_out = read(SOLUTIONS[name]), read("lab", name)
    answers = [line.strip() for cell in code_cells(solution)
               for region in re.findall(
                   "### BEGIN SOLUTION(.*?)### END SOLUTION", cell.source,
                   re.DOTALL)
               for line in region.splitlines() if len(line.strip()) > 25]
    assert len(answers) > 30
    text = "\n".join(cell.source for cell in handed_out.cells)
    given = "\n".join(re.sub(
        "### BEGIN SOLUTION.*?### END SOLUTION", "", cell.source,
        flags=re.DOTALL) for cell in solution.cells)
    assert [answer for answer in answers
            if answer in text and answer not in given] == []
    assert not any(cell.get("outputs") for cell in handed_out.cells)


@BOTH
def test_every_answer_is_followed_by_its_check(name):
    expected = [(task, points) for task in POINTS
                for points in (None, POINTS[task])]
    for task in "table", "target":  # they check the answers before
        expected.remove((task, None))
    assert graded(read("lab", name)) == expected


@BOTH
def test_questions_are_graded_by_a_person(name):
    for handed_out, cells in ((False, read(SOLUTIONS[name]).cells),
                              (True, read("lab", name).cells)):
        answers = {cell.metadata.nbgrader.grade_id: cell for cell in cells
                   if cell.cell_type == "markdown"
                   and "nbgrader" in cell.metadata}
        assert [*answers] == QUESTIONS
        for cell in answers.values():
            assert cell.metadata.nbgrader.points == 4
            assert (cell.source == "YOUR ANSWER HERE") == handed_out
            assert ("| criterion | points |" in cell.source) != handed_out


@BOTH
def test_an_assignment_has_no_hidden_test(name):
    hidden = [cell.metadata.nbgrader.grade_id
              for cell in code_cells(read(SOLUTIONS[name]))
              if "BEGIN HIDDEN TESTS" in cell.source]
    assert hidden == ["person_share_check", "metrics_check", "target_check"]
    text = (ROOT / "lab" / name).read_text(encoding="utf-8")
    assert "HIDDEN" not in text and "seed=20" not in text


def test_both_solutions_tell_and_ask_the_same():
    """All prose but the title, with its links, and the form of a batch."""
    ours, theirs = ([cell.source for cell in read(SOLUTIONS[name]).cells
                     if cell.cell_type == "markdown"] for name in NAMES)
    assert len(ours) == len(theirs)
    different = [one.split("\n")[0] for one, other in zip(ours, theirs)
                 if one != other]
    assert different == ["# Lab: cut people out of pictures · PyTorch",
                         "## Task 3. Build the network"]


@BOTH
def test_the_saved_solution_was_run_on_the_sample(name):
    cells = code_cells(read(SOLUTIONS[name]))
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    printed = "".join(output.get("text", "") for cell in cells
                      for output in cell.outputs)
    assert printed.count("✅") == len(POINTS) + 1  # and a hidden test
    assert "synthetic sample" in printed and "❌" not in printed
    # What TensorFlow logs while it loads is of no use here.
    assert "WARNING: All log" not in printed and "I0000" not in printed


@BOTH
def test_the_film_is_smooth_and_small(name):
    [shown] = [output.data["text/html"]
               for cell in code_cells(read(SOLUTIONS[name]))
               for output in cell.outputs
               if "image/webp" in output.get("data", {}).get("text/html", "")]
    content = base64.b64decode(re.search("base64,([^\"]+)", shown)[1])
    assert len(content) < 3_000_000
    with Image.open(io.BytesIO(content)) as film:
        film.load()
        assert film.n_frames == 60 and film.info["duration"] == 50
        assert film.size == (512, 192)  # as filmed, and by the sea


@BOTH
def test_scores_of_the_test_appear_in_task_6_and_not_before(name):
    cells = code_cells(read(SOLUTIONS[name]))
    tasks = [cell.metadata.get("nbgrader", {}).get("grade_id")
             for cell in cells]
    between = [cell.source for cell in cells[
        tasks.index("unet"):tasks.index("target_check")]]
    assert not any(re.search(r"\btest\b", source) for source in between)
    assert any(re.search(r"\bvalid\b", source) for source in between)


# --- What a learner meets -------------------------------------------------

@pytest.mark.full
def test_the_learning_rate_of_keras_ends_at_zero():
    notebook = shortened(read(SOLUTIONS[NAMES[1]]), SHORT)
    [trial] = code_cells(notebook, "trial")
    del notebook.cells[notebook.cells.index(trial) + 1:]
    printed = lesson.run(notebook, after={}, last="""
rates = trial.optimizer._learning_rate
print(*(float(rates(step)) for step in range(int(rates.warmup_steps
                                                 + rates.decay_steps) + 1)))
print(int(trial.optimizer.iterations))
""")
    rates, steps = printed.splitlines()
    rates = list(map(float, rates.split()))
    assert len(rates) == int(steps) + 1
    assert max(rates) == pytest.approx(4e-3) and rates[-1] < 1e-9


@pytest.mark.full
@BOTH
def test_a_fresh_assignment_runs_to_the_first_task_and_says_what_to_do(name):
    notebook = read("lab", name)
    with pytest.raises(CellExecutionError):
        lesson.client(notebook, folder=ROOT / "lab").execute()
    errors = [(cell, output) for cell in code_cells(notebook)
              for output in cell.outputs if output.output_type == "error"]
    [(cell, error)] = errors
    assert cell.metadata.nbgrader.grade_id == "person_share_check"
    assert error.traceback == [error.evalue]  # a sentence and nothing else
    assert error.evalue.startswith("❌ Task 1") \
        and "`person_share` returns nothing yet" in error.evalue


# --- Handed out, collected, graded ----------------------------------------

def solve(notebook, solution, **other):
    """Put the solution's answers into an assignment, or other ones."""
    answers = {cell.metadata.nbgrader.grade_id: cell.source
               for cell in solution.cells
               if cell.metadata.get("nbgrader", {}).get("solution")}
    for cell in notebook.cells:
        task = cell.metadata.get("nbgrader", {}).get("grade_id")
        if task in answers:
            # None: left as it was handed out
            cell.source = other.get(task, answers[task]) or cell.source
    for tag, code in other.items():
        for cell in code_cells(notebook, tag):
            cell.source = code


WRONG = {  # confuses Dice and IoU, has a halo, smooths nothing
    "metrics": """\
def iou(predicted, masks):
    both = (predicted & masks).sum(axis=(1, 2))
    return (2 * both + 1e-6) / (predicted.sum(axis=(1, 2))
                                + masks.sum(axis=(1, 2)) + 1e-6)


dice = iou


def scores_by_sequence(predicted, rows):
    masks = samples.masks[rows]
    return pd.DataFrame({"IoU": iou(predicted, masks),
                         "Dice": dice(predicted, masks)}).groupby(
                             samples.groups[rows]).mean()
""",
    "compose": """\
def compose(image, probabilities, background):
    alpha = probabilities[..., None]
    return np.uint8(alpha * image + (1 - alpha) * background)
""",
    "steady": """\
def steady(probabilities):
    return probabilities
"""}
LEAKING = {  # at random, and then trains on all there is
    "split_by_sequence": """\
def split_by_sequence(samples, seed):
    rest, test = train_test_split(np.arange(len(samples)), test_size=0.2,
                                  random_state=seed)
    return *train_test_split(rest, test_size=0.2, random_state=seed), test
"""}
ALL_ROWS = ("batches(rows)", "batches(np.arange(len(samples)))")
TUNED = "EPOCHS, BATCH_SIZE, LEARNING_RATE = 12, 12, 6e-3\n" \
    "CHANNELS = 12, 24, 48, 96\nBACKGROUND = PHOTO = MEDIAPIPE = ''"
LAZY = ["person_share", "split_by_sequence"]  # all that it has answered


def submissions(solution):
    """{student: what differs from the solution, points that are lost}."""
    [training] = [cell.source for cell in solution.cells
                  if cell.metadata.get("nbgrader", {}).get("grade_id")
                  == "train_network"]
    leaking = LEAKING | {"train_network": training.replace(*ALL_ROWS)}
    assert leaking["train_network"] != training
    return {
        "right": ({}, []),
        "tuned": ({"tuning": TUNED}, []),
        "lazy": (dict.fromkeys(POINTS.keys() - LAZY),
                 [*POINTS.keys() - LAZY]),
        "wrong": (WRONG, ["metrics", "table", "compose", "steady"]),
        "leaking": (leaking, ["split_by_sequence", "train_network",
                              "target"]),
        "empty": (None, [*POINTS])}


def nbgrader(course, *words):
    """Run nbgrader in a course directory; its exit status must be 0."""
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words], cwd=course, text=True,
        capture_output=True, env={**os.environ, "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"]])})
    assert done.returncode == 0, done.stderr[-3000:]


def course_in(folder, name):
    """A copy of the lab as course directory, with one short notebook."""
    shutil.copytree(ROOT / "data", folder / "data", ignore=lambda *found: [
        entry for entry in found[1] if entry.startswith((
            "PH2", ".PH2", "MADS", "cache", "trained", "benchmark"))])
    (folder / "lab").mkdir()
    for file in (ROOT / "lab").glob("*.py"):
        shutil.copy(file, folder / "lab")
    for file in lesson.NOTEBOOKS:  # where the networks of task 8 come from
        shutil.copy(ROOT / file, folder)
    solution = shortened(read(SOLUTIONS[name]), SHORT)
    [tuning] = code_cells(solution, "tuning")
    tuning.source += f"\n{TUNING}"
    # The rest, task 8, gives no points and takes time.
    last = max(number for number, cell in enumerate(solution.cells)
               if cell.metadata.get("nbgrader"))
    del solution.cells[last + 1:]
    (folder / SOLUTIONS[name]).parent.mkdir(parents=True)
    nbformat.write(solution, folder / SOLUTIONS[name])
    return folder / "lab", solution


def answered_by_a_person(course, student):
    """Full points for the questions, as a person gives them by hand."""
    from nbgrader.api import Gradebook
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        [assignment] = book.assignments
        [notebook] = book.find_submission(assignment.name, student).notebooks
        for question in QUESTIONS:
            book.find_grade(question, notebook.name, assignment.name,
                            student).manual_score = 4
        book.db.commit()


@pytest.mark.parametrize("name", [
    pytest.param(NAMES[0], marks=pytest.mark.full),
    pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_nbgrader_hands_out_collects_and_grades(name, tmp_path):
    """Each submission gets the points that it deserves."""
    course, solution = course_in(tmp_path, name)
    task = COURSES[name]
    nbgrader(course, "generate_assignment", task)
    released = course / "release" / task / name
    assert "BEGIN SOLUTION" not in released.read_text()
    everybody = submissions(solution)
    for student, (other, _) in everybody.items():
        notebook = nbformat.read(released, as_version=4)
        if other is not None:
            solve(notebook, solution, **other)
        folder = course / "submitted" / student / task
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / name)
    nbgrader(course, "autograde", task)
    for student, (_, lost) in everybody.items():
        expected = POINTS | dict.fromkeys(lost, 0)
        assert points_of(course, student) == expected, student
    answered_by_a_person(course, "right")
    nbgrader(course, "generate_feedback", task)
    nbgrader(course, "export")
    grades = pd.read_csv(course / "grades.csv").set_index("student_id")
    assert grades.score["right"] == grades.max_score["right"] \
        == sum(POINTS.values()) + 12
    assert grades.score["empty"] == 0
    for student, (_, lost) in everybody.items():
        page = course / "feedback" / student / task / Path(
            name).with_suffix(".html")
        assert ("❌ Task" in page.read_text()) == bool(lost)


def points_of(course, student):
    """{task: points} that nbgrader's checks gave a student."""
    from nbgrader.api import Gradebook
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        [assignment] = book.assignments
        [notebook] = book.find_submission(assignment.name, student).notebooks
        return {grade.name.removesuffix("_check"): grade.auto_score
                for grade in notebook.grades if grade.name not in QUESTIONS}


# --- The challenge --------------------------------------------------------

SKELETON = ROOT / "lab" / "skeleton.py"


def test_the_skeleton_program_says_how_to_start_it():
    """In the lesson's own environment, which has no MediaPipe."""
    assert not subprocess.run([sys.executable, SKELETON, "--help"]).returncode
    done = subprocess.run([sys.executable, SKELETON, "me.jpg"], text=True,
                          capture_output=True)
    assert done.returncode == 1
    assert re.fullmatch(r"mediapipe is not installed here\. Start [^\n]*\n",
                        done.stderr)


@pytest.fixture(scope="module")
def skeleton():
    """How to start the program with uv; skipped where that cannot be."""
    start = [sys.executable, "-m", "uv", "run", "--quiet", "--script",
             SKELETON]
    ready = subprocess.run([*start, "--help"], text=True,
                           capture_output=True)
    if ready.returncode:
        pytest.skip("MediaPipe cannot be installed here: "
                    + " ".join(ready.stderr.split())[:300])
    return start


@pytest.mark.full
def test_the_skeleton_of_a_drawn_person(skeleton, tmp_path):
    generator = np.random.default_rng(14)
    image, mask = people.draw(generator, (384, 512), "Jazz")
    Image.fromarray(image).save(tmp_path / "drawn.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    done = subprocess.run(
        [*skeleton, tmp_path / "drawn.png", "--mask", tmp_path / "mask.png"],
        text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    [visible] = re.findall(r"(\d+) of 33 joints are visible", done.stdout)
    [agree] = re.findall(r"MediaPipe's: (\d\.\d+)", done.stdout)
    assert int(visible) > 25 and float(agree) > 0.8
    sheet = Image.open(tmp_path / "drawn-skeleton.png")
    assert sheet.size == (3 * 512, 384)
    cyan = (np.asarray(sheet)[:, :512] == (0, 220, 220)).all(axis=2)
    assert mask[cyan].mean() > 0.9  # the skeleton is in the person
    before = (tmp_path / "drawn-skeleton.png").read_bytes()
    done = subprocess.run([*skeleton, tmp_path / "drawn.png"], text=True,
                          capture_output=True)
    assert done.returncode and "is there already; rename" in done.stderr
    assert (tmp_path / "drawn-skeleton.png").read_bytes() == before


@pytest.mark.full
def test_the_skeleton_program_saves_its_mask_and_overwrites_none(
        skeleton, tmp_path):
    generator = np.random.default_rng(14)
    image, mask = people.draw(generator, (192, 256), "Jazz")
    Image.fromarray(image).save(tmp_path / "drawn.png")
    start = [*skeleton, tmp_path / "drawn.png", "--save-mask"]
    subprocess.run([*start, tmp_path / "new.png"], check=True)
    saved = Image.open(tmp_path / "new.png")
    assert saved.format == "PNG" and saved.size == (256, 192)
    assert set(np.unique(saved.convert("L"))) == {0, 255}
    white = np.asarray(saved.convert("L")) > 0
    assert (white & mask).sum() / (white | mask).sum() > 0.7
    (tmp_path / "drawn-skeleton.png").unlink()
    before = (tmp_path / "new.png").read_bytes()
    done = subprocess.run([*start, tmp_path / "new.png"], text=True,
                          capture_output=True)
    assert done.returncode and "new.png is there already" in done.stderr
    assert (tmp_path / "new.png").read_bytes() == before
    # Nothing is written if one of both cannot be.
    assert not (tmp_path / "drawn-skeleton.png").exists()


@pytest.mark.full
def test_the_skeleton_program_refuses_what_is_no_picture(skeleton, tmp_path):
    (tmp_path / "me.jpg").write_text("not a picture")
    os.mkfifo(tmp_path / "pipe")
    Image.new("I;16", (9, 9)).save(tmp_path / "deep.png")
    before = set(tmp_path.iterdir())
    for refused in (*before, tmp_path, "nowhere.png", "m" * 300):
        done = subprocess.run([*skeleton, refused], text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 1
        assert "cannot be read as a picture" in done.stderr.splitlines()[-1]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.full
def test_a_skeleton_is_written_whole_or_not_at_all(skeleton, tmp_path):
    """No file may be larger than 5,000 bytes here; a name of old times."""
    old = os.fsencode(tmp_path) + b"/m\xf6"
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(os.fsdecode(old + b".jpg"), quality=30)
    command = " ".join(map(shlex.quote, map(str, skeleton)))
    start = ["bash", "-c", f'{command} "$0"', old + b".jpg"]
    few = ["bash", "-c", f'ulimit -f 5; {command} "$0"', old + b".jpg"]
    assert b"cannot be written (File too large)" in subprocess.run(
        few, capture_output=True).stderr
    assert os.listdir(os.fsencode(tmp_path)) == [b"m\xf6.jpg"]
    done = subprocess.run(start, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(old + b"-skeleton.png")
