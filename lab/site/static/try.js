// The page "Try it": a picture in, its mask out, all on this device.

import {cut, enlarge, filled, largestPiece, share} from "./masks.js";
import {prepare, probability} from "./network.js";

const MILLIONS = 50;  // of pixels; more do not fit into a phone's memory
const SHOWN = 800;    // pixels along the longer side of what is shown
const CYAN = 0xffffff00;  // as 32 bits: opacity, blue, green, red
const TIDY = {lesion: mask => filled(largestPiece(mask)),
              person: largestPiece};

const get = id => document.getElementById(id);
const chosen = () => document.querySelector("[name=what]:checked").value;
let latest = 0;      // number of the latest picture
let current = null;  // what is shown: see outline()

// What is said to the reader as it is.
class Refused extends Error {}

// --- Pictures -------------------------------------------------------------

// A file -> a canvas. Refuses what is no picture, or too large.
async function read(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await new Promise((good, bad) => {
      image.onload = good;
      image.onerror = bad;
    });
  } catch {
    const start = await file.slice(4, 12).text();
    throw new Refused(/^ftyp(hei|hev|mif1|msf1)/.test(start)
      ? `${file.name} is a HEIC picture, which this browser cannot open; `
        + "save it as JPEG."
      : `${file.name} is not a picture that this browser can open; save it `
        + "as JPEG or PNG.");
  } finally {
    URL.revokeObjectURL(image.src);
  }
  const {naturalWidth: width, naturalHeight: height} = image;
  if (width * height > MILLIONS * 1e6) {
    throw new Refused(
      `${file.name} has ${Math.round(width * height / 1e6)} million pixels;`
      + ` shrink it to at most ${MILLIONS} million first.`);
  }
  return drawn(image, width, height);
}

function newCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), {width, height});
}

// A picture on a canvas; white where it is transparent.
function drawn(picture, width, height) {
  const canvas = newCanvas(width, height), pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0, width, height);
  return canvas;
}

// A map or mask on a canvas, each value in the colour (32 bits) of it.
function coloured({width, height, values}, colour) {
  const canvas = newCanvas(width, height), pen = canvas.getContext("2d");
  const pixels = pen.createImageData(width, height);
  const whole = new Uint32Array(pixels.data.buffer);
  for (let at = 0; at < whole.length; at++) whole[at] = colour(values[at]);
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

const grey = p => 0xff000000 + 0x010101 * Math.round(255 * p);

// A picture with a line around what its mask marks.
function withLine(picture, mask) {
  const inside = coloured(mask, value => value ? CYAN : 0);
  const line = newCanvas(mask.width, mask.height), pen = line.getContext("2d");
  const thickness = Math.max(1, Math.max(mask.width, mask.height) / 200);
  for (let turn = 0; turn < 2 * Math.PI; turn += Math.PI / 8) {
    pen.drawImage(inside, thickness * Math.cos(turn),
                  thickness * Math.sin(turn));
  }
  pen.globalCompositeOperation = "destination-out";
  pen.drawImage(inside, 0, 0);
  const both = drawn(picture, mask.width, mask.height);
  both.getContext("2d").drawImage(line, 0, 0);
  return both;
}

// --- The page -------------------------------------------------------------

function say(text) {
  get("status").textContent = text;
}

// Read a file, ask the network, show the answer.
async function outline(file) {
  const number = ++latest, what = chosen(), start = performance.now();
  say(`Looking for the ${what} in ${file.name} …`);
  get("result").hidden = true;
  try {
    const picture = await read(file);
    const asked = performance.now();
    const map = await probability(picture, what);
    if (number !== latest) return;  // another picture was chosen meanwhile
    const scale = Math.min(1, SHOWN / Math.max(picture.width, picture.height));
    const size = [picture.width, picture.height].map(
      side => Math.max(1, Math.round(scale * side)));
    current = {file, what, picture, map, enlarged: enlarge(map, ...size)};
    get("result").hidden = false;
    show();
    const [network, all] = [asked, start].map(
      since => ((performance.now() - since) / 1000).toFixed(2));
    report(` Network ${network} s, all in all ${all} s.`);
  } catch (error) {
    if (number !== latest) return;
    current = null;
    say(error instanceof Refused ? error.message
      : `This did not work here (${error.message}). Is there a connection, `
        + "and is the picture not too large? Try once more.");
  }
}

function threshold() {
  return Number(get("threshold").value);
}

function show() {
  const {picture, what, enlarged} = current;
  const mask = TIDY[what](cut(enlarged, threshold()));
  current.share = share(mask);
  get("value").textContent = threshold().toFixed(2);
  for (const [id, canvas] of [["outline", withLine(picture, mask)],
                              ["mask", coloured(mask, grey)],
                              ["map", coloured(enlarged, grey)]]) {
    Object.assign(get(id), {width: canvas.width, height: canvas.height});
    get(id).getContext("2d").drawImage(canvas, 0, 0);
  }
}

function report(more = "") {
  const percent = (100 * current.share).toFixed(0);
  say((current.share
    ? `The ${current.what} covers ${percent} % of the picture.`
    : "No pixel is surer than the threshold.") + more);
}

// Save the mask in the picture's own size.
function save() {
  const {picture, map, what, file} = current;
  const mask = TIDY[what](cut(enlarge(map, picture.width, picture.height),
                              threshold()));
  coloured(mask, grey).toBlob(blob => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = file.name.replace(/\.[^.]*$/, "") + "-mask.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

async function example({dataset}) {
  const address = new URL(`examples/${dataset.picture}`, import.meta.url);
  document.querySelector(`[value=${dataset.what}]`).checked = true;
  const picture = await (await fetch(address)).blob();
  outline(new File([picture], dataset.picture));
}

for (const input of [get("file"), get("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) outline(input.files[0]);
    input.value = "";  // so that the same file can be chosen again
  });
}
for (const button of document.querySelectorAll("#examples button")) {
  button.addEventListener("click", () => example(button));
}
for (const input of document.querySelectorAll("[name=what]")) {
  input.addEventListener("change", () => {
    if (current) outline(current.file);
    else prepare(chosen());
  });
}
get("threshold").addEventListener("input", show);
get("threshold").addEventListener("change", () => report());
get("save").addEventListener("click", save);
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  if (event.dataTransfer.files.length) outline(event.dataTransfer.files[0]);
});
prepare(chosen());
