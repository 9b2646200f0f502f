"""The pages of the repository as Markdown that Sphinx reads.

They keep their places and their words. What changes: README.md becomes
index.md, and links to the notebooks lead to the pages made of them.
"""

import posixpath
import re
import shutil

from lab.lesson import NOTEBOOKS, ROOT
from lab.quizzes import quizzes
from lab.site import parts, quiz

OVERVIEW = "lesson/index.md"  # made of the notebooks
# The navigation: caption -> pages, seen from the top folder.
CONTENTS = {
    "The lesson": ["lab/site/try.md", OVERVIEW],
    "Practise": ["lab/quizzes/README.md", "lab/README.md",
                 "lab/teaching/CARD.md"],
    "Know more": ["lab/benchmark/README.md", "data/weights/MODEL_CARD.md",
                  "data/README.md", "lab/teaching/FRAMEWORKS.md",
                  "lab/scaling/README.md", "lab/teaching/HELP.md"],
    "Teach and take part": ["lab/teaching/INSTRUCTORS.md",
                            "lab/teaching/ANSWERS.md", "CONTRIBUTING.md",
                            "translations/README.md"],
    "Norsk": ["translations/README.no.md", "lab/quizzes/README.no.md"],
}
PAGES = ["README.md", *(page for pages in CONTENTS.values()
                        for page in pages if page != OVERVIEW)]
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
# What the pages of quizzes begin with, in the place of "as text".
QUIZ_HEADS = {
    "en": "# Quizzes\n\nChoose an answer, and read why it is right or wrong. "
          "In [Norwegian](README.no.md).\n",
    "no": "# Quizer\n\nVelg et svar, og les hvorfor det er rett eller galt. "
          "På [engelsk](README.md).\n"}
# What stands in a README in the place of the website's own address.
WEBSITE = re.compile("<!-- website -->.*?<!-- end -->", re.DOTALL)
BUTTONS = {
    "README.md": {"lab/site/try.md": "Try the network in your browser",
                  OVERVIEW: "Begin the lesson",
                  "lab/quizzes/README.md": "Take a quiz"},
    "translations/README.no.md": {
        "lab/site/try.md": "Prøv nettverket i nettleseren (engelsk)",
        OVERVIEW: "Begynn på leksjonen (engelsk)",
        "lab/quizzes/README.no.md": "Ta en quiz"}}
BLOCK = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)  # of code
FOLDER_LINK = re.compile(r"\[([^\[\]]+)\]\([^):\s]+/\)")


def place(path):
    """Where a page of the repository stands in the site's sources."""
    return re.sub(r"README\.md$", "index.md",
                  path.replace("lab/site/try.md", "try.md"))


def relinked(text, page, target):
    """A page's text with links that are right in the site.

    page: where the text stands in the repository; target: where it goes.
    """
    def new(link):
        address, _, anchor = link[0].partition("#")
        if not address or ":" in address:
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page),
                                                 address))
        if path in NOTEBOOKS:
            path, anchor = parts.place(anchor)
        relative = posixpath.relpath(place(path), posixpath.dirname(target)
                                     or ".")
        return relative + ("#" + anchor if anchor else "")

    prose_and_code = BLOCK.split(text)
    # A folder is no page: its name stays, without a link.
    prose_and_code[::2] = [LINK.sub(new, FOLDER_LINK.sub(r"\1", prose))
                           for prose in prose_and_code[::2]]
    return "".join(prose_and_code)


def playable(text, language):
    """A page of quizzes, with forms in the place of the questions."""
    text = QUIZ_HEADS[language] + text[text.index("\n## "):]
    for name in quizzes.QUIZZES:
        questions = quizzes.questions(name, language)
        text = quizzes.between(
            text, f"<!-- quiz: {name} -->\n",
            quiz.form(name, questions, language), "<!-- end of quiz -->")
    return text


def buttons(page):
    """Links to where a reader may begin, from one of the READMEs."""
    return "\n\n".join(
        f"```{{button-ref}} /{place(target).removesuffix('.md')}\n"
        f":ref-type: doc\n:color: primary\n\n{words}\n```"
        for target, words in BUTTONS[page].items())


def navigation():
    """The table of contents, which Sphinx shows beside every page."""
    trees = []
    for caption, pages in CONTENTS.items():
        names = "\n".join(place(page).removesuffix(".md") for page in pages)
        trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
                     f"{names}\n```\n")
    return "\n".join(trees)


def write(folder):
    """Write all sources that come from the repository into a folder."""
    languages = {path.relative_to(ROOT).as_posix(): language
                 for language, path in quizzes.PAGES.items()}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        if page in languages:
            text = playable(text, languages[page])
        if page in BUTTONS:
            text = WEBSITE.sub(lambda _, page=page: buttons(page), text)
        write_page(folder, place(page), relinked(text, page, place(page))
                   + (navigation() if page == "README.md" else ""))
    for path, text in parts.pages(folder):
        write_page(folder, path, relinked(text, NOTEBOOKS[0], path))
    copy_linked_files(folder)


def write_page(folder, path, text):
    """Write one page, and make its folder."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")


def copy_linked_files(folder):
    """Bring figures and programs that pages link to, to the same place."""
    for page in list(folder.rglob("*.md")):
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for address in LINK.findall(prose):
            target = page.parent / address.partition("#")[0]
            if ":" in address or target.exists():
                continue
            path = target.resolve().relative_to(folder.resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, target)
