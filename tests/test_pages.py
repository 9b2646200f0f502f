"""The pages: quizzes, tables, links, figures, spelling, slides, and the
translations.
"""

import json
import posixpath
import re
import subprocess
import sys
import tomllib

import matplotlib
import numpy as np
import pytest
import yaml
from conftest import repository
from nbconvert import SlidesExporter
from PIL import Image
from traitlets.config import Config

from data import DataError
from images import draw
from lab import lesson
from lab.benchmark import bodies, report
from lab.lesson import NOTEBOOKS, ROOT
from lab.quizzes import quizzes
from lab.site import pages, parts

PAGES = repository("*.md", "*.ipynb")
ORIGINALS = {"lab/quizzes/README.no.md": "lab/quizzes/README.md",
             **dict.fromkeys(repository("translations/README.*.md"),
                             "README.md")}


def text_of(name):
    """The text of a page, or all the prose of a notebook."""
    if name.endswith(".ipynb"):
        return "\n\n".join(cell.source for cell in lesson.read(name).cells
                           if cell.cell_type == "markdown")
    return (ROOT / name).read_text(encoding="utf-8")


def code_blocks(text):
    return re.findall(r"^```.*?^```", text, flags=re.DOTALL | re.MULTILINE)


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text):
    """All headings of a page, as (number of hashes, words)."""
    return [(len(hashes), words) for hashes, words in
            re.findall(r"^(#+) (.+)$", without_code(text), re.MULTILINE)]


def links(text):
    """All links and pictures of a page, as (words, target)."""
    return re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)",
                      without_code(text))


def anchors(name):
    """What may follow the # in a link to a page or notebook."""
    for _, words in headings(text_of(name)):
        if name.endswith(".ipynb"):  # as JupyterLab does it
            yield words.replace(" ", "-")
        else:  # as code-hosting sites do it
            yield re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")


# --- Length, times, tables ------------------------------------------------

def test_the_front_door_is_short():
    assert len(text_of("README.md").split()) <= 2700


def test_running_times_stand_in_one_place():
    """In the instructors' table, as the notebooks were saved with."""
    page = lesson.TIMES_PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- times -->") == 1
    assert page == lesson.with_times(page), \
        "run python -m lab.lesson with both notebooks"
    for name in ["README.md", "lab/README.md", "lab/teaching/HELP.md",
                 *NOTEBOOKS]:
        told = re.findall(r"\d[\d.,½]* (?:minutes|seconds)|"
                          r"(?:half|quarter of) an hour", text_of(name))
        assert not told, f"{name}: link to the table instead"


def test_tables_are_those_of_the_results():
    found = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    shown = []
    for name, language in report.PAGES.items():
        page = text_of(name)
        assert page == report.filled(page, found, language), \
            f"{name}: run python -m lab.benchmark.run --publish"
        shown += re.findall("<!-- benchmark: (.*?) -->", page)
    assert set(shown) == set(report.TABLES)


def test_the_page_about_scaling_shows_lines_of_the_programs():
    lines = {line.strip() for name in repository("lab/scaling/*.py")
             for line in text_of(name).splitlines()}
    blocks = [block.splitlines()[1:-1] for block in
              code_blocks(text_of("lab/scaling/README.md"))
              if block.startswith("```python")]
    assert len(blocks) == 12
    for line in sum(blocks, []):
        assert line.strip() in lines, line


# --- Figures and pages in the website -------------------------------------

@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_figure_has_words_for_those_who_cannot_see_it(name):
    for cell in lesson.code_cells(lesson.read(name)):
        figures = ["image/png" in output.get("data", {})
                   for output in cell.outputs]
        assert sum(figures) == len(cell.metadata.get("alt", [])), cell.source


def test_every_page_is_in_the_website():
    assert set(repository("*.md")) == set(pages.PAGES)


def test_the_website_holds_all_of_both_notebooks(tmp_path):
    whole = "".join(text for _, text in parts.pages(tmp_path))
    for name in NOTEBOOKS:
        for cell in lesson.read(name).cells[1:]:
            source = parts.TWINS.sub("", cell.source)
            lines = [source] if cell.cell_type == "code" \
                else source.replace("\n#", "\n").splitlines()
            assert "quiz" in lesson.tags_of(cell) \
                or all(line.removeprefix("#") in whole for line in lines)


def test_links_are_right_in_the_website():
    code = "```python\nd[0](README.md)\n```\n"
    assert pages.relinked(
        f"[a]({lesson.PYTORCH}#3.1-SegNet) ![b](images/unet.svg) [c](tests/)"
        f" [d](lab/README.md#begin) [e](https://f.g/h)\n{code}",
        "README.md", "lesson/index.md") == (
        "[a](part-3.md#31-segnet) ![b](../images/unet.svg) c"
        f" [d](../lab/index.md#begin) [e](https://f.g/h)\n{code}")


# --- Quizzes --------------------------------------------------------------

