"""Train the lesson's U-Net in several processes, with PyTorch.

    torchrun --standalone --nproc-per-node 2 -m lab.scaling.train_pytorch \
        --checkpoint unet.safetensors

The processes share each batch, so that the result is that of one process.
What is new compared with the notebook is explained in lab/scaling/README.md.
"""

import json
import os
import sys
import time
from collections import defaultdict

if not __package__:  # Python would look in this file's folder
    sys.exit("Type torchrun … -m lab.scaling.train_pytorch, as "
             "lab/scaling/README.md says, in the lesson's folder.")

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from data import storage
from lab.arguments import program
from lab.lesson import PYTORCH
from lab.scaling.shared import (
    WORKERS,
    end_with_parent,
    lesson_on,
    parser_for,
    resume,
    settings,
)


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes, with its gradient."""

    @staticmethod
    def forward(context, tensor):
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        return SumOverProcesses.forward(context, gradient)


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of the images of all processes.

    PyTorch's own, nn.SyncBatchNorm, does this on graphics cards only.
    """

    def forward(self, maps):
        if not self.training:
            return super().forward(maps)
        size = dist.get_world_size()
        sums = torch.stack([maps.mean(dim=(0, 2, 3)),
                            maps.square().mean(dim=(0, 2, 3))])
        mean, mean_of_squares = SumOverProcesses.apply(sums) / size
        variance = mean_of_squares - mean**2
        with torch.no_grad():
            n = size * maps.numel() / maps.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return maps * scale[:, None, None] + shift[:, None, None]


def synchronised(model, device):
    """The model with batch norms that look at all processes' images."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.__class__ = SyncedBatchNorm  # nothing else differs
    return model


def shared_batches(lesson):
    """The notebook's training batches, of which each process gets a part.

    Each image draws the random numbers of its augmentation from its own
    number and the epoch, whichever process it goes to.
    """
    class OwnRandomNumbers(lesson.LesionDataset):
        epoch = 0

        def __getitem__(self, i):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(len(self) * self.epoch + i)
                return super().__getitem__(i)

    dataset = OwnRandomNumbers(lesson.train, lesson.augment)
    sampler = DistributedSampler(dataset, seed=lesson.SEED)
    return DataLoader(
        dataset, sampler=sampler,
        batch_size=lesson.BATCH_SIZE // dist.get_world_size())


def sum_over_processes(*numbers):
    """Sums of plain numbers over all processes."""
    total = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


class Training:
    """What changes while training, and a file that holds all of it."""

    def __init__(self, lesson, batches, options, device):
        self.settings = settings(options)
        model = lesson.new_network(lesson.UNet,
                                   lesson.samples.images[lesson.train])
        self.model = DistributedDataParallel(
            synchronised(model.to(device), device))
        self.optimizer, self.schedule = lesson.new_optimizer(
            model, options.epochs * len(batches), lesson.LEARNING_RATE)
        # For each epoch that is done: loss and Dice of the training set,
        # loss and Dice of the validation set, seconds.
        self.rows = []

    def save(self, file):
        """Write the checkpoint whole or not at all.

        In a file that holds tensors and text, and nothing that could run.
        Raises DataError if the first would replace a file that is not ours.
        """
        optimizer = self.optimizer.state_dict()
        states = {"model": self.model.module.state_dict(),
                  **optimizer["state"]}  # 0, 1, 2 …: one for each weight
        text = {"rows": self.rows, "settings": self.settings,
                "schedule": self.schedule.state_dict(),
                "groups": optimizer["param_groups"]}
        tensors = {f"{owner}/{name}": tensor.contiguous()
                   for owner, state in states.items()
                   for name, tensor in state.items()}
        with storage.whole(file, new=len(self.rows) == 1) as part:
            save_file(tensors, part, {name: json.dumps(value)
                                      for name, value in text.items()})

    def load(self, file):
        """Go on from a checkpoint. Returns with what settings it began."""
        states = defaultdict(dict)
        with safe_open(file, framework="pt") as stored:
            text = {name: json.loads(value)
                    for name, value in stored.metadata().items()}
        for key, tensor in load_file(file).items():
            owner, name = key.split("/")
            states[owner][name] = tensor
        self.rows = text["rows"]
        self.model.module.load_state_dict(states.pop("model"))
        self.schedule.load_state_dict(text["schedule"])
        self.optimizer.load_state_dict({
            "state": {int(i): state for i, state in states.items()},
            "param_groups": text["groups"]})
        return text["settings"]


def train(lesson, options, device):
    """Train for the epochs that are still to do."""
    batches = shared_batches(lesson)
    training = Training(lesson, batches, options, device)
    resume(training, options, speaks=dist.get_rank() == 0)
    for epoch in range(len(training.rows), options.epochs):
        batches.sampler.set_epoch(epoch)
        batches.dataset.epoch = epoch
        start = time.perf_counter()
        mine = lesson.train_epoch(training.model, batches,
                                  training.optimizer, training.schedule)
        # Validation is so short that every process does all of it.
        training.rows.append([
            *sum_over_processes(*mine),
            *lesson.evaluate(training.model.module,
                             lesson.validation_batches),
            time.perf_counter() - start])
        if dist.get_rank() == 0:
            training.save(options.checkpoint)
            print("epoch", epoch + 1, json.dumps(training.rows[-1]),
                  flush=True)


def device_of_process():
    """A graphics card for each process, if there are as many."""
    number = int(os.environ["LOCAL_RANK"])
    if torch.cuda.device_count() < int(os.environ["LOCAL_WORLD_SIZE"]):
        return torch.device("cpu")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@program
def main():
    """Join the other processes, and train."""
    parser = parser_for(__doc__)
    options = parser.parse_args()
    if not dist.is_torchelastic_launched():
        parser.error("start this program with torchrun, as "
                     "lab/scaling/README.md says")
    count = os.environ["WORLD_SIZE"]
    if count not in map(str, WORKERS):
        parser.error(f"{count} processes cannot share the images equally; "
                     f"start {', '.join(map(str, WORKERS))}")
    end_with_parent()
    device = device_of_process()
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda"
                            else "gloo")
    lesson = lesson_on(PYTORCH, options, DEVICE=device)
    train(lesson, options, device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
