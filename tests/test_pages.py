"""The pages: quizzes, links, pictures, spelling, and the translations."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from nbconvert import SlidesExporter
from notebooks import NAMES, ROOT, code_cells, read
from traitlets.config import Config

from lab.quizzes import quizzes

PAGES = ["README.md", "CONTRIBUTING.md", "data/README.md",
         "lab/README.md", "lab/INSTRUCTORS.md", "lab/SCALING.md",
         "translations/README.md",
         "translations/README.no.md"]
LAB = [f"lab/{folder}BodySegmentation{framework}.ipynb"
       for folder in ("", "solutions/bodies/")
       for framework in ("Pytorch", "TF")]
QUIZZES = [(name, language) for name in quizzes.QUIZZES
           for language in quizzes.PAGES]


def text_of(name):
    """The text of a page, or all the prose of a notebook."""
    if name.endswith(".ipynb"):
        return "\n\n".join(cell.source for cell in read(name).cells
                           if cell.cell_type == "markdown")
    return (ROOT / name).read_text(encoding="utf-8")


def without_code(text):
    """Markdown without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text):
    """All headings of a page, as (number of hashes, words)."""
    return [(len(hashes), words) for hashes, words in
            re.findall(r"^(#+) (.+)$", without_code(text), re.MULTILINE)]


def links(text):
    """All links and pictures of a page, as (words, target)."""
    return re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)", text)


def anchors(name):
    """What may follow the # in a link to a page or notebook."""
    for _, words in headings(text_of(name)):
        if name.endswith(".ipynb"):  # as JupyterLab does it
            yield words.replace(" ", "-")
        else:  # as code-hosting sites do it
            yield re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


def test_the_page_about_scaling_shows_lines_of_the_programs():
    programs = "\n".join(path.read_text() for path in
                         sorted((ROOT / "lab/scaling").glob("*.py")))
    lines = {line.strip() for line in programs.splitlines()}
    blocks = re.findall("^```python\n(.*?)^```", text_of("lab/SCALING.md"),
                        re.DOTALL | re.MULTILINE)
    assert len(blocks) == 12
    for line in "".join(blocks).splitlines():
        assert line.strip() in lines, line


# Quizzes

@pytest.mark.parametrize("name, language", QUIZZES)
def test_each_question_has_one_right_answer_and_reasons(name, language):
    quiz = quizzes.questions(name, language)
    assert len(quiz) >= 8
    assert len({question["question"] for question in quiz}) == len(quiz)
    for question in quiz:
        answers = question["answers"]
        assert question["type"] == "multiple_choice"
        assert len(answers) >= 3
        assert [answer["correct"] for answer in answers].count(True) == 1
        assert len({answer["answer"] for answer in answers}) == len(answers)
        for answer in answers:
            assert len(answer["feedback"]) > 20, question


def test_the_right_answer_is_not_always_in_the_same_place():
    places = [[answer["correct"] for answer in question["answers"]]
              .index(True) for name in quizzes.QUIZZES
              for question in quizzes.questions(name)]
    assert max(map(places.count, set(places))) <= len(places) / 2


@pytest.mark.parametrize("language", quizzes.PAGES)
def test_a_page_shows_the_quizzes_as_they_are(language):
    page = quizzes.PAGES[language].read_text(encoding="utf-8")
    assert page == quizzes.with_quizzes(page, language), \
        "run python -m lab.quizzes.quizzes"


def test_a_page_without_the_comments_is_refused():
    with pytest.raises(ValueError, match="quiz: before"):
        quizzes.with_quizzes("# A page\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_notebook_holds_both_quizzes(name):
    scripts = ["".join(output.data.get("application/javascript", ""))
               for cell in code_cells(read(name), "quiz")
               for output in cell.outputs if "data" in output]
    for quiz in quizzes.QUIZZES:
        first = quizzes.questions(quiz)[0]["question"]
        assert any(json.dumps(first) in script for script in scripts)


# Links, pictures, spelling

@pytest.mark.parametrize("name", [*PAGES, *NAMES, *LAB])
def test_links_lead_somewhere_and_pictures_have_a_text(name):
    folder = (ROOT / name).parent
    for words, target in links(without_code(text_of(name))):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve() if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(str(file.relative_to(ROOT))), target
        if path.endswith((".svg", ".jpg", ".png")):
            assert len(words) > 30, target


def test_every_picture_is_used_in_the_readme():
    shown = {target for _, target in links(text_of("README.md"))}
    for suffix in ("svg", "jpg"):
        for file in (ROOT / "images").glob(f"*.{suffix}"):
            assert f"images/{file.name}" in shown


@pytest.mark.parametrize("name", [
    page for page in [*PAGES, *NAMES, *LAB] if not page.endswith(".no.md")])
def test_spelling(name):
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--builtin",
         "clear,rare,informal", "-"],
        input=text_of(name), capture_output=True, text=True, cwd=ROOT,
        encoding="utf-8", check=False)
    assert done.returncode == 0 and not done.stdout, done.stdout


