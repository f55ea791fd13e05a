// Photo and depth, over or beside each other, and the depth of the pixel under the pointer.

const MAX_SIDE = 2048; // of the photo on the page, in pixels

/** Decode an image file, upright and no larger than needed; null if this browser cannot. */
export async function decodePhoto(file, maxSide = MAX_SIDE) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const scale = Math.min(1, maxSide / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/** Draw `source` into `target` at its size. */
function copyInto(target, source) {
  target.width = source.width;
  target.height = source.height;
  target.getContext('2d').drawImage(source, 0, 0);
}

/** Shows one photo and its depth map. */
export class Stage {
  /**
   * @param {HTMLElement} root with the elements of index.html
   * @param {(pixel: {column: number, row: number}|null, byKey: boolean) => void} onRead
   */
  constructor(root, onRead) {
    this.root = root;
    this.onRead = onRead;
    const find = (name) => root.querySelector(name);
    [this.photo, this.depth] = [find('#photo'), find('#depth')];
    this.panes = [find('#photo-pane'), find('#depth-pane')];
    [this.probe, this.split] = [find('#probe'), find('#split')];
    this.map = null;
    this.place = null; // column and row of the depth map
    this.pinned = false;
    this.split.addEventListener('input', () => this.moveSplit());
    this.probe.addEventListener('pointermove', (event) => this.pinned || this.readAt(event));
    this.probe.addEventListener('pointerdown', (event) => {
      this.pinned = false;
      this.readAt(event);
      this.pinned = event.pointerType === 'mouse' && this.place !== null;
    });
    this.probe.addEventListener('pointerleave', (event) => {
      if (event.pointerType === 'mouse' && !this.pinned) this.read(null);
    });
    this.probe.addEventListener('keydown', (event) => this.onKey(event));
    this.moveSplit();
  }

  /** Show a photo without depth, or nothing if it is null. */
  showPhoto(canvas) {
    this.map = null;
    this.read(null);
    this.pinned = false;
    this.root.classList.toggle('no-photo', !canvas);
    this.root.classList.add('no-depth');
    if (canvas) copyInto(this.photo, canvas);
    else this.photo.width = this.photo.height = 1;
    this.depth.width = this.depth.height = 1;
    this.setRatio(canvas?.width ?? 4, canvas?.height ?? 3);
  }

  /** Show a depth map in colours. */
  showDepth(map, pixels) {
    this.map = map;
    this.root.classList.remove('no-depth');
    this.depth.width = map.width;
    this.depth.height = map.height;
    this.depth.getContext('2d').putImageData(pixels, 0, 0);
    if (this.root.classList.contains('no-photo')) this.setRatio(...(map.imageSize ?? [map.width, map.height]));
    if (this.place) this.read(this.place);
  }

  setMode(mode) {
    this.root.dataset.mode = mode;
    this.root.parentElement.dataset.mode = mode;
  }

  setRatio(width, height) {
    this.root.parentElement.style.setProperty('--ratio', String(width / height));
  }

  moveSplit() {
    const share = Number(this.split.value);
    this.root.style.setProperty('--split', `${share}%`);
    this.split.setAttribute('aria-valuetext', `${Math.round(share)} percent photo`);
  }

  /** Read the pixel of the pane under the pointer. */
  readAt({ clientX, clientY }) {
    if (!this.map) return;
    for (const pane of this.panes) {
      const box = pane.getBoundingClientRect();
      const x = (clientX - box.left) / box.width;
      const y = (clientY - box.top) / box.height;
      if (x >= 0 && x < 1 && y >= 0 && y < 1) {
        this.read({ column: Math.floor(x * this.map.width), row: Math.floor(y * this.map.height) });
        return;
      }
    }
    this.read(null);
  }

  read(place, byKey = false) {
    this.place = this.map ? place : null;
    this.root.classList.toggle('reading', this.place !== null);
    if (this.place) {
      this.root.style.setProperty('--x', `${(100 * (place.column + 0.5)) / this.map.width}%`);
      this.root.classList.toggle('at-right', place.column > this.map.width / 2);
      this.root.style.setProperty('--y', `${(100 * (place.row + 0.5)) / this.map.height}%`);
    }
    this.onRead(this.place, byKey);
  }

  onKey(event) {
    if (!this.map) return;
    if (event.key === 'Escape') {
      this.pinned = false;
      this.read(null);
      return;
    }
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const { width, height } = this.map;
    const size = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 50));
    const from = this.place ?? { column: Math.floor(width / 2), row: Math.floor(height / 2) };
    const clamp = (value, end) => Math.max(0, Math.min(end - 1, value));
    this.pinned = true;
    this.read({ column: clamp(from.column + size * step[0], width), row: clamp(from.row + size * step[1], height) }, true);
  }
}
