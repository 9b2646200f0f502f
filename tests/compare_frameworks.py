"""Train both notebooks with the same seeds and compare the results.

    python tests/compare_frameworks.py 42 0 1

trains with these seeds on the procedural sample, 4 minutes per notebook
and seed on two cores. A seed chooses the split and the first weights. The
split is the same in both notebooks; the random numbers are not.
"""

import argparse
import json

import pandas as pd
from notebooks import NAMES, run
from tqdm import tqdm

RESULTS = """
import json
print(json.dumps([{"network": name, "minutes": minutes[name],
                   "Dice": results.loc[name, ("Dice", "mean")]}
                  for name in models]))
"""


def train(name, seed, source):
    """Run one notebook with a seed; returns a row for each network."""
    printed = run(name, f"SOURCE, SEED, FEW_STEPS = {source!r}, {seed}, 1",
                  RESULTS)
    return [{"notebook": name.removeprefix("SemanticSegmentation")
             .removesuffix(".ipynb"), "seed": seed, **row}
            for row in json.loads(printed)]


def main():
    """Print the Dice of each run, and the mean difference of the two."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--source", default="sample",
                        choices=["sample", "auto", "download"])
    options = parser.parse_args()
    runs = [(name, seed) for seed in options.seeds for name in NAMES]
    rows = [row for name, seed in tqdm(runs, unit="run")
            for row in train(name, seed, options.source)]
    table = pd.DataFrame(rows).pivot(
        index=["network", "seed"], columns="notebook",
        values=["Dice", "minutes"])
    difference = table["Dice", "TF"] - table["Dice", "Pytorch"]
    print(table.round(3).to_string())
    print("mean difference of Dice, TF - PyTorch:")
    print(difference.groupby("network").mean().round(4).to_string())


if __name__ == "__main__":
    main()
