// Apply the passes of `da3 plan --json` to the pixels of an image. Runs under Node and in browsers.

/**
 * Compute the network's input of one image.
 *
 * @param {Uint8Array|Uint8ClampedArray} pixels interleaved samples of the image as stored, before its EXIF orientation.
 * @param {number} channels samples per pixel: 3 for RGB, 4 for RGBA, whose alpha is dropped.
 * @param {object} image an entry of `plan.images`.
 * @param {object} plan what `da3 plan --json` printed.
 * @returns {Uint8Array} RGB, interleaved: height x width x 3, of the size `image.target_hw`.
 */
export function networkInput(pixels, channels, image, plan) {
  const [height, width] = image.stored_hw;
  if (pixels.length !== height * width * channels) {
    throw new Error(`${image.file}: the plan is for ${width}x${height} pixels; make it anew, from this image`);
  }
  let source = pixels;
  for (const pass of image.passes) {
    source = applyPass(source, channels, pass, plan.operators);
    channels = 3;
  }
  return source;
}

function applyPass(source, channels, pass, operators) {
  const rows = operators[pass.rows];
  const columns = operators[pass.columns];
  const height = rows.start.length;
  const width = columns.start.length;
  const [down, across] = pass.transpose ? [3, 3 * height] : [3 * width, 3];
  const result = new Uint8Array(3 * height * width);
  const line = new Float32Array(columns.source_size * channels); // one blended row

  for (let y = 0, rowWeight = 0; y < height; y++) {
    line.fill(0);
    for (let k = 0; k < rows.count[y]; k++) {
      const weight = rows.weights[rowWeight++];
      const begin = (rows.start[y] + k) * line.length;
      for (let i = 0; i < line.length; i++) line[i] += weight * source[begin + i];
    }
    for (let x = 0, columnWeight = 0; x < width; x++) {
      const count = columns.count[x];
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < count; k++) {
          sum += columns.weights[columnWeight + k] * line[(columns.start[x] + k) * channels + c];
        }
        result[y * down + x * across + c] = rounded(sum, pass.ties);
      }
      columnWeight += count;
    }
  }
  return result;
}

function rounded(value, ties) {
  const level = Math.floor(Math.min(Math.max(value, 0), 255) + 0.5);
  return ties === "even" && level - value === 0.5 && level % 2 === 1 ? level - 1 : level;
}
