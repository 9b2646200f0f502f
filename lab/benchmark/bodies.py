"""What a score of the lab promises: three splits, several seeds.

    python -m lab.benchmark.bodies --seeds 5

runs the lab's solution on the sample with seeds from 0 on, each of which
changes split and training, and prints a table. Each run is a file in
data/benchmark/bodies/; what is there is not done again. With --publish the
results are kept in bodies.json, and their table in lab/README.md.
"""

import json
import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.bodies in the lesson's folder.")

import pandas as pd

from data import storage
from lab import arguments, lesson
from lab.benchmark.record import read, write
from lab.benchmark.report import FRAMEWORKS

FOLDER = storage.ROOT / "benchmark/bodies"
RESULTS = Path(__file__).with_name("bodies.json")
PAGE = lesson.ROOT / "lab/README.md"
SOLUTIONS = {
    "pytorch": "lab/solutions/bodies-pytorch/BodySegmentationPytorch.ipynb",
    "tf": "lab/solutions/bodies-tf/BodySegmentationTF.ipynb"}
LAST = """
import json
graded = mads.strangers((HEIGHT, WIDTH), seed=20)
by_split["by place, graded"] = checks.score(
    predict, model, graded, np.arange(len(graded))).groupby(level=0).mean()
print(json.dumps({split: scores.round(4).to_dict()
                  for split, scores in by_split.items()}))
"""


def run(framework, seed):
    """One run of the solution: {split: {sequence: IoU}}."""
    notebook = lesson.read(SOLUTIONS[framework])
    [figure] = lesson.code_cells(notebook, "splits")
    last = notebook.cells.index(figure)
    # Without the checks: a bad score is a result here, not an error.
    notebook.cells = [
        cell for cell in notebook.cells[:last + 1]
        if not cell.metadata.get("nbgrader", {}).get("grade")]
    printed = lesson.run(
        notebook, last=LAST,
        after={"parameters": f"SOURCE = 'sample'; SEED = {seed}"})
    return json.loads(printed)


def gain(scores):
    """How much more the random split gives for sequences in both tests."""
    known, new = (pd.Series(scores[split])
                  for split in ("at random", "by sequence"))
    return (known - new).mean()  # over those that both have


def table(results):
    """Means over the seeds, with their standard deviation: Markdown lines.

    results: {framework: [what `run` returned, for each seed]}
    """
    rows = []
    for framework, runs in results.items():
        means = pd.DataFrame([{split: pd.Series(scores).mean()
                               for split, scores in one.items()}
                              for one in runs])
        cells = [f"{means[split].mean():.3f} ± {means[split].std():.3f} "
                 f"({means[split].min():.3f})" for split in means]
        gains = pd.Series(list(map(gain, runs)))
        rows.append([f"{FRAMEWORKS[framework]}, {len(runs)} seeds", *cells,
                     f"{gains.mean():+.3f} ± {gains.std():.3f}"])
    head = ["mean IoU ± standard deviation (lowest)", *means,
            "random − sequence, same sequences"]
    return "\n".join(f"| {' | '.join(row)} |"
                     for row in [head, ["---"] * len(head), *rows])


def with_table(page, results):
    """The text of a page, with the table between its marks."""
    return lesson.with_table(page, "bodies", table(results))


def publish(results):
    """Keep results, and put their table into the page."""
    page = with_table(PAGE.read_text(encoding="utf-8"), results)
    for file, text in (RESULTS, json.dumps(results) + "\n"), (PAGE, page):
        with storage.whole(file) as part:
            part.write_text(text, encoding="utf-8")


@arguments.program
def main():
    """Do the runs that are missing, and print or publish the table."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--framework", nargs="+", choices=SOLUTIONS,
                        default=[*SOLUTIONS])
    parser.add_argument("--seeds", type=arguments.whole_number(1), default=5)
    parser.add_argument("--publish", action="store_true",
                        help="keep the results of what is named here")
    options = parser.parse_args()
    arguments.make_folder(FOLDER)
    results = {}
    for framework in options.framework:
        for seed in range(options.seeds):
            file = FOLDER / f"{framework}-seed{seed}.json"
            if not file.exists():
                write(file, run(framework, seed))
            results.setdefault(framework, []).append(
                read(file, "by sequence"))
    print(table(results))
    if options.publish:
        publish(results)


if __name__ == "__main__":
    main()
