// The photos and scenes of this visit, and the computation of those that wait.

import { address, computeScene, discardJob, RequestError, send } from './api.js';
import { DepthMap } from './depth.js';
import { pointsOfPly } from './points.js';
import { decodePhoto } from './stage.js';

export const MAX_ITEMS = 100; // each holds its file and its depth map
const AT_ONCE = 2; // requests
const THUMB_SIDE = 160; // pixels
const IMAGE_NAME = /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif|jp2|ppm|pgm|exr|hdr)$/i;

/**
 * @typedef {object} Item
 * @property {'image'|'scene'} kind
 * @property {string} name
 * @property {File[]} files
 * @property {object} query of the request
 * @property {'waiting'|'working'|'done'|'failed'} status
 * @property {{phase: 'upload'|'compute'|'wait', share: number}|null} progress
 * @property {DepthMap|null} map of an image
 * @property {{id: string, results: object}|null} job of a scene
 * @property {object|null} points of a scene
 * @property {HTMLCanvasElement|null} thumb
 * @property {string} error
 */

/** Holds the items, and reports changes: 'list', 'select', 'item'. */
export class Items extends EventTarget {
  constructor() {
    super();
    /** @type {Item[]} */
    this.all = [];
    /** @type {Item|null} */
    this.selected = null;
    this.working = 0;
    this.maxBytes = Infinity; // of a body; a server may close the connection on larger ones without a word
  }

  tell(type, item = null) {
    this.dispatchEvent(new CustomEvent(type, { detail: item }));
  }

  /** Add image files and compute them; returns what was refused, in words. */
  add(files, query) {
    const images = files.filter((file) => file.type.startsWith('image/') || IMAGE_NAME.test(file.name));
    const refused = files.filter((file) => !images.includes(file)).map((file) => `${file.name} is not an image.`);
    const room = MAX_ITEMS - this.all.length;
    if (images.length > room) refused.push(`The page holds ${MAX_ITEMS} photos. Remove some, or use da3 images for folders.`);
    const added = images.slice(0, Math.max(0, room)).map((file) => this.make('image', file.name, [file], query));
    if (added.length) {
      this.select(added[0]);
      this.run();
    }
    return refused;
  }

  /** Compute the photos as views of one scene. */
  addScene(files) {
    const item = this.make('scene', `Scene of ${files.length} views`, files, {});
    this.select(item);
    this.run();
  }

  make(kind, name, files, query) {
    const item = {
      kind, name, files, query, status: 'waiting', progress: null, map: null, job: null, points: null, thumb: null, error: '',
      abort: new AbortController(),
    };
    this.all.push(item);
    this.tell('list');
    this.drawThumb(item);
    return item;
  }

  async drawThumb(item) {
    item.thumb = (await decodePhoto(item.files[0], THUMB_SIDE)) ?? item.thumb;
    this.tell('item', item);
  }

  select(item) {
    this.selected = item;
    this.tell('select', item);
  }

  /** Compute an item again. */
  again(item, query) {
    item.abort.abort();
    Object.assign(item, { query, status: 'waiting', progress: null, error: '', abort: new AbortController() });
    this.tell('item', item);
    this.run();
  }

  cancel(item) {
    item.abort.abort();
    if (item.status === 'waiting') this.fail(item, 'Cancelled.');
  }

  remove(item) {
    item.abort.abort();
    if (item.job) discardJob(item.job.id);
    const place = this.all.indexOf(item);
    this.all.splice(place, 1);
    if (this.selected === item) this.select(this.all[Math.min(place, this.all.length - 1)] ?? null);
    this.tell('list');
  }

  fail(item, error) {
    Object.assign(item, { status: 'failed', error, progress: null });
    this.tell('item', item);
  }

  /** Start what waits, the selected item first. */
  run() {
    while (this.working < AT_ONCE) {
      const waits = (item) => item?.status === 'waiting';
      const item = waits(this.selected) ? this.selected : this.all.find(waits);
      if (!item) return;
      item.status = 'working';
      this.working += 1;
      this.compute(item).finally(() => {
        this.working -= 1;
        this.run();
      });
    }
  }

  async compute(item) {
    const bytes = item.files.reduce((sum, file) => sum + file.size, 0);
    if (bytes > this.maxBytes) {
      this.fail(item, `${megabytes(bytes)} are too much: this server takes ${megabytes(this.maxBytes)} at a time.`);
      return;
    }
    const { signal } = item.abort;
    const onProgress = (phase, share) => {
      item.progress = { phase, share };
      this.tell('item', item);
    };
    onProgress('upload', 0);
    try {
      if (item.kind === 'scene') await computePoints(item, { signal, onProgress });
      else item.map = await computeDepth(item, { signal, onProgress });
      if (signal.aborted) return;
      item.thumb ??= item.map && drawDepth(item.map);
      Object.assign(item, { status: 'done', progress: null });
      this.tell('item', item);
    } catch (error) {
      if (signal !== item.abort.signal) return; // it is being computed again
      this.fail(item, error.name === 'AbortError' ? 'Cancelled.' : error.message);
    }
  }
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

async function computeDepth(item, options) {
  const [file] = item.files;
  const answer = await send('POST', address('v1/depth', item.query), {
    ...options, body: file, type: file.type || 'application/octet-stream', accept: 'application/octet-stream',
  });
  return DepthMap.fromAnswer(answer);
}

/** A thumbnail of a photo that this browser cannot decode. */
function drawDepth(map) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [map.width, map.height];
  canvas.getContext('2d').putImageData(map.colors('spectral', 'inverse'), 0, 0);
  return canvas;
}

async function computePoints(item, options) {
  item.job = await computeScene(item.files, options);
  const { ply } = item.job.results;
  if (typeof ply !== 'string') throw new RequestError('No points', 'The server sent no point cloud of this scene.');
  item.points = pointsOfPly((await send('GET', address(ply), options)).data, item.files.length);
}