@pytest.mark.parametrize("language", quizzes.PAGES)
def test_each_question_has_one_right_answer_and_reasons(language):
    places = []  # of the right answers
    for name in quizzes.QUIZZES:
        quiz = quizzes.questions(name, language)
        assert len(quiz) >= 8
        assert len({question["question"] for question in quiz}) == len(quiz)
        for question in quiz:
            assert question["type"] == "multiple_choice"
            texts, reasons, right = (
                [answer[key] for answer in question["answers"]]
                for key in ("answer", "feedback", "correct"))
            assert len(set(texts)) == len(texts) >= 3
            assert right.count(True) == 1
            assert min(map(len, reasons)) > 20, question
            places.append(right.index(True))
    assert max(map(places.count, set(places))) <= len(places) / 2


def test_pages_show_the_quizzes_and_the_key_as_they_are():
    for language, file in quizzes.PAGES.items():
        page = file.read_text(encoding="utf-8")
        assert page == quizzes.with_quizzes(page, language), \
            "run python -m lab.quizzes.quizzes"
    page = quizzes.ANSWERS.read_text(encoding="utf-8")
    assert page == quizzes.with_key(page)
    # The key's letters are those of the page.
    for quiz, shown in re.findall(r"^- (\w+) the lesson: (.*)$",
                                  quizzes.key(), re.MULTILINE):
        text = quizzes.as_text(quizzes.questions(quiz))
        assert re.findall(r"\d+ (\w)", shown) \
            == re.findall(r"\*\*(\w) is right", text)
    with pytest.raises(DataError, match="quiz: before"):
        quizzes.with_quizzes("# A page without the comments\n")


CHARACTER = r"(?:[^\\~=#{}:\n]|\\[\\~=#{}:n])"  # of GIFT, plain or escaped
GIFT = re.compile(
    rf"::({CHARACTER}+)::\[plain\]({CHARACTER}+) \{{\n"
    rf"((?:[=~]{CHARACTER}+#{CHARACTER}+\n)+)}}")


def from_gift(text):
    """(category, {name: question}) of a quiz in GIFT, read strictly."""
    def plain(escaped):
        return re.sub(r"\\(.)", lambda found: found[1].replace("n", "\n"),
                      escaped)

    category, *blocks = text.removesuffix("\n").split("\n\n")
    return category.removeprefix("$CATEGORY: $course$/"), {
        plain(name): {
            "question": plain(question), "type": "multiple_choice",
            "answers": [
                {"answer": plain(answer), "correct": sign == "=",
                 "feedback": plain(feedback)} for sign, answer, feedback
                in re.findall(f"([=~])({CHARACTER}+)#({CHARACTER}+)\n",
                              answers)]}
        for name, question, answers in (
            GIFT.fullmatch(block).groups() for block in blocks)}


@pytest.mark.parametrize("language", quizzes.PAGES)
@pytest.mark.parametrize("name", quizzes.QUIZZES)
def test_a_quiz_for_moodle_holds_what_the_questions_say(name, language):
    text = (quizzes.FOLDER / f"{name}.{language}.gift").read_text("utf-8")
    asked = quizzes.questions(name, language)
    title = quizzes.TITLES[language][name]
    assert text == quizzes.as_gift(asked, title), \
        "run python -m lab.quizzes.quizzes"
    category, found = from_gift(text)
    assert category == title and list(found.values()) == asked
    assert all(name.startswith(title) for name in found)


def test_characters_that_mean_something_to_moodle_are_escaped():
    hostile = "{=a#b} ~%50%c::d \\n \\\\ // \n\n$CATEGORY: x [html]"
    asked = [{"question": hostile, "type": "multiple_choice", "answers": [
        {"answer": hostile, "correct": correct, "feedback": hostile}
        for correct in (False, True)]}]
    _, found = from_gift(quizzes.as_gift(asked, "After"))
    assert list(found.values()) == asked


def test_the_instructors_page_quotes_hints_as_the_checks_give_them():
    """In the last column of its table, with … where something is left out."""
    source = text_of("lab/checks.py")
    hints = re.sub(r'"\s+f?"', "", source)  # strings of several lines
    table = text_of("lab/teaching/INSTRUCTORS.md").partition(
        "| mistake | check | hint |\n")[2].partition("\n\n")[0]
    rows = [row.split("|")[2:4] for row in table.splitlines()[1:]]
    assert len(rows) > 10
    for check, quoted in rows:
        assert f'@check("{check.strip()}' in source, check
        for part in re.split("[*…]+", quoted):
            assert part.strip() in hints, quoted


def test_the_container_for_grading_copies_what_exists():
    copied = re.findall(r"^COPY (\S+) ",
                        text_of("lab/teaching/Containerfile"), re.MULTILINE)
    assert len(copied) >= 5 and all(list(ROOT.glob(path)) for path in copied)


def test_the_table_of_the_lab_is_that_of_its_results():
    results = json.loads(bodies.RESULTS.read_text(encoding="utf-8"))
    page = bodies.PAGE.read_text(encoding="utf-8")
    assert page == bodies.with_table(page, results)
    assert {framework: len(runs) for framework, runs in results.items()} \
        == {"pytorch": 5, "tf": 5}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_saved_notebook_holds_both_quizzes(name):
    scripts = ["".join(output.data.get("application/javascript", ""))
               for cell in lesson.code_cells(lesson.read(name), "quiz")
               for output in cell.outputs if "data" in output]
    for quiz in quizzes.QUIZZES:
        first = quizzes.questions(quiz)[0]["question"]
        assert any(json.dumps(first) in script for script in scripts)


