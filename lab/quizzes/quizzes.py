"""The quizzes of the lesson: questions from JSON, as text in the README.

    python -m lab.quizzes.quizzes

writes the questions of `before.en.json` and `after.en.json` into README.md,
and those of another language into its translation. The files are in the
format of jupyterquiz, which shows them in the notebooks.
"""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

PAGES = {"en": ROOT / "README.md",
         "no": ROOT / "translations" / "README.no.md"}
WORDS = {"en": ("Answer", "is right", "is wrong"),
         "no": ("Svar", "er rett", "er galt")}
QUIZZES = ("before", "after")


def questions(name, language="en"):
    """The questions of a quiz, a list of dicts as jupyterquiz takes them."""
    file = FOLDER / f"{name}.{language}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def as_text(quiz, language="en"):
    """Questions as Markdown, each with its answer to unfold."""
    return "\n".join(question_as_text(number, question, language)
                     for number, question in enumerate(quiz, start=1))


def question_as_text(number, question, language):
    """One question, its choices, and why each is right or wrong."""
    answer_word, right, wrong = WORDS[language]
    choices = list(zip("ABCDEFG", question["answers"]))
    lines = [f"**{number}. {question['question']}**", ""]
    lines += [f"- {letter}. {choice['answer']}" for letter, choice in choices]
    lines += ["", f"<details><summary>{answer_word}</summary>", ""]
    for letter, choice in choices:
        verdict = f"**{letter} {right}.**" if choice["correct"] \
            else f"{letter} {wrong}."
        lines.append(f"- {verdict} {choice['feedback']}")
    return "\n".join([*lines, "", "</details>", ""])


def with_quizzes(page, language="en"):
    """The text of a page, with each quiz between its two comments."""
    for name in QUIZZES:
        start, end = f"<!-- quiz: {name} -->\n", "<!-- end of quiz -->"
        text = as_text(questions(name, language), language)
        page, found = re.subn(f"{start}.*?{end}",
                              lambda _, new=start + text + end: new,
                              page, count=1, flags=re.DOTALL)
        if not found:
            raise ValueError(f"{start.strip()} … {end} is missing: put both "
                             "comments where the quiz is to be")
    return page


def main():
    """Write the quizzes into the README and its translations."""
    for language, file in PAGES.items():
        page = file.read_text(encoding="utf-8")
        file.write_text(with_quizzes(page, language), encoding="utf-8")


if __name__ == "__main__":
    main()
