// The 3D view with its settings; loads three.js when it is first opened.

import { ASSUMED_VIEW_ANGLE, cameraOf, pointsOfDepth } from './points.js';

/** Keeps the point cloud in step with the selected item, while the view is open. */
export class CloudView {
  /** @param {(id: string) => HTMLElement} find @param {(text: string) => void} onError */
  constructor(find, onError) {
    this.find = find;
    this.onError = onError;
    this.cloud = null;
    this.loading = null;
    this.active = false;
    this.image = null; // {map, photo, pixels}
    this.scene = null;
    this.stale = true;
    this.keepView = false;
    for (const id of ['far-limit', 'point-color', 'hide-edges', 'hide-sky']) {
      find(id).addEventListener('input', () => this.refresh(true));
    }
    find('point-size').addEventListener('input', () => this.cloud?.setPointSize(this.size));
    find('reset-view').addEventListener('click', () => this.cloud?.resetView());
  }

  get size() {
    return Number(this.find('point-size').value);
  }

  /** Show the points of a depth map; `photo` is a canvas or null, `pixels` its colours by depth. */
  showImage(map, photo, pixels) {
    const same = this.image?.map === map;
    this.image = { map, photo, pixels };
    this.scene = null;
    const sky = map.skyDepth !== null;
    this.find('hide-sky').disabled = !sky;
    this.find('sky-label').textContent = sky ? 'Hide sky' : 'Hide sky (none was found)';
    this.refresh(same);
  }

  showScene(item) {
    this.image = null;
    this.scene = item.points;
    this.refresh(false);
  }

  /** Forget the last photo, and free what the GPU holds of it. */
  clear() {
    this.image = this.scene = null;
    this.refresh(false);
  }

  setActive(active) {
    this.active = active;
    if (active && this.stale) this.update();
  }

  refresh(keepView) {
    this.keepView = keepView && !this.stale;
    this.stale = true;
    if (this.active) this.update();
    else if (!this.image && !this.scene) this.close();
  }

  /** Make the points anew, if there are any and the view is open. */
  async update() {
    const cloud = await this.open();
    if (!cloud || !this.stale) return;
    this.stale = false;
    const source = this.points();
    if (!source) {
      cloud.clear();
      return;
    }
    cloud.setPointSize(this.size);
    cloud.show(source, { keepView: this.keepView });
    this.find('cloud-facts').textContent = this.facts(source);
  }

  points() {
    if (this.scene) return this.scene;
    if (!this.image) return null;
    const { map, photo, pixels } = this.image;
    const colors = photo && this.find('point-color').value === 'photo' ? sample(photo, map.width, map.height) : pixels.data;
    return pointsOfDepth(map, colors, {
      hideEdges: this.find('hide-edges').checked,
      hideSky: this.find('hide-sky').checked,
      farthest: Number(this.find('far-limit').value) / 100,
    });
  }

  facts(source) {
    const count = (source.positions.length / 3).toLocaleString('en');
    if (!source.camera) return `${count} points.`;
    const { width, fx, assumed } = { width: this.image.map.width, ...cameraOf(this.image.map) };
    const angle = assumed ? ASSUMED_VIEW_ANGLE : Math.round((2 * Math.atan(width / 2 / fx) * 180) / Math.PI);
    return assumed
      ? `${count} points. The camera is unknown: a field of view of ${angle}° is assumed.`
      : `${count} points. Field of view ${angle}° across.`;
  }

  async open() {
    if (this.cloud) return this.cloud;
    this.loading ??= import('./cloud.js').catch((error) => error);
    const module = await this.loading;
    if (this.cloud) return this.cloud;
    if (!this.active || (!this.image && !this.scene)) return null;
    try {
      this.cloud = new module.PointCloud(this.find('cloud-canvas'));
    } catch {
      this.onError('3D needs WebGL, which this browser does not offer.');
      return null;
    }
    return this.cloud;
  }

  /** Free the GPU's memory. */
  close() {
    if (!this.cloud) return;
    this.cloud.close();
    this.cloud = null;
    this.stale = true;
    // A canvas whose renderer is gone keeps its lost context: give the next one a new canvas.
    const old = this.find('cloud-canvas');
    old.replaceWith(old.cloneNode(true));
  }
}

/** Colours of a canvas at another size, RGBA. */
function sample(canvas, width, height) {
  const small = new OffscreenCanvas(width, height);
  const context = small.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(canvas, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}
