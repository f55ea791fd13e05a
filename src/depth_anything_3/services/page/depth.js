// Depth maps: what the server sends, their range, and their colours.

import { TABLES } from './colormaps.js';

const SKY_SHARE = 0.004; // of the image: that many pixels of exactly one depth are sky, which the network's own depth does not hold
const MIN_RANGE = 10; // as the server: no range is computed from that few pixels
const PERCENTILE = 0.02;

/** A depth map with what is known about it. */
export class DepthMap {
  /**
   * @param {Float32Array} values (H, W); depths that are not finite, or not above 0, are invalid
   * @param {number} width
   * @param {number} height
   * @param {{unit?: string, intrinsics?: number[]|null, imageSize?: number[]|null, warnings?: string[],
   *   networkMs?: number|null}} facts
   */
  constructor(values, width, height, facts = {}) {
    this.values = values;
    this.width = width;
    this.height = height;
    this.unit = facts.unit ?? 'relative'; // or 'metres', or 'canonical': metres / focal length, without its factor
    this.intrinsics = facts.intrinsics ?? null; // fx, fy, cx, cy in pixels of this map
    this.imageSize = facts.imageSize ?? null; // width, height
    this.warnings = facts.warnings ?? [];
    this.networkMs = facts.networkMs ?? null;
    this.sorted = values.filter(isValid).sort();
  }

  /** Make it of an answer to `POST /v1/depth` in `application/octet-stream`. */
  static fromAnswer({ header, data }) {
    const [height, width] = numbers(header('X-Depth-Shape')) ?? [];
    if (!(height > 0 && width > 0) || data.byteLength !== 4 * height * width) {
      throw new Error(`The server sent ${data.byteLength} bytes for a depth map of ${width} x ${height}.`);
    }
    const warnings = header('X-Warnings');
    return new DepthMap(readFloats(data), width, height, {
      unit: header('X-Depth-Unit'),
      intrinsics: numbers(header('X-Depth-Intrinsics'), 4),
      imageSize: numbers(header('X-Image-Size'), 2),
      networkMs: numbers(header('X-Network-Ms'))?.[0],
      warnings: warnings ? decodeURIComponent(warnings.replaceAll('+', ' ')).split('\n').filter(Boolean) : [],
    });
  }

  /** Depth of a pixel; null if it is invalid. */
  at(column, row) {
    const value = this.values[row * this.width + column];
    return isValid(value) ? value : null;
  }

  /** A quantile of the valid depths, interpolated; 0 without any. */
  quantile(share) {
    const last = this.sorted.length - 1;
    if (last < 0) return 0;
    const place = share * last;
    const low = Math.floor(place);
    const next = this.sorted[Math.min(low + 1, last)];
    return this.sorted[low] + (next - this.sorted[low]) * (place - low);
  }

  /** Depth that the sky is filled with; null if there is none. */
  get skyDepth() {
    const { sorted } = this;
    const needed = Math.max(2, Math.ceil(SKY_SHARE * this.values.length));
    // It is filled with a high quantile of the other depths: equal depths in the farther half, as many as are needed.
    for (let i = sorted.length - 1; i - needed + 1 > sorted.length / 2; i -= 1) {
      if (sorted[i] === sorted[i - needed + 1]) return sorted[i] === sorted[0] ? null : sorted[i];
    }
    return null;
  }

  /** Nearest and farthest depth of the colours: the percentiles 2 and 98. */
  range(scale) {
    if (this.sorted.length <= MIN_RANGE) return null;
    const [near, far] = [this.quantile(PERCENTILE), this.quantile(1 - PERCENTILE)];
    if (scale === 'linear') return [near, far];
    return [1 / this.inverseQuantile(1 - PERCENTILE), 1 / this.inverseQuantile(PERCENTILE)];
  }

  /** A quantile of inverse depth: interpolated between inverse depths, as the server does. */
  inverseQuantile(share) {
    const { sorted } = this;
    const last = sorted.length - 1;
    const place = share * last;
    const low = Math.floor(place);
    const [a, b] = [1 / sorted[last - low], 1 / sorted[last - Math.min(low + 1, last)]];
    return a + (b - a) * (place - low);
  }

  /**
   * Colour the map; with inverse depth, as the server does.
   *
   * @param {string} name of the colour map
   * @param {'inverse'|'linear'} scale
   * @returns {ImageData} invalid depth gets the colour of the farthest depth
   */
  colors(name, scale) {
    const table = colorTable(name);
    const pixels = new ImageData(this.width, this.height);
    const { data } = pixels;
    const inverse = scale !== 'linear';
    const range = this.range(scale) ?? [1, 1];
    let [near, far] = inverse ? range.map((depth) => 1 / depth) : range;
    if (near === far) [near, far] = inverse ? [near + 1e-6, far - 1e-6] : [near - 1e-6, far + 1e-6];
    const factor = 256 / (far - near);
    for (let i = 0; i < this.values.length; i += 1) {
      const depth = this.values[i];
      let row = 255;
      if (isValid(depth)) row = Math.max(0, Math.min(255, Math.floor(((inverse ? 1 / depth : depth) - near) * factor)));
      data[4 * i] = table[3 * row];
      data[4 * i + 1] = table[3 * row + 1];
      data[4 * i + 2] = table[3 * row + 2];
      data[4 * i + 3] = 255;
    }
    return pixels;
  }

  /** A depth in words. */
  words(depth) {
    if (depth === null) return 'no depth';
    const digits = depth >= 100 ? 0 : depth >= 10 ? 1 : depth >= 1 ? 2 : 3;
    return `${depth.toFixed(digits)} ${this.unit === 'metres' ? 'm' : this.unit}`;
  }
}

/** Names of the colour maps. */
export const COLORMAPS = Object.keys(TABLES);

const decoded = new Map();

/** Colours of a map from near to far, 256 times RGB. */
export function colorTable(name) {
  if (!decoded.has(name)) decoded.set(name, Uint8Array.from(atob(TABLES[name]), (letter) => letter.charCodeAt(0)));
  return decoded.get(name);
}

export function isValid(depth) {
  return depth > 0 && depth < Infinity;
}

/** Numbers separated by commas; null unless there are `count` finite ones. */
function numbers(text, count) {
  if (!text) return null;
  const values = text.split(',').map(Number);
  return values.every(Number.isFinite) && (count === undefined || values.length === count) ? values : null;
}

/** Little-endian float32. */
function readFloats(data) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Float32Array(data);
  const view = new DataView(data);
  return Float32Array.from({ length: data.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
