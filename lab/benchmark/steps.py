"""How long one core takes for a training step of each network.

    python -m lab.benchmark.steps

All networks take turns, so that whatever else the machine does slows all of
them alike. `lab.benchmark.run --publish` turns the steps that a network
needed into seconds by this.
"""

import json
import sys
import time

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.steps in the lesson's folder.")

import numpy as np
import torch
from tqdm import trange

from data import storage
from lab import arguments
from lab.benchmark import networks, older
from lab.benchmark.hardware import small_lesson
from lab.benchmark.record import about, read, write

FILE = storage.ROOT / "benchmark/steps.json"


def step_of(lesson, network):
    """A training step of a key of OWN or PEERS, as a call."""
    model = networks.start(lesson, network, "scratch").train()
    optimizer, _ = lesson.new_optimizer(model, 10, lesson.LEARNING_RATE)
    batch = next(iter(lesson.training_batches(lesson.train)))
    return lambda: lesson.training_step(model, optimizer, *batch)


def older_step(size):
    """The same of the older lesson's network, with its batch."""
    lesson, model = small_lesson(42, size), older.OlderUNet()
    optimizer = older.new_optimizer(model)
    batch = next(iter(older.batches(lesson.samples, lesson.train)))
    return lambda: older.training_step(model, optimizer, *batch)


def measured(calls, rounds):
    """{name: median seconds} of calls that take turns.

    A round that does not count comes first.
    """
    times = {name: [] for name in calls}
    for _ in trange(rounds + 1, desc="Training steps"):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found[1:]))
            for name, found in times.items()}


def results():
    """What was measured last, for `results.json`; {} if nothing was."""
    return {"steps": read(FILE, "about", "seconds")} if FILE.exists() else {}


@arguments.program
def main():
    """Measure the step of every network, and write it down."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=arguments.whole_number(1),
                        default=9)
    options = parser.parse_args()
    networks.check_peers(parser)
    arguments.make_folder(FILE.parent)
    torch.set_num_threads(1)
    lesson = small_lesson()
    calls = {name: step_of(lesson, name)
             for name in [*networks.OWN, *networks.PEERS]}
    for change, size in older.SIZES.items():
        calls[older.NAME + change] = older_step(size)
    found = {"about": about(lesson) | {"cores": 1, "precision": "float32"},
             "seconds": measured(calls, options.rounds)}
    write(FILE, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
