// Points of a depth map and its photo, and of PLY files. Axes as in three.js: x right, y up, z towards the viewer.

import { isValid } from './depth.js';

export const ASSUMED_VIEW_ANGLE = 60; // degrees, along the longer side
const EDGE = 0.05; // relative difference of depth between neighbours

/** Camera of a depth map: the known intrinsics, or an assumed field of view. */
export function cameraOf(map) {
  if (map.intrinsics) {
    const [fx, fy, cx, cy] = map.intrinsics;
    return { fx, fy, cx, cy, assumed: false };
  }
  const focal = Math.max(map.width, map.height) / 2 / Math.tan((ASSUMED_VIEW_ANGLE / 2) * (Math.PI / 180));
  return { fx: focal, fy: focal, cx: map.width / 2, cy: map.height / 2, assumed: true };
}

/** Whether depth jumps between a pixel and one of its four neighbours, (H * W) of 0 and 1. */
export function findEdges({ values, width, height }) {
  const edges = new Uint8Array(values.length);
  const compare = (a, b) => {
    const [one, other] = [values[a], values[b]];
    if (!(Math.abs(one - other) <= EDGE * Math.min(one, other))) edges[a] = edges[b] = 1;
  };
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const i = row * width + column;
      if (column + 1 < width) compare(i, i + 1);
      if (row + 1 < height) compare(i, i + width);
    }
  }
  return edges;
}

/**
 * Make points of the valid pixels of a depth map.
 *
 * @param {import('./depth.js').DepthMap} map
 * @param {Uint8ClampedArray} colors RGBA of each pixel
 * @param {{hideEdges: boolean, hideSky: boolean, farthest: number}} options farthest: share of the valid pixels
 * @returns {{positions: Float32Array, colors: Uint8Array, unit: number, camera: object, pixelSize: number}}
 *   positions in multiples of `unit`, the median depth; pixelSize: of a point at distance 1
 */
export function pointsOfDepth(map, colors, { hideEdges, hideSky, farthest }) {
  const { values, width, height } = map;
  const camera = cameraOf(map);
  const unit = map.quantile(0.5) || 1;
  const edges = hideEdges ? findEdges(map) : null;
  const sky = hideSky ? map.skyDepth : null;
  const limit = farthest < 1 ? map.quantile(farthest) : Infinity;
  const kept = [];
  for (let i = 0; i < values.length; i += 1) {
    const depth = values[i];
    if (isValid(depth) && depth <= limit && depth !== sky && !edges?.[i]) kept.push(i);
  }
  const positions = new Float32Array(3 * kept.length);
  const rgb = new Uint8Array(3 * kept.length);
  kept.forEach((i, n) => {
    const depth = values[i] / unit;
    positions[3 * n] = (((i % width) - camera.cx) / camera.fx) * depth;
    positions[3 * n + 1] = ((camera.cy - Math.floor(i / width)) / camera.fy) * depth;
    positions[3 * n + 2] = -depth;
    for (let channel = 0; channel < 3; channel += 1) rgb[3 * n + channel] = colors[4 * i + channel];
  });
  return { positions, colors: rgb, unit, camera: { ...camera, width, height }, pixelSize: 1 / Math.min(camera.fx, camera.fy) };
}

const SIZES = { char: 1, uchar: 1, short: 2, ushort: 2, int: 4, uint: 4, float: 4, double: 8 };

/**
 * Read the vertices of a binary little-endian PLY file with x, y, z and red, green, blue, in OpenCV's axes.
 *
 * @param {ArrayBuffer} data
 * @param {number} views that the points come from
 * @returns {{positions: Float32Array, colors: Uint8Array, unit: number, camera: null, pixelSize: number}}
 */
export function pointsOfPly(data, views) {
  const text = new TextDecoder('latin1').decode(data.slice(0, 65536));
  const end = text.indexOf('end_header\n');
  if (end < 0 || !text.includes('format binary_little_endian')) throw new Error('The server sent a PLY file of another kind.');
  const lines = text.slice(0, end).split('\n');
  const count = Number(lines.find((line) => line.startsWith('element vertex'))?.split(' ')[2] ?? 0);
  const offsets = {};
  let stride = 0;
  for (const line of lines.filter((each) => each.startsWith('property '))) {
    const [, type, name] = line.split(' ');
    offsets[name] = stride;
    stride += SIZES[type] ?? NaN;
  }
  const start = end + 'end_header\n'.length;
  if (!Number.isFinite(stride) || offsets.x === undefined || data.byteLength < start + count * stride) {
    throw new Error('The PLY file of the server is damaged.');
  }
  const view = new DataView(data, start);
  const positions = new Float32Array(3 * count);
  const colors = new Uint8Array(3 * count).fill(160);
  for (let i = 0; i < count; i += 1) {
    const row = i * stride;
    positions[3 * i] = view.getFloat32(row + offsets.x, true);
    positions[3 * i + 1] = -view.getFloat32(row + offsets.y, true);
    positions[3 * i + 2] = -view.getFloat32(row + offsets.z, true);
    if (offsets.red === undefined) continue;
    ['red', 'green', 'blue'].forEach((name, channel) => { colors[3 * i + channel] = view.getUint8(row + offsets[name]); });
  }
  const depths = Array.from({ length: count }, (_, i) => -positions[3 * i + 2]).filter((depth) => depth > 0).sort((a, b) => a - b);
  const unit = depths[Math.floor(depths.length / 2)] || 1;
  for (let i = 0; i < positions.length; i += 1) positions[i] /= unit;
  const pixelSize = 1.5 / Math.sqrt(Math.max(1, count / views)); // as of a view of 60 to 90 degrees
  return { positions, colors, unit, camera: null, pixelSize };
}
