"""What a score of the lab promises: three splits, several seeds.

    python -m lab.benchmark.bodies --framework pytorch tf --seeds 5

runs the lab's solution on the sample with seeds from 0 on, each of which
changes split and training, and prints the table of lab/README.md. Each run
is a file in data/benchmark/bodies/; what is there is not done again.
"""

import json
import sys

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.bodies in the lesson's folder.")

import pandas as pd

from data import storage
from lab import arguments, lesson
from lab.benchmark.record import read, write

FOLDER = storage.ROOT / "benchmark/bodies"
SOLUTIONS = {
    "pytorch": "lab/solutions/bodies-pytorch/BodySegmentationPytorch.ipynb",
    "tf": "lab/solutions/bodies-tf/BodySegmentationTF.ipynb"}
LAST = """
import json
graded = mads.strangers((HEIGHT, WIDTH), seed=20)
by_split["graded"] = checks.score(
    predict, model, graded, np.arange(len(graded))).groupby(level=0).mean()
print(json.dumps({split: scores.to_dict()
                  for split, scores in by_split.items()}))
"""


def run(framework, seed):
    """One run of the solution: {split: {sequence: IoU}}."""
    notebook = lesson.read(SOLUTIONS[framework])
    [figure] = lesson.code_cells(notebook, "splits")
    last = notebook.cells.index(figure)
    # Without the checks: a bad score is a result here, not an error.
    notebook.cells = [cell for cell in notebook.cells[:last + 1]
                      if not cell.source.startswith("checks.")]
    printed = lesson.run(
        notebook, last=LAST,
        after={"parameters": f"SOURCE = 'sample'; SEED = {seed}"})
    return json.loads(printed)


def gap(scores):
    """How much more the random split gives for sequences in both tests."""
    known, new = (pd.Series(scores[split])
                  for split in ("at random", "by sequence"))
    return (known - new).mean()  # of those that both have


def table(results):
    """Means and standard deviations over the seeds, as lines of Markdown."""
    rows = []
    for framework, runs in results.items():
        means = pd.DataFrame([{split: pd.Series(scores).mean()
                               for split, scores in one.items()}
                              for one in runs])
        means["twins"] = list(map(gap, runs))
        rows.append([framework, len(runs), *(
            f"{means[name].mean():.3f} ± {means[name].std():.3f}, "
            f"from {means[name].min():.3f}" for name in means)])
    head = ["framework", "seeds", *means.columns]
    return "\n".join(f"| {' | '.join(map(str, row))} |"
                     for row in [head, ["---"] * len(head), *rows])


@arguments.program
def main():
    """Do the runs that are missing, and print the table."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--framework", nargs="+", choices=SOLUTIONS,
                        default=["pytorch"])
    parser.add_argument("--seeds", type=arguments.whole_number(1), default=5)
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


if __name__ == "__main__":
    main()
