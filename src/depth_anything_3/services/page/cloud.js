// A point cloud that the mouse, fingers and keys turn. Draws only when something changed.

import {
  BufferAttribute, BufferGeometry, OrbitControls, PerspectiveCamera, Points, Scene, ShaderMaterial, WebGLRenderer,
} from './vendor/three.min.js';

const TURN = 0.06; // radians a key press
const MOVE = 24; // pixels a key press
const ZOOM = 0.92;
const START = { turn: -0.16, tilt: 0.07, back: 1.12 }; // from the camera's own place, so that depth is seen at once
const VIEW_ANGLE = 50; // degrees, without a camera

// A point is as large as its pixel was, seen from the camera: size grows with the distance from it.
const VERTEX = `
attribute vec3 color; uniform float size; uniform float height; varying vec3 tint;
void main() {
  tint = color;
  vec4 place = modelViewMatrix * vec4(position, 1.0);
  gl_Position = projectionMatrix * place;
  gl_PointSize = clamp(size * length(position) * projectionMatrix[1][1] * 0.5 * height / max(-place.z, 1e-4), 1.0, 64.0);
}`;
const FRAGMENT = 'varying vec3 tint; void main() { gl_FragColor = vec4(tint, 1.0); }';

/** Shows one point cloud on a canvas. `close` frees what the GPU holds. */
export class PointCloud {
  /** @param {HTMLCanvasElement} canvas focusable @throws without WebGL */
  constructor(canvas) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({ canvas, antialias: false, alpha: true, powerPreference: 'low-power' });
    this.renderer.setClearColor(0, 0);
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(VIEW_ANGLE, 1, 0.005, 2000);
    this.material = new ShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms: { size: { value: 0 }, height: { value: 1 } },
    });
    this.points = null;
    this.pointSize = 1;
    this.pixelSize = 1;
    this.source = null;
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.minDistance = 0.02;
    this.controls.maxDistance = 200;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener('change', () => this.draw());
    this.controls.addEventListener('start', () => canvas.classList.add('moved'));
    this.keys = (event) => this.onKey(event);
    canvas.addEventListener('keydown', this.keys);
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(canvas);
    this.pending = 0;
  }

  /** Show points as `pointsOfDepth` makes them, in place of the last ones. */
  show(source, { keepView = false } = {}) {
    this.clear();
    const geometry = new BufferGeometry();
    geometry.setAttribute('position', new BufferAttribute(source.positions, 3));
    geometry.setAttribute('color', new BufferAttribute(source.colors, 3, true));
    this.points = new Points(geometry, this.material);
    this.points.frustumCulled = false;
    this.scene.add(this.points);
    this.pixelSize = source.pixelSize;
    this.source = source;
    if (!keepView) this.resetView();
    this.draw();
  }

  /** Remove the points, and free what the GPU holds of them. */
  clear() {
    this.points?.geometry.dispose();
    this.points?.removeFromParent();
    this.points = this.source = null;
    this.draw();
  }

  /** Look from near the camera of the photo. */
  resetView() {
    this.fit();
    const distance = 1; // the median depth
    this.controls.target.set(0, 0, -distance);
    this.camera.up.set(0, 1, 0);
    this.camera.position.set(0, 0, 0);
    this.controls.update();
    this.controls.dollyOut(1 / START.back);
    this.controls.rotateLeft(START.turn);
    this.controls.rotateUp(START.tilt);
    this.controls.update();
    this.draw();
  }

  setPointSize(factor) {
    this.pointSize = factor;
    this.draw();
  }

  /** Choose the field of view so that the photo fills the canvas. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.camera.aspect = width / height;
    const photo = this.source?.camera;
    if (photo) {
      const [x, y] = [photo.width / 2 / photo.fx, photo.height / 2 / photo.fy];
      this.camera.fov = (2 * Math.atan(Math.max(y, x / this.camera.aspect)) * 180) / Math.PI;
    } else {
      this.camera.fov = VIEW_ANGLE;
    }
    this.camera.updateProjectionMatrix();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    this.renderer.setSize(width, height, false);
    this.fit();
    this.draw();
  }

  /** Draw with the next frame of the screen. */
  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.material.uniforms.size.value = this.pixelSize * this.pointSize;
      this.material.uniforms.height.value = this.canvas.height;
      this.renderer.render(this.scene, this.camera);
      this.canvas.dataset.points = this.renderer.info.render.points;
      this.canvas.dataset.geometries = this.renderer.info.memory.geometries;
    });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [x, y] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (x || y) {
      if (event.shiftKey) this.controls.pan(MOVE * x, MOVE * y);
      else if (x) this.controls.rotateLeft(TURN * x);
      else this.controls.rotateUp(TURN * y);
    } else if (event.key === '+' || event.key === '=') this.controls.dollyIn(ZOOM);
    else if (event.key === '-') this.controls.dollyOut(ZOOM);
    else if (event.key === 'r' || event.key === 'R' || event.key === 'Home') this.resetView();
    else return;
    event.preventDefault();
    this.controls.update();
    this.draw();
  }

  close() {
    cancelAnimationFrame(this.pending);
    this.watch.disconnect();
    this.canvas.removeEventListener('keydown', this.keys);
    this.controls.dispose();
    this.points?.geometry.dispose();
    this.material.dispose();
    this.renderer.dispose();
  }
}
