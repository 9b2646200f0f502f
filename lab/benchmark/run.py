"""Do the trainings behind a table of results, or publish the tables.

    python -m lab.benchmark.run accuracy
    python -m lab.benchmark.run peers
    python -m lab.benchmark.run levers
    python -m lab.benchmark.run --publish

Each training is a file in data/benchmark/trainings/; what is there is not
done again, nor, without --anew, what is published. So two processes can
share the work, one with --framework pytorch and one with --framework tf.
"""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.run in the lesson's folder.")

from data import DataError, storage
from lab import arguments
from lab.benchmark import (
    hardware,
    networks,
    older,
    recipe,
    record,
    report,
    steps,
)
from lab.benchmark.levers import LEVERS
from lab.benchmark.trainings import (
    EPOCHS,
    FLOORS,
    RATE,
    SOURCES,
    Training,
    run,
)
from lab.jupyter import use_tensorflow
from lab.lesson import ROOT

RATES = 3e-4, 1e-3, 3e-3


@dataclass(frozen=True)
class Results:
    """What the trainings have left: files in a folder, and the published."""

    folder: Path
    published: dict

    def file(self, training):
        """Where the result of one training is kept."""
        return self.folder / f"{training.key}.json"

    def of(self, training):
        """The result of one training, None if it has not been done."""
        file = self.file(training)
        if file.exists():
            return record.read(file, "scores")
        return self.published.get(training.key)

    def all(self):
        """{key: result} of all files; DataError names a damaged one."""
        return {file.stem: record.read(file, "scores")
                for file in sorted(self.folder.glob("*.json"))}


# --- What each table needs, in the order in which it is done --------------

def accuracy(results, one, folds, seeds):
    """The lesson's networks in both frameworks, from both starts."""
    for seed in range(seeds):
        for fold in range(folds):
            one = replace(one, fold=fold, seed=seed)
            if seed == 0:
                yield from (replace(one, network=floor, start="")
                            for floor in FLOORS)
            yield from (replace(one, framework=framework, network=network,
                                start=start)
                        for start in networks.starts("UNet")
                        for network in networks.OWN
                        for framework in record.NOTEBOOKS)


def peers(results, one, folds, seeds):
    """All networks; others' with the learning rate that suits them best.

    That is the one with the best validation Dice of two folds. Each fold
    has one seed, its own number.
    """
    for network in [*networks.OWN, *networks.PEERS]:
        for start in networks.starts(network):
            here = replace(one, network=network, start=start)
            rates = RATES if network in networks.PEERS else [one.rate]
            tried = {rate: [replace(here, rate=rate, fold=fold, seed=fold)
                            for fold in (0, 1)] for rate in rates}
            yield from sum(tried.values(), [])
            rate = max(tried, key=lambda rate: sum(
                results.of(training)["valid_dice"][-1]
                for training in tried[rate]))
            yield from (replace(here, rate=rate, fold=fold, seed=fold)
                        for fold in range(folds))
    yield from (replace(one, network=older.NAME, change=change, fold=fold,
                        seed=fold)
                for change in older.SIZES for fold in range(folds))


def levers(results, one, folds, seeds):
    """The U-Net as it is, and with each change; three folds, two seeds."""
    for seed in range(min(seeds, 2)):
        for fold in range(min(folds, 3)):
            yield from (replace(one, fold=fold, seed=seed, change=change)
                        for change in LEVERS)


PLANS = {"accuracy": accuracy, "peers": peers, "levers": levers}


# --- The program ----------------------------------------------------------

def do(options, results):
    """The trainings that are missing, with one framework."""
    one = Training("pytorch", "UNet", rate=RATE[options.data],
                   data=options.data,
                   epochs=options.epochs or EPOCHS[options.data])
    done = []
    for training in PLANS[options.table](results, one, options.folds,
                                         options.seeds):
        if training.framework != options.framework or training in done:
            continue
        if not results.of(training):
            record.write(results.file(training), run(training))
        done.append(training)
        print(len(done), training.key, flush=True)
    new = [found for found in map(results.of, done) if "scores" in found]
    if new:
        print(report.text(new))


def checked(parser):
    """The options, if they make sense; ends the program if not."""
    options = parser.parse_args()
    options.out = options.out.resolve()
    if bool(options.table) == options.publish:
        parser.error("name a table, or --publish")
    if options.table in ("peers", "levers") and options.framework == "tf":
        parser.error(f"{options.table} is for --framework pytorch only")
    if options.table == "peers":
        networks.check_peers(parser)
    try:
        arguments.make_folder(options.out)
        if options.framework != "pytorch":
            use_tensorflow()
    except DataError as error:
        parser.error(str(error))
    return options


@arguments.program
def main():
    """Do the trainings that are missing, or publish what is there."""
    parser = arguments.parser(__doc__)
    parser.add_argument("table", choices=PLANS, nargs="?")
    parser.add_argument("--publish", action="store_true",
                        help="keep all results, and put the tables of them "
                        "into the pages")
    parser.add_argument("--framework", choices=record.NOTEBOOKS,
                        help="do only those trainings")
    parser.add_argument("--data", choices=SOURCES, default="PH2")
    parser.add_argument("--folds", type=int, choices=range(1, 6), default=5)
    parser.add_argument("--seeds", type=arguments.whole_number(1), default=3)
    parser.add_argument("--epochs", type=arguments.EPOCHS,
                        help="as many as in the notebooks if left out")
    parser.add_argument("--anew", action="store_true",
                        help="do what is published already, too")
    parser.add_argument("--out", type=Path, metavar="FOLDER",
                        default=storage.ROOT / "benchmark/trainings",
                        help="where the results of trainings are kept")
    options = checked(parser)
    results = Results(options.out, {} if options.anew
                      else report.published_trainings())
    results.all()  # whoever has a damaged one learns it now
    if options.publish:
        report.publish(results.all(), recipe.results(),
                       hardware.results() | steps.results())
    elif options.framework:
        do(options, results)
    else:  # each in a process of its own: both bring an LLVM, which clash
        for framework in record.NOTEBOOKS if options.table == "accuracy" \
                else ["pytorch"]:
            code = subprocess.call(
                [sys.executable, "-m", "lab.benchmark.run", *sys.argv[1:],
                 "--framework", framework], cwd=ROOT)
            if code:
                sys.exit(code)


if __name__ == "__main__":
    main()
