"""What is left to do to the pages that Sphinx made."""

import base64
import hashlib
import re

INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>",
                           re.DOTALL)
OWN_FILE = re.compile(r'(?:src|href)="([^":?#]+\.(?:css|js|jpg|svg))')
LANGUAGES = {"README.no.html": "no"}  # of pages, by the end of their names
# WebAssembly is compiled, and the theme sets styles in the page.
POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'{hashes}; "
          "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
          "font-src 'self'; connect-src 'self'; worker-src 'self'; "
          "base-uri 'none'; form-action 'self'")
# Of the page "Try it", beside what its HTML names.
MODULES = ("basic.css", "masks.js", "network.js", "onnxruntime/ort.mjs",
           "onnxruntime/ort.wasm.gz", "networks/lesion.onnx",
           "networks/person.onnx")


def finish(folder, worker):
    """Protect all pages, and let "Try it" work without a connection.

    folder: the site; worker: the text of its service worker.
    """
    for file in folder.rglob("*.html"):
        page = protected(file.read_text(encoding="utf-8"))
        for end, language in LANGUAGES.items():
            if file.name.endswith(end):
                page = page.replace("<article ",
                                    f'<article lang="{language}" ', 1)
        file.write_text(page, encoding="utf-8")
    page = (folder / "try.html").read_text(encoding="utf-8")
    needed = ["try.html", *sorted(set(OWN_FILE.findall(page))),
              *(f"_static/{name}" for name in MODULES)]
    (folder / "sw.js").write_text(
        worker.replace("{version}", version(folder))
        .replace("{needed}", repr(needed)), encoding="utf-8")


def protected(page):
    """A page that loads from its own host alone, and runs known scripts."""
    hashes = sorted({
        " 'sha256-" + base64.b64encode(hashlib.sha256(
            script.encode()).digest()).decode() + "'"
        for script in INLINE_SCRIPT.findall(page)})
    policy = POLICY.format(hashes="".join(hashes))
    return page.replace("<head>", "<head>\n<meta http-equiv="
                        f'"Content-Security-Policy" content="{policy}">', 1)


def version(folder):
    """A text that changes when any file of the site changes."""
    whole = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            whole.update(file.read_bytes())
    return whole.hexdigest()[:12]
