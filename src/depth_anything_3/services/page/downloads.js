// Downloads: the same request in another format, or a result of a job.

import { address, computeScene, discardJob, save, send } from './api.js';

const FORMATS = [
  { type: 'image/png', suffix: '.png', name: 'PNG', note: '16 bits' },
  { type: 'application/x-npz', suffix: '.npz', name: 'NPZ', note: 'NumPy' },
  { type: 'image/x-exr', suffix: '.exr', name: 'EXR', note: 'float' },
  { type: 'image/tiff', suffix: '.tiff', name: 'TIFF', note: 'float' },
  { type: 'image/jpeg', suffix: '.jpg', name: 'JPEG', note: 'colours' },
  { type: 'application/octet-stream', suffix: '.f32', name: 'Raw', note: 'float32' },
];
const SCENE_FORMATS = [
  { key: 'glb', suffix: '.glb', name: 'GLB', note: '3D', type: 'model/gltf-binary' },
  { key: 'ply', suffix: '.ply', name: 'PLY', note: 'points', type: 'application/octet-stream' },
  { key: 'npz', suffix: '.npz', name: 'NPZ', note: 'NumPy', type: 'application/x-npz' },
];

/** A button for each format of the selected item. */
export class Downloads {
  /** @param {HTMLElement} root @param {HTMLElement} status @param {() => object} choices colormap and output_size */
  constructor(root, status, choices) {
    this.root = root;
    this.status = status;
    this.choices = choices;
    this.model = {};
  }

  /** Offer what the server can make of an item. */
  show(item, model) {
    this.model = model;
    const listed = JSON.stringify(model.formats ?? []);
    const offered = item.kind === 'scene'
      ? SCENE_FORMATS.filter(({ key }) => typeof item.job?.results[key] === 'string')
      : [
        ...FORMATS.filter(({ type }) => !model.formats || listed.includes(type)),
        ...(model.scenes && model.has_cameras ? SCENE_FORMATS.slice(0, 2) : []),
      ];
    this.root.replaceChildren(...offered.map((format) => this.button(item, format)));
  }

  button(item, format) {
    const button = document.createElement('button');
    const note = document.createElement('small');
    note.textContent = format.note;
    button.type = 'button';
    button.dataset.format = format.suffix;
    button.append(format.name, note);
    button.disabled = item.status !== 'done';
    button.addEventListener('click', () => this.start(item, format, button));
    return button;
  }

  async start(item, format, button) {
    button.disabled = true;
    const stem = item.kind === 'scene' ? 'scene' : item.name.replace(/\.[^.]*$/, '') || 'photo';
    const name = item.kind === 'scene' || format.key ? `${stem}${format.suffix}` : `${stem}_depth${format.suffix}`;
    const onProgress = (phase, left) => {
      this.status.textContent = phase === 'wait' ? `The server is busy; again in ${left} s.` : `Preparing ${name} …`;
    };
    onProgress('compute', 0);
    try {
      save(await this.fetch(item, format, onProgress), name, format.type);
      this.status.textContent = `${name} is ready.`;
    } catch (error) {
      this.status.textContent = error.message;
    }
    button.disabled = false;
  }

  async fetch(item, format, onProgress) {
    if (item.kind === 'scene') return (await send('GET', address(item.job.results[format.key]), { onProgress })).data;
    if (format.key) {
      const job = await computeScene(item.files, { onProgress });
      try {
        return (await send('GET', address(job.results[format.key]), { onProgress })).data;
      } finally {
        discardJob(job.id);
      }
    }
    const { colormap, outputSize } = this.choices();
    const query = { ...item.query };
    if (outputSize !== 'network') query.output_size = outputSize;
    if (format.type === 'image/jpeg') query.colormap = colormap;
    const [file] = item.files;
    const options = { body: file, type: file.type || 'application/octet-stream', accept: format.type, onProgress };
    return (await send('POST', address('v1/depth', query), options)).data;
  }
}
