"""How close a training step comes to what the machine can do.

    python -m lab.benchmark.hardware

counts the floating-point operations of the networks' convolutions,
measures how fast the machine multiplies matrices, where the time of a step
goes, what other settings would change, and how the time grows with images,
pixels and weights; and how long both frameworks take for an epoch and for
a prediction. All of it with the notebooks' own cells, on synthetic images,
in about ten minutes. `lab.benchmark.run --publish` puts the results into
the pages.
"""

import functools
import json
import subprocess
import sys
import time

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.hardware in the lesson's folder.")

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from data import storage
from lab import arguments
from lab.benchmark.record import NOTEBOOKS, about, read, write
from lab.lesson import PYTORCH, ROOT, prepared
from lab.pretraining.moles import synthetic

FILE = storage.ROOT / "benchmark/limits.json"
THREADS = torch.get_num_threads()
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Operations of the profile by what they are for; the first match counts.
KINDS = {"convolutions": "convolution mkldnn_conv",
         "batch norm": "batch_norm", "ReLU": "relu threshold clamp_min",
         "optimizer": "adam lerp addcmul addcdiv sqrt",
         "max-pooling and unpooling": "max_pool max_unpool",
         "loss": "cross_entropy"}
REST = "copies, sums and the rest"


def small_lesson(count=90, size=(96, 128), notebook=PYTORCH):
    """A notebook's definitions, with synthetic images, 10 to validate."""
    samples = synthetic(count, seed=0, size=size)
    return prepared(notebook, samples, np.arange(10, count), np.arange(10))


def median_seconds(function, repetitions=15):
    """Median time of a call, after two that do not count."""
    times = []
    for _ in range(repetitions + 2):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


class Step:
    """A network with what it needs for training steps on one batch."""

    def __init__(self, lesson, network="UNet", **options):
        self.lesson, self.threads = lesson, THREADS
        self.precision = "float32"
        self.model = lesson.new_network(
            functools.partial(getattr(lesson, network), **options),
            lesson.samples.images)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.model.train()
        self.images, self.masks = next(iter(
            lesson.training_batches(lesson.train)))

    def __call__(self):
        torch.set_num_threads(self.threads)
        # Mixed precision: convolutions with fewer digits, the rest float32.
        with torch.autocast("cpu", torch.bfloat16,
                            enabled=self.precision == "bfloat16"):
            logits = self.model(self.images)
        loss = self.lesson.cross_entropy(logits.float(), self.masks)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


# --- The limit ------------------------------------------------------------

def matrix_rate(dtype, sizes=(1024, 2048, 4096)):
    """Floating-point operations per second of the best matrix product.

    Each is also computed as a convolution with 1×1 pixels, by another
    library, which on some processors is twice as fast.
    """
    rates = []
    for n in sizes:
        a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
        image = torch.randn(1, n, n // 32, 32).to(
            dtype, memory_format=torch.channels_last)
        for product in (lambda a=a, b=b: a @ b, lambda image=image, b=b:
                        torch.conv2d(image, b[..., None, None])):
            rates.append(2 * n**3 / median_seconds(product, repetitions=5))
    return max(rates)


def flops_of(step):
    """Floating-point operations of convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        step.model(step.images).sum().backward()
    return counter.get_total_flops()


def profiled(step):
    """Shares of the time of a step by kind of operation."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(5):
            step()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    shares = dict.fromkeys([*KINDS, REST], 0)
    for event in events:
        kind = next((kind for kind, words in KINDS.items()
                     if any(word in event.key.lower()
                            for word in words.split())), REST)
        shares[kind] += event.self_cpu_time_total / total
    return shares


def closeness(lesson, network, rates):
    """How much of the machine's rate a training step reaches."""
    step = Step(lesson, network)
    flops, seconds = flops_of(step), median_seconds(step)
    return {"network": network.replace("UNet", "U-Net"),
            "flops": flops, "seconds": seconds,
            "share": flops / seconds / rates["float32"],
            "profile": profiled(step)}


# --- Other settings: each is predicted, then measured -----------------------

def one_thread(step):
    """Compute with one thread."""
    step.threads = 1


def channels_first(step):
    """PyTorch's default memory format."""
    step.model = step.model.to(memory_format=torch.contiguous_format)
    step.images = step.images.contiguous()


def bfloat16(step):
    """Mixed precision."""
    step.precision = "bfloat16"


def fused_optimizer(step):
    """AdamW in one operation instead of a dozen for each tensor."""
    step.optimizer = torch.optim.AdamW(step.model.parameters(), lr=1e-3,
                                       fused=True)


def compiled(step):
    """torch.compile, which makes a C++ program of the network."""
    step.model = torch.compile(step.model)


CHANGES = {"one thread": one_thread, "channels first": channels_first,
           "bfloat16": bfloat16, "fused AdamW": fused_optimizer,
           "torch.compile": compiled}


def predictions(shares, rates):
    """The time of a changed step that the profile lets one expect.

    As a share of the step as it is, by a simple guess about what the
    change aims at, while all else stays.
    """
    convolutions = shares["convolutions"]
    return {
        "one thread": float(THREADS),
        "channels first": 1 + convolutions,  # each map copied once
        "bfloat16":
            1 + convolutions * (rates["float32"] / rates["bfloat16"] - 1),
        "fused AdamW": 1 - shares["optimizer"] / 2,
        # Batch norm and ReLU in one pass over the maps instead of two.
        "torch.compile": 1 - shares["ReLU"]}


