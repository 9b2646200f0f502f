"""Train the lesson's U-Net in several processes, with TensorFlow.

    python -m lab.scaling.train_tf --workers 2 --checkpoint unet.npz

The processes share each batch, so that the result is that of one process.
What is new compared with the notebook is explained in lab/scaling/README.md.
"""

import argparse
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.scaling.train_tf in the lesson's folder.")

import numpy as np

from data import DataError, storage
from lab.arguments import program
from lab.jupyter import quietly, use_tensorflow
from lab.lesson import TENSORFLOW
from lab.scaling.shared import (
    WORKERS,
    end_with_parent,
    lesson_on,
    parser_for,
    resume,
    settings,
)

# --- The processes --------------------------------------------------------

def free_addresses(count):
    """Addresses on this machine that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket())
                   for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in sockets]


def start_workers(count):
    """Start this program again as workers that know of each other."""
    cluster = {"worker": free_addresses(count)}
    return [subprocess.Popen(
        [sys.executable, "-m", "lab.scaling.train_tf", "--worker",
         *sys.argv[1:]],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3",
             "CUDA_VISIBLE_DEVICES": str(index),  # one card each
             "TF_CONFIG": json.dumps({
                 "cluster": cluster,
                 "task": {"type": "worker", "index": index}})})
        for index in range(count)]


def wait_for(workers, checkpoint):
    """Wait until all have ended; if one fails, end all and say so.

    A worker that exits by itself has said why.
    """
    codes = [None]
    while None in codes and not any(codes):
        time.sleep(0.2)
        codes = [worker.poll() for worker in workers]
    for worker in workers:
        worker.kill()
        worker.wait()
    for number, code in enumerate(codes):
        if code and code < 0:
            sys.exit(f"Worker {number} was killed by "
                     f"{signal.Signals(-code).name}, so all were ended. "
                     "Start the same command again: it goes on from "
                     f"{checkpoint} with the last whole epoch, if there was "
                     "one.")
    sys.exit(max(code or 0 for code in codes))


# --- What each of them does -----------------------------------------------

def unscaled(masks, logits):
    """Cross-entropy of a worker's own images.

    Keras' loss objects would divide it by the number of workers.
    """
    from keras import losses, ops  # here: the launcher needs neither

    return ops.mean(losses.binary_crossentropy(masks, logits,
                                               from_logits=True))


class Training:
    """What changes while training, and a file that holds all of it."""

    def __init__(self, lesson, strategy, options):
        import keras
        import tensorflow as tf  # here: the launcher needs neither

        self.lesson, self.strategy, self.tf = lesson, strategy, tf
        self.settings = settings(options)
        keras.utils.set_random_seed(lesson.SEED)  # the same in all workers
        self.batches = lesson.training_batches(lesson.train)
        plain = keras.layers.BatchNormalization
        # Batch norm that looks at the images of all workers.
        keras.layers.BatchNormalization = functools.partial(
            plain, synchronized=True)
        with strategy.scope():
            self.model = lesson.new_network(
                lesson.UNet, lesson.samples.images[lesson.train])
            self.optimizer = lesson.new_optimizer(
                options.epochs * len(self.batches), lesson.LEARNING_RATE)
            self.optimizer.build(self.model.trainable_variables)
        keras.layers.BatchNormalization = plain
        # For each epoch that is done: loss and Dice of the training set,
        # loss and Dice of the validation set, seconds.
        self.rows = []
        self.shared_step = tf.function(self.one_step)

    def one_step(self, images, masks):
        """One training step with a batch that is shared by the workers.

        Returns the loss and the sum of Dice of the whole batch.
        """
        tf, lesson = self.tf, self.lesson

        def step(images, masks):
            with tf.GradientTape() as tape:
                logits = self.model(images, training=True)
                # The sum over all workers is then the mean of all images.
                loss = unscaled(masks, logits) \
                    / self.strategy.num_replicas_in_sync
            weights = self.model.trainable_weights
            # It adds up the gradients of all workers.
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return loss, tf.reduce_sum(lesson.dice(masks, logits))

        parts = self.strategy.run(step, args=(images, masks))
        return [self.strategy.reduce("sum", part, axis=None)
                for part in parts]

    def epoch(self, batches):
        """One pass over the batches; returns mean loss and mean Dice."""
        lesson, loss_sum, dice_sum = self.lesson, 0, 0
        n_images, batch_size = len(lesson.train), lesson.BATCH_SIZE
        for number, (images, masks) in enumerate(batches):
            loss, dice = self.shared_step(images, masks)
            size = min(batch_size, n_images - number * batch_size)
            loss_sum += size * float(loss)
            dice_sum += float(dice)
        return [loss_sum / n_images, dice_sum / n_images]

    def validate(self):
        """Mean loss and mean Dice on the validation set."""
        lesson, loss, dice = self.lesson, 0, 0
        for images, masks in lesson.validation_batches:
            logits = self.model(images, training=False)
            loss += len(images) * float(unscaled(masks, logits))
            dice += float(sum(lesson.dice(masks, logits)))
        return [loss / len(lesson.valid), dice / len(lesson.valid)]

    def variables(self):
        """Names, and what training changes in place."""
        return {f"{owner}{i}": variable for owner, part in (
                    ("model", self.model), ("optimizer", self.optimizer))
                for i, variable in enumerate(part.variables)}

    def save(self, file):
        """Write the checkpoint whole or not at all.

        Raises DataError if the first would replace a file that is not ours.
        """
        new = len(self.rows) == 1
        with storage.whole(file, new) as part, part.open("wb") as stream:
            np.savez(stream, rows=self.rows, settings=self.settings, **{
                name: variable.numpy()
                for name, variable in self.variables().items()})

    def load(self, file):
        """Go on from a checkpoint. Returns with what settings it began."""
        with np.load(file) as stored:
            self.rows = stored["rows"].tolist()
            for name, variable in self.variables().items():
                variable.assign(stored[name])
            return str(stored["settings"])


def share_of(strategy, batches):
    """The worker's part of each batch; all workers make all batches."""
    resolver = strategy.cluster_resolver
    index, count = resolver.task_id, len(
        resolver.cluster_spec().job_tasks("worker"))

    def share(images, masks):
        return images[index::count], masks[index::count]

    return strategy.distribute_datasets_from_function(
        lambda context: batches.map(share))


