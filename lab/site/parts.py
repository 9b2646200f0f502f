"""Both lesson notebooks as one page for each part.

What is equal in both appears once, what differs in two tabs. Nothing is
executed: the outputs are those that the notebooks were saved with.
"""

import base64
import hashlib
import re
from functools import cache
from itertools import groupby

from lab import lesson
from lab.quizzes import quizzes
from lab.site import quiz

FRAMEWORKS = ("PyTorch", "TensorFlow")
TWINS = re.compile(r"^\*This part in .*\*$\n", re.MULTILINE)
PART = re.compile(r"^## (\d)\. (.+)$", re.MULTILINE)
OVERVIEW = """\
# The lesson

All that the two notebooks say, with what they print and draw when they run
on the synthetic sample. Where they differ, choose **PyTorch** or
**TensorFlow** once; the other pages follow. To run and change the code,
[install it](README.md#start).

```{toctree}
:glob:
part-*
```

"""


@cache
def twins():
    """The cells of both notebooks, in pairs."""
    return list(zip(*[lesson.read(name).cells for name in lesson.NOTEBOOKS],
                    strict=True))


@cache
def page_of_headings():
    """{heading: its page}, for links that lead into a notebook."""
    pages, page = {}, "lesson/index.md"
    for cell, _ in twins():
        if cell.cell_type == "markdown":
            part = PART.search(cell.source)
            page = f"lesson/part-{part[1]}.md" if part else page
            for heading in re.findall("^#+ (.+)$", cell.source,
                                      re.MULTILINE):
                pages[heading.replace(" ", "-")] = page
    return pages


def place(anchor):
    """Page and anchor for a link to a notebook's heading, "" for its top."""
    page = page_of_headings()[anchor] if anchor else "lesson/index.md"
    return page, re.sub(r"[^\w-]", "", anchor.lower())


def pages(folder):
    """Yield (path, Markdown) of the overview and of each part.

    folder: where the sources go; figures are written there at once.
    """
    path, blocks = "lesson/index.md", [OVERVIEW]
    for cell, twin in twins()[1:]:  # the first names its own framework
        part = PART.search(cell.source)
        if cell.cell_type == "markdown" and part:
            yield path, joined(blocks)
            path, blocks = f"lesson/part-{part[1]}.md", []
        blocks += cell_blocks(cell, twin, folder)
    yield path, joined(blocks)


def cell_blocks(cell, twin, folder):
    """A pair of cells as blocks: texts, or pairs of texts for two tabs."""
    if cell.cell_type == "markdown":
        return [prose(cell.source)]
    if "quiz" in lesson.tags_of(cell):
        name = re.search(r'questions\("(\w+)"\)', cell.source)[1]
        return [quiz.form(name, quizzes.questions(name))]
    sources = [code(one) for one in (cell, twin)]
    results = [outputs(one, folder) for one in (cell, twin)]
    if sources[0] != sources[1]:
        return [tuple(map("".join, zip(sources, results)))]
    return [sources[0],
            results[0] if results[0] == results[1] else tuple(results)]


def prose(text):
    """A notebook's text as part of a page: headings one level higher."""
    return re.sub("^##", "#", TWINS.sub("", text), flags=re.MULTILINE) + "\n"


def code(cell):
    """A cell's code, folded where the notebook folds it."""
    block = f"```python\n{cell.source}\n```\n"
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        block = f"::::{{dropdown}} Code of this figure\n{block}::::\n"
    return block + "\n"


def outputs(cell, folder):
    """What a cell printed, showed as a table, or drew."""
    words = iter(cell.metadata.get("alt", []))
    return "".join(output(one, words, folder) for one in cell.outputs)


def output(one, words, folder):
    """One output of a cell; a figure is written into the folder.

    words: yields for each figure what it shows, for who cannot see it.
    """
    if one.output_type == "stream":
        return f"```{{code-block}} text\n:class: output\n\n{one.text}\n```\n"
    if "image/png" in one.data:
        picture = base64.b64decode(one.data["image/png"])
        name = f"{hashlib.sha256(picture).hexdigest()[:12]}.png"
        (folder / "lesson/figures").mkdir(parents=True, exist_ok=True)
        (folder / "lesson/figures" / name).write_bytes(picture)
        return f"![{next(words)}](lesson/figures/{name})\n\n"
    if "text/html" in one.data:
        return ('```{raw} html\n<div class="output" tabindex="0">\n'
                f'{one.data["text/html"]}\n</div>\n```\n')
    return f"```{{code-block}} text\n\n{one.data['text/plain']}\n```\n"


def joined(blocks):
    """One text; pairs that follow each other share a set of tabs."""
    text = ""
    for kind, group in groupby(filter(any, blocks), key=type):
        some = list(group)
        text += tabs(map("".join, zip(*some))) if kind is tuple \
            else "".join(some)
    return text


def tabs(pair):
    """Two texts in tabs, which follow the choice made on any page."""
    items = "".join(f"::::::{{tab-item}} {name}\n:sync: {name}\n\n{text}\n"
                    "::::::\n" for name, text in zip(FRAMEWORKS, pair))
    return f":::::::{{tab-set}}\n:sync-group: framework\n\n{items}:::::::\n\n"