def test_the_spelling_check_finds_a_mistake():
    done = subprocess.run([sys.executable, "-m", "codespell_lib", "-"],
                          input="a segmenation netwrok", text=True,
                          capture_output=True, cwd=ROOT, check=False)
    assert "network" in done.stdout


# What other tools read

def test_the_dev_container_installs_as_the_readme_does():
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    command = container["postCreateCommand"]
    assert f"{command} && " in text_of("README.md")
    version = re.search(r"python:(\d+\.\d+)", container["image"])[1]
    assert f"{version}" in tomllib.loads(text_of("pyproject.toml"))[
        "project"]["requires-python"]


def test_the_citation_can_be_read():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    for key in ["cff-version", "title", "message", "authors"]:
        assert citation[key]
    assert citation["title"] == text_of("README.md").splitlines()[0][2:]


# Slides

@pytest.mark.parametrize("name", NAMES)
def test_each_section_begins_a_slide(name):
    for cell in read(name).cells:
        kind = cell.metadata["slideshow"]["slide_type"]
        if re.match(r"#{1,2} ", cell.source) \
                and cell.cell_type == "markdown":
            assert kind == "slide", cell.source
        else:
            assert kind in ("slide", "subslide", "-", "notes", "skip")


@pytest.mark.parametrize("name", NAMES)
def test_slides_show_figures_and_networks_but_not_the_code_of_plots(name):
    exporter = SlidesExporter(config=Config(TagRemovePreprocessor={
        "enabled": True, "remove_input_tags": {"plots"}}))
    slides, _ = exporter.from_filename(str(ROOT / name))
    visible = re.sub(r"<aside.*?</aside>", "", slides, flags=re.DOTALL)
    words = re.sub(r"<[^>]+>", "", visible)
    assert slides.count("<section>") > 16 and "<aside" in slides
    assert slides.count("data:image/png") >= 15
    assert "SegNet(" in words and "def show_history" not in words


# Translations

def sections(text):
    """The parts of a page between its headings, code blocks included."""
    return re.split(r"^#+ .+$", text, flags=re.MULTILINE)


def code_blocks(text):
    return re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE)


def targets_from_the_top(name):
    """All link targets of a page, seen from the top of the repository.

    Anchors are left out, for a translated heading has another one.
    """
    folder = (ROOT / name).parent
    for _, target in links(text_of(name)):
        if re.match("https?:", target):
            yield target
        else:
            path = target.partition("#")[0]
            yield (folder / path).resolve() if path else "this page"


TRANSLATIONS = sorted(path.name for path in
                      (ROOT / "translations").glob("README.*.md"))


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_a_translation_has_all_that_the_original_has(translation):
    name = f"translations/{translation}"
    ours, theirs = text_of("README.md"), text_of(name)
    assert [hashes for hashes, _ in headings(ours)] \
        == [hashes for hashes, _ in headings(theirs)]
    assert code_blocks(ours) == code_blocks(theirs)
    here = {ROOT / "README.md", ROOT / name, "this page"}
    assert [target for target in targets_from_the_top("README.md")
            if target not in here] \
        == [target for target in targets_from_the_top(name)
            if target not in here]
    assert ours.count("\n|") == theirs.count("\n|")


@pytest.mark.parametrize("translation", TRANSLATIONS)
def test_a_translation_has_the_same_numbers(translation):
    ours = sections(text_of("README.md"))
    theirs = sections(text_of(f"translations/{translation}"))
    for one, other in zip(ours, theirs, strict=True):
        # Digits alone: 0.95 and 0,95, 12,288 and 12 288 are the same.
        assert sorted(re.findall(r"\d+", one)) \
            == sorted(re.findall(r"\d+", other)), other