def work(options):
    """Join the other workers, and train."""
    with quietly():
        import tensorflow as tf
        # Before all else, or TensorFlow refuses to connect the workers.
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    lesson = lesson_on(TENSORFLOW, options)
    training = Training(lesson, strategy, options)
    resume(training, options,
           speaks=strategy.cluster_resolver.task_id == 0)
    batches = share_of(strategy, training.batches)
    for epoch in range(len(training.rows), options.epochs):
        start = time.perf_counter()
        training.rows.append([*training.epoch(batches),
                              *training.validate(),
                              time.perf_counter() - start])
        if strategy.cluster_resolver.task_id == 0:
            training.save(options.checkpoint)
            print("epoch", epoch + 1, json.dumps(training.rows[-1]),
                  flush=True)


@program
def main():
    """Start the workers and wait, or be one of them."""
    parser = parser_for(__doc__)
    parser.add_argument("--workers", type=int, choices=WORKERS, default=2)
    parser.add_argument("--worker", action="store_true",
                        help=argparse.SUPPRESS)  # for `start_workers` alone
    options = parser.parse_args()
    if options.worker:
        end_with_parent()
        work(options)
        return
    if "TF_CONFIG" in os.environ:
        parser.error("TF_CONFIG is set, but this program sets it by itself; "
                     "remove this environment variable")
    try:
        use_tensorflow()
    except DataError as error:
        parser.error(str(error))
    wait_for(start_workers(options.workers), options.checkpoint)


if __name__ == "__main__":
    main()
