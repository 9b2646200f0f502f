"""The quizzes of the lesson: questions from JSON, as text on pages.

    python -m lab.quizzes.quizzes

writes the questions of `before.en.json` and `after.en.json` into README.md
beside them, those of another language into its own page, and the letters
of the right answers into the instructors' ANSWERS.md. The files are in the
format of jupyterquiz, which shows them in the notebooks. Beside each it
writes the same quiz in GIFT, which Moodle and others import.
"""

import json
import re
import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.quizzes.quizzes in the lesson's folder.")

from data import DataError, storage
from lab import arguments

FOLDER = Path(__file__).resolve().parent
PAGES = {"en": FOLDER / "README.md", "no": FOLDER / "README.no.md"}
ANSWERS = FOLDER.parent / "teaching" / "ANSWERS.md"
WORDS = {"en": ("Answer", "is right", "is wrong"),
         "no": ("Svar", "er rett", "er galt")}
QUIZZES = ("before", "after")
TITLES = {"en": {"before": "Before the lesson", "after": "After the lesson"},
          "no": {"before": "Før leksjonen", "after": "Etter leksjonen"}}
LETTERS = "ABCDEFG"


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
    choices = list(zip(LETTERS, question["answers"]))
    lines = [f"**{number}. {question['question']}**", ""]
    lines += [f"- {letter}. {choice['answer']}" for letter, choice in choices]
    lines += ["", f"<details><summary>{answer_word}</summary>", ""]
    for letter, choice in choices:
        verdict = f"**{letter} {right}.**" if choice["correct"] \
            else f"{letter} {wrong}."
        lines.append(f"- {verdict} {choice['feedback']}")
    return "\n".join([*lines, "", "</details>", ""])


def key():
    """The letters of all right answers, as a Markdown list."""
    lines = []
    for name in QUIZZES:
        letters = [next(letter for letter, answer in
                        zip(LETTERS, question["answers"])
                        if answer["correct"]) for question in questions(name)]
        lines.append(f"- {name} the lesson: " + ", ".join(
            f"{number} {letter}"
            for number, letter in enumerate(letters, start=1)))
    return "\n".join(lines) + "\n"


def as_gift(quiz, title):
    """Questions in GIFT (https://docs.moodle.org/en/GIFT_format).

    The title names the category and, with a number, each question.
    """
    blocks = [f"$CATEGORY: $course$/{title}"]
    for number, question in enumerate(quiz, start=1):
        lines = [f"::{title} {number:02}::[plain]"
                 f"{escaped(question['question'])} {{"]
        lines += [f"{'=' if choice['correct'] else '~'}"
                  f"{escaped(choice['answer'])}#{escaped(choice['feedback'])}"
                  for choice in question["answers"]]
        blocks.append("\n".join([*lines, "}"]))
    return "\n\n".join(blocks) + "\n"


def escaped(text):
    """Text for GIFT, where these characters and line breaks have a meaning."""
    return re.sub(r"[\\~=#{}:]", r"\\\g<0>", text).replace("\n", r"\n")


def between(page, start, text, end):
    """A page with new text between two comments.

    Raises DataError if the comments are not there.
    """
    page, found = re.subn(f"{start}.*?{end}", lambda _: start + text + end,
                          page, count=1, flags=re.DOTALL)
    if not found:
        raise DataError(f"{start.strip()} … {end} is missing; put both "
                        "comments where the text is to be.")
    return page


def with_quizzes(page, language="en"):
    """The text of a page, with each quiz between its two comments."""
    for name in QUIZZES:
        page = between(page, f"<!-- quiz: {name} -->\n",
                       as_text(questions(name, language), language),
                       "<!-- end of quiz -->")
    return page


def with_key(page):
    """The text of a page, with the right letters between its comments."""
    return between(page, "<!-- key -->\n", key(), "<!-- end of key -->")


@arguments.program
def main():
    """Write the quizzes and the key into their pages, and for Moodle."""
    arguments.parser(__doc__).parse_args()
    made = {file: with_quizzes(file.read_text(encoding="utf-8"), language)
            for language, file in PAGES.items()}
    made |= {FOLDER / f"{name}.{language}.gift":
             as_gift(questions(name, language), TITLES[language][name])
             for language in PAGES for name in QUIZZES}
    made[ANSWERS] = with_key(ANSWERS.read_text(encoding="utf-8"))
    for file, page in made.items():
        with storage.whole(file) as part:
            part.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
