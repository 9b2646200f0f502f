"""What the processes do that the tests start, and kill."""

import contextlib
import functools
import hashlib
import io
import os
import tempfile

import pooch
from joblib.externals.loky import get_reusable_executor

from data import DataError, ph2, storage
from data.archive import Mirror
from data.synthetic import moles

SIZE = (6, 8)


def prepare(folder, url, temporary=None):
    """Let the lesson use a folder as data/ and a server on this machine."""
    storage.ROOT = folder
    for variable in ("SOURCE", "DATA"):
        os.environ.pop(f"SEGMENTATION_{variable}", None)
    ph2.MIRRORS = (Mirror(url, "PH2Dataset.rar", None),) if url else ()
    pooch.os_cache = lambda name: folder / "no" / "home"
    # A sample as small as this is drawn in no time.
    moles.write_dataset = functools.partial(
        moles.write_dataset, size=(24, 32))
    if temporary:
        tempfile.tempdir = str(temporary)


def load(folder, url, source, pipe, temporary=None):
    """Load the images; send "started", what was printed, what came of it.

    The last is (source, digest of all images and masks), or a DataError's
    sentence. Leads a process group of its own, so that it can be killed
    together with the programs that it starts.
    """
    os.setpgrp()
    prepare(folder, url, temporary)
    pipe.send("started")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = digest_or_sentence(source)
    # joblib's workers wait for more; nobody else would end them here.
    get_reusable_executor().shutdown()
    pipe.send(printed.getvalue())
    pipe.send(result)


def digest_or_sentence(source):
    """What `load` sends in the end."""
    try:
        samples = ph2.load(SIZE, source)
    except DataError as error:
        return str(error)
    content = hashlib.sha256(samples.images.tobytes())
    content.update(samples.masks.tobytes())
    content.update(repr((samples.names, samples.groups)).encode())
    return samples.source, content.hexdigest()
