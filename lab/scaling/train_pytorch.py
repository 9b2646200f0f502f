"""Train the lesson's U-Net in several processes, with PyTorch.

    torchrun --standalone --nproc-per-node 2 -m lab.scaling.train_pytorch \
        --checkpoint unet.pt

The processes share each batch, so that the result is that of one process.
What is new compared with the notebook is explained in lab/SCALING.md.
"""

import json
import os
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from lab.scaling.lesson import arguments, checked, lesson, resume
from tests.notebooks import PYTORCH


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


def shared_batches(names):
    """The notebook's training batches, of which each process gets a part.

    Each image draws the random numbers of its augmentation from its own
    number and the epoch, whichever process it goes to.
    """
    class OwnRandomNumbers(names["LesionDataset"]):
        epoch = 0

        def __getitem__(self, i):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1000 * self.epoch + i)
                return super().__getitem__(i)

    dataset = OwnRandomNumbers(names["train"], names["augment"])
    sampler = DistributedSampler(dataset, seed=names["SEED"])
    return DataLoader(dataset, sampler=sampler, batch_size=names[
        "BATCH_SIZE"] // dist.get_world_size())


def sum_over_processes(*numbers):
    """Sums of plain numbers over all processes."""
    total = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


class Training:
    """What changes while training, and a file that holds all of it."""

    def __init__(self, names, batches, epochs, device):
        torch.manual_seed(names["SEED"])
        model = names["initialise"](names["UNet"]()).to(device)
        self.model = DistributedDataParallel(synchronised(model, device))
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=names["LEARNING_RATE"],
            weight_decay=names["WEIGHT_DECAY"])
        n_steps = epochs * len(batches)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: names["learning_rate_factor"](step, n_steps))
        self.average = names["AveragedModel"](
            model, avg_fn=names["averaged"], use_buffers=True)
        # For each epoch that is done: loss and Dice of the training set,
        # loss and Dice of the validation set, seconds.
        self.rows = []

    def after_step(self):
        self.scheduler.step()
        self.average.update_parameters(self.model.module)

    def parts(self):
        return {"model": self.model.module, "average": self.average,
                "optimizer": self.optimizer, "scheduler": self.scheduler}

    def save(self, file):
        """Write the checkpoint whole or not at all."""
        part = file.with_suffix(".part")
        torch.save({"rows": self.rows,
                    **{name: part.state_dict()
                       for name, part in self.parts().items()}}, part)
        part.replace(file)

    def load(self, file):
        """Go on from a checkpoint."""
        stored = torch.load(file, weights_only=True)
        self.rows = stored.pop("rows")
        for name, state in stored.items():
            self.parts()[name].load_state_dict(state)


def train(names, options, device):
    """Train for the epochs that are still to do."""
    batches = shared_batches(names)
    training = Training(names, batches, options.epochs, device)
    resume(training, options)
    run_epoch = names["run_epoch"]
    for epoch in range(len(training.rows), options.epochs):
        batches.sampler.set_epoch(epoch)
        batches.dataset.epoch = epoch
        start = time.perf_counter()
        mine = run_epoch(training.model, batches, training.optimizer,
                         training.after_step)
        # Validation is so short that every process does all of it.
        training.rows.append([
            *sum_over_processes(*mine),
            *run_epoch(training.average.module, names["validation_batches"]),
            time.perf_counter() - start])
        if dist.get_rank() == 0:
            training.save(options.checkpoint)
            print("epoch", epoch + 1, json.dumps(training.rows[-1]),
                  flush=True)


def main():
    """Join the other processes, and train."""
    options = checked(arguments(__doc__.split("\n")[0]).parse_args())
    cuda = torch.cuda.is_available()
    dist.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    height, width = options.size
    names = lesson(PYTORCH, SOURCE=options.source, HEIGHT=height,
                   WIDTH=width, DEVICE=device)
    assert names["BATCH_SIZE"] % dist.get_world_size() == 0, (
        f"A batch of {names['BATCH_SIZE']} images cannot be shared equally "
        f"by {dist.get_world_size()} processes; start 1, 2, 4 or 8.")
    train(names, options, device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
