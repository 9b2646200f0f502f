// The stored networks, run by onnxruntime-web in WebAssembly.

import * as ort from "./onnxruntime/ort.mjs";

const HERE = new URL(".", import.meta.url);
const sessions = {};

// Picture (a canvas) -> {width, height, values}: how sure each pixel of a
// small map is a lesion, or a person. Resizing is part of the network.
export async function probability(canvas, what) {
  sessions[what] ??= load(what);
  let session;
  try {
    session = await sessions[what];
  } catch (error) {
    delete sessions[what];  // the next try loads it again
    throw error;
  }
  const picture = new ort.Tensor("uint8", planes(canvas),
                                 [3, canvas.height, canvas.width]);
  const {probability: map} = await session.run({picture});
  return {width: map.dims[1], height: map.dims[0], values: map.data};
}

// Load what the network needs, before there is a picture.
export function prepare(what) {
  sessions[what] ??= load(what);
  sessions[what].catch(() => delete sessions[what]);
}

async function load(what) {
  // Threads need a host that isolates its pages; most do not.
  ort.env.wasm.numThreads = self.crossOriginIsolated
    ? Math.min(4, navigator.hardwareConcurrency) : 1;
  ort.env.wasm.wasmBinary ??= await unpacked("onnxruntime/ort.wasm.gz");
  const file = await fetched(`networks/${what}.onnx`);
  return ort.InferenceSession.create(await file.arrayBuffer());
}

async function fetched(path) {
  const response = await fetch(new URL(path, HERE));
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

// 14 MB are 4 MB this way, also where the host does not compress.
async function unpacked(path) {
  const unpacking = new DecompressionStream("gzip");
  const packed = await fetched(path);
  return new Response(packed.body.pipeThrough(unpacking)).arrayBuffer();
}

// A canvas as three planes of colour, one after the other.
function planes(canvas) {
  const {width, height} = canvas, size = width * height;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  const colours = new Uint8Array(3 * size);
  for (let at = 0; at < size; at++) {
    colours[at] = data[4 * at];
    colours[size + at] = data[4 * at + 1];
    colours[2 * size + at] = data[4 * at + 2];
  }
  return colours;
}
