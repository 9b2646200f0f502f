// Arithmetic on probability maps and masks. Both are {width, height, values},
// row by row; a mask's values are 1 (found) and 0.

// Enlarge a map bilinearly, as lab.segment does: the corners of both lie on
// each other, and beyond the outermost centres nothing changes.
export function enlarge(map, width, height) {
  const values = new Float32Array(width * height);
  const columns = neighbours(width, map.width);
  const rows = neighbours(height, map.height);
  let at = 0;
  for (const {low: top, high: bottom, part: down} of rows) {
    for (const {low, high, part} of columns) {
      const along = row => map.values[row * map.width + low] * (1 - part)
        + map.values[row * map.width + high] * part;
      values[at++] = along(top) * (1 - down) + along(bottom) * down;
    }
  }
  return {width, height, values};
}

// For each new pixel the old ones at its sides, and its part of the way.
function neighbours(size, oldSize) {
  return Array.from({length: size}, (_, i) => {
    const place = Math.min(Math.max((i + 0.5) * oldSize / size - 0.5, 0),
                           oldSize - 1);
    const low = Math.floor(place);
    return {low, high: Math.min(low + 1, oldSize - 1), part: place - low};
  });
}

// The mask of what is surer than a threshold.
export function cut({width, height, values}, threshold) {
  const found = new Uint8Array(values.length);
  for (let at = 0; at < found.length; at++) found[at] = values[at] > threshold;
  return {width, height, values: found};
}

// The share of pixels that a mask marks.
export function share({values}) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

// The largest piece of a mask. Pixels that touch at a corner are one piece.
export function largestPiece(mask) {
  const seen = mask.values.map(value => 1 - value);
  const queue = new Int32Array(seen.length);
  let largest = [];
  for (let start = 0; start < seen.length; start++) {
    const size = flood(mask, seen, queue, [start], EIGHT);
    if (size > largest.length) largest = queue.slice(0, size);
  }
  const values = new Uint8Array(seen.length);
  for (const at of largest) values[at] = 1;
  return {...mask, values};
}

// A mask with its holes filled: with all that the background at the
// picture's edge does not reach.
export function filled(mask) {
  const {width, height} = mask;
  const seen = mask.values.slice();
  const queue = new Int32Array(seen.length);
  const edge = [];
  for (let x = 0; x < width; x++) edge.push(x, (height - 1) * width + x);
  for (let y = 0; y < height; y++) edge.push(y * width, (y + 1) * width - 1);
  const size = flood(mask, seen, queue, edge, FOUR);
  const values = new Uint8Array(seen.length).fill(1);
  for (const at of queue.subarray(0, size)) values[at] = 0;
  return {...mask, values};
}

const FOUR = [[1, 0], [-1, 0], [0, 1], [0, -1]];
const EIGHT = [...FOUR, [1, 1], [1, -1], [-1, 1], [-1, -1]];

// Go from the starts to all pixels that were not seen and that steps lead
// to. Marks them as seen, writes them into the queue, returns their number.
function flood({width, height}, seen, queue, starts, steps) {
  let size = 0;
  const enter = at => {
    if (!seen[at]) {
      seen[at] = 1;
      queue[size++] = at;
    }
  };
  starts.forEach(enter);
  for (let next = 0; next < size; next++) {
    const x = queue[next] % width, y = Math.floor(queue[next] / width);
    for (const [right, down] of steps) {
      const newX = x + right, newY = y + down;
      if (newX >= 0 && newX < width && newY >= 0 && newY < height) {
        enter(newY * width + newX);
      }
    }
  }
  return size;
}