def ratio(plain, changed, rounds):
    """Median ratio of two calls' times; they take turns."""
    ratios = []
    for _ in range(rounds):
        before = time.perf_counter()
        plain()
        middle = time.perf_counter()
        changed()
        ratios.append((time.perf_counter() - middle) / (middle - before))
    return float(np.median(ratios))


def compared(lesson, change, rounds=15):
    """A changed step: its share of the time as it is, its first seconds."""
    plain, changed = Step(lesson), Step(lesson)
    change(changed)
    plain()
    start = time.perf_counter()
    changed()
    first = time.perf_counter() - start
    return ratio(plain, changed, rounds), first


def settings(lesson, near, rates):
    """All changes of a step, predicted and measured."""
    expected = predictions(near["profile"], rates)
    rows = []
    for name, change in tqdm(CHANGES.items(), desc="settings"):
        measured, first = compared(lesson, change)
        rows.append({"change": name, "predicted": expected[name],
                     "measured": measured, "first": first})
    return rows


def batches(lesson, step):
    """What it costs to assemble and augment the batches of an epoch."""
    loader = lesson.training_batches(lesson.train)
    helped = DataLoader(loader.dataset, loader.batch_size, shuffle=True,
                        num_workers=1, persistent_workers=True)

    def epoch(loader):
        for step.images, step.masks in loader:
            step()

    assemble = median_seconds(lambda: list(loader), repetitions=5)
    whole = median_seconds(lambda: epoch(loader), repetitions=3)
    epoch(helped)
    return {"change": "batches made by one more process",
            "predicted": 1 - assemble / whole,
            "measured": ratio(lambda: epoch(loader), lambda: epoch(helped),
                              rounds=5),
            "first": None}


# --- Growth -----------------------------------------------------------------

def epoch_seconds(lesson, **options):
    """The time of training steps and their batches, for 80 images."""
    step = Step(lesson, **options)
    batches_of_epoch = lesson.training_batches(lesson.train)

    def epoch():
        for step.images, step.masks in batches_of_epoch:
            step()

    weights = sum(weight.numel() for weight in step.model.parameters())
    seconds = median_seconds(epoch, repetitions=3)
    return weights, seconds * 80 / len(lesson.train)


def growth():
    """Times of an epoch of the U-Net, when one thing grows at a time.

    Where an image takes long, fewer of them stand for the 80.
    """
    rows = []
    for count in (20, 40, 80, 160, 320):
        lesson = small_lesson(count + 10)
        _, seconds = epoch_seconds(lesson)
        rows.append({"what": "images", "value": count,
                     "seconds": seconds * count / 80})
    for scale, count in ((0.5, 80), (1, 80), (2, 40), (4, 8), (8, 8)):
        size = round(96 * scale), round(128 * scale)
        _, seconds = epoch_seconds(small_lesson(count + 10, size))
        rows.append({"what": "pixels", "value": size[0] * size[1],
                     "seconds": seconds})
    for first, count in ((8, 80), (16, 80), (32, 40), (64, 16), (128, 8)):
        widths = tuple(first * 2**i for i in range(5))
        weights, seconds = epoch_seconds(small_lesson(count + 10),
                                         widths=widths)
        rows.append({"what": "weights", "value": weights,
                     "seconds": seconds})
    return rows


# --- Both frameworks --------------------------------------------------------

def speeds(notebook):
    """How fast a notebook trains and predicts: {network: {what: number}}.

    An epoch has 140 images, as with PH². TensorFlow's prediction is always
    compiled, PyTorch's is only if one asks for it.
    """
    lesson, found = small_lesson(150, notebook=notebook), {}
    images = lesson.samples.images[:144]

    def rate(model):
        return len(images) / median_seconds(
            lambda: lesson.predict(model, images), repetitions=5)

    for network in ("SegNet", "UNet"):
        model = lesson.new_network(getattr(lesson, network), images)
        history = lesson.fit(model, network, lesson.train, epochs=5)
        found[network] = {
            "epoch": float(np.median(np.diff(history["seconds"]))),
            "images per second": rate(model)}
        if notebook == PYTORCH:
            found[network]["compiled"] = rate(torch.compile(model))
    return found


def speeds_apart(notebook):
    """The same in a process of its own, since both bring an LLVM."""
    printed = subprocess.run(
        [sys.executable, "-c", "import json; from lab.benchmark import "
         f"hardware; print(json.dumps(hardware.speeds({notebook!r})))"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed.splitlines()[-1])


def results():
    """What was measured last, {} if nothing was."""
    return read(FILE, "about", "closeness") if FILE.exists() else {}


@arguments.program
def main():
    """Measure everything, and write it down."""
    arguments.parser(__doc__).parse_args()
    arguments.make_folder(FILE.parent)
    rates = {name: matrix_rate(dtype) for name, dtype in PRECISIONS.items()}
    lesson = small_lesson()
    near = {network: closeness(lesson, network, rates)
            for network in ("SegNet", "UNet")}
    found = {"about": about(lesson) | {"precision": "float32"},
             "rates": rates, "closeness": list(near.values()),
             "settings": [*settings(lesson, near["UNet"], rates),
                          batches(lesson, Step(lesson))],
             "growth": growth(),
             "speeds": {name: speeds_apart(notebook) for name, notebook
                        in NOTEBOOKS.items()}}
    write(FILE, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