# --- Links, figures, spelling ---------------------------------------------

@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_pictures_have_a_text(name):
    folder = (ROOT / name).parent
    for words, target in links(text_of(name)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve() if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(str(file.relative_to(ROOT))), target
        if path.endswith((".svg", ".jpg", ".png")):
            assert len(words) > 30, target


def test_every_figure_is_drawn_and_shown():
    saved = set(repository("images/*.svg", "images/*.jpg", "images/*.png"))
    assert saved == {f"images/{name}" for name in draw.FIGURES}
    assert saved <= {target for name in PAGES for target in targets(name)}


@pytest.mark.skipif(
    f"matplotlib=={matplotlib.__version__}\n"
    not in (ROOT / "requirements.txt").read_text(),
    reason="each matplotlib draws a little differently")
def test_the_saved_figures_are_what_the_script_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["draw"])
    draw.main()
    for name in draw.FIGURES:
        drawn, saved = tmp_path / name, ROOT / "images" / name
        if name.endswith(".svg"):
            assert drawn.read_bytes() == saved.read_bytes(), name
        else:  # processors differ in the last digit, and so may single pixels
            one, other = (np.asarray(Image.open(file)).astype(float)
                          for file in (drawn, saved))
            assert one.shape == other.shape
            assert np.abs(one - other).mean() < 0.5, name


def misspelt(folder):
    """What codespell says about the files of a folder."""
    return subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--builtin",
         "clear,rare,informal", folder], capture_output=True, text=True,
        cwd=ROOT, encoding="utf-8", check=False).stdout


def test_spelling(tmp_path):
    for name in PAGES:
        if not name.endswith(".no.md"):
            page = tmp_path / name.replace("/", " ")
            page.with_suffix(".md").write_text(text_of(name), "utf-8")
    assert misspelt(tmp_path) == ""
    (tmp_path / "mistake.md").write_text("a segmenation netwrok")
    assert "network" in misspelt(tmp_path)


# --- What other tools read ------------------------------------------------

def test_the_dev_container_and_the_citation_say_what_the_readme_says():
    readme = text_of("README.md")
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    assert f"{container['postCreateCommand']} && " in readme
    version = re.search(r"python:(\d+\.\d+)", container["image"])[1]
    assert version in tomllib.loads(text_of("pyproject.toml"))[
        "project"]["requires-python"]
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["title"] == readme.splitlines()[0][2:]
    assert citation["cff-version"] and citation["message"]
    assert citation["authors"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_slides_show_figures_and_networks_but_not_the_code_of_plots(name):
    for cell in lesson.read(name).cells:  # each section begins a slide
        kind = cell.metadata["slideshow"]["slide_type"]
        if re.match(r"#{1,2} ", cell.source) \
                and cell.cell_type == "markdown":
            assert kind == "slide", cell.source
        else:
            assert kind in ("slide", "subslide", "-", "notes", "skip")
    exporter = SlidesExporter(config=Config(TagRemovePreprocessor={
        "enabled": True, "remove_input_tags": {"plots"}}))
    slides, _ = exporter.from_filename(str(ROOT / name))
    visible = re.sub(r"<aside.*?</aside>", "", slides, flags=re.DOTALL)
    words = re.sub(r"<[^>]+>", "", visible)
    assert slides.count("<section>") > 16 and "<aside" in slides
    assert slides.count("data:image/png") >= 15
    assert "SegNet(" in words and "def show_history" not in words


# --- Translations ---------------------------------------------------------

def targets(name):
    """All link targets of a page, files as seen from the top folder.

    A translated page stands for its original. Anchors are left out, for a
    translated heading has another one.
    """
    for _, target in links(text_of(name)):
        path = target.partition("#")[0]
        if path and not re.match("https?:", target):
            target = posixpath.normpath(posixpath.join(
                posixpath.dirname(name), path))
            target = ORIGINALS.get(target, target)
        yield target if path else name


@pytest.mark.parametrize("translation", ORIGINALS)
def test_a_translation_has_all_that_the_original_has(translation):
    original = ORIGINALS[translation]
    ours, theirs = text_of(original), text_of(translation)
    assert [hashes for hashes, _ in headings(ours)] \
        == [hashes for hashes, _ in headings(theirs)]
    assert code_blocks(ours) == code_blocks(theirs)
    here = {original, translation}
    assert [target for target in targets(original) if target not in here] \
        == [target for target in targets(translation) if target not in here]
    assert ours.count("\n|") == theirs.count("\n|")
    for one, other in zip(*(re.split(r"^#+ .+$", text, flags=re.MULTILINE)
                            for text in (ours, theirs)), strict=True):
        # Digits alone: 0.95 and 0,95, 12,288 and 12 288 are the same.
        assert sorted(re.findall(r"\d+", one)) \
            == sorted(re.findall(r"\d+", other)), other
