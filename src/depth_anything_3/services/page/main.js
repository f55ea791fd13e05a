// The page: wires the photos, the stage, the point cloud and the settings together.

import { getJson, onTokenNeeded } from './api.js';
import { prefersCapture, takePhoto } from './camera.js';
import { CloudView } from './cloud_view.js';
import { COLORMAPS, colorTable } from './depth.js';
import { Downloads } from './downloads.js';
import { Items } from './items.js';
import { decodePhoto, Stage } from './stage.js';

const UNITS = { metres: 'depth in metres', canonical: 'metres if the focal length is known', relative: 'relative depth' };
const RESOLUTIONS = [252, 336, 504, 672, 756, 1008, 1344];
const $ = (id) => document.getElementById(id);

const items = new Items();
const stage = new Stage($('stage'), showReading);
const cloud = new CloudView($, showError);
const downloads = new Downloads($('downloads'), $('download-status'), () => ({
  colormap: $('colormap').value, outputSize: $('output-size').value,
}));
const coarse = window.matchMedia('(pointer: coarse)');
let model = {};
let photo = null; // of the selected image: {item, canvas}; canvas: null if it cannot be decoded, undefined if not yet
let shown = null; // the depth map on the stage

// ---- What is asked of the server

async function loadModel() {
  try {
    model = await getJson('v1/models');
  } catch (error) {
    showError(`${error.title ?? 'Error'}: ${error.message}`);
    return;
  }
  const unit = UNITS[model.depth_unit] ?? UNITS.relative;
  $('model').textContent = [model.model, unit, model.licence].filter(Boolean).join(' · ');
  items.maxBytes = model.limits?.body_bytes ?? Infinity;
  const usual = Number(model.process_res) || 504;
  const sizes = RESOLUTIONS.filter((side) => 0.75 * side * side <= (model.limits?.network_pixels ?? Infinity));
  $('process-res').replaceChildren(...[...new Set([...sizes, usual])].sort((a, b) => a - b).map((size) => {
    const name = size === usual ? `${size} (usual)` : `${size} px`;
    return new Option(name, size === usual ? '' : String(size), size === usual, size === usual);
  }));
  $('focal-row').hidden = !['metres', 'canonical'].includes(model.depth_unit);
  if (items.selected) renderSelected();
}

function query() {
  const focal = $('focal-row').hidden ? '' : $('focal').value;
  return { process_res: $('process-res').value, focal };
}

function addFiles(files) {
  clearErrors();
  items.add([...files], query()).forEach(showError);
}

async function take() {
  if (prefersCapture()) {
    $('capture').click();
    return;
  }
  try {
    const file = await takePhoto($('camera-dialog'));
    if (file) addFiles([file]);
  } catch (error) {
    const reasons = { NotFoundError: 'No camera was found.', NotAllowedError: 'The camera may not be used by this page.' };
    showError(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

// ---- The selected item

async function renderSelected() {
  const item = items.selected;
  $('main').dataset.state = item ? 'result' : 'empty';
  $('welcome').hidden = item !== null;
  $('result').hidden = item === null;
  if (!item) {
    photo = shown = null;
    stage.showPhoto(null);
    cloud.close();
    return;
  }
  const isScene = item.kind === 'scene';
  $('result').dataset.kind = item.kind;
  renderMode();
  downloads.show(item, model);
  $('remove').textContent = isScene ? 'Remove scene' : 'Remove photo';
  renderProgress(item);
  if (isScene) cloud.showScene(item);
  else await renderImage(item);
}

async function renderImage(item) {
  if (photo?.item !== item) {
    const current = { item, canvas: undefined };
    photo = current;
    shown = null;
    stage.showPhoto(null);
    cloud.clear();
    current.canvas = await decodePhoto(item.files[0]);
    if (photo !== current) return;
    stage.showPhoto(current.canvas);
  }
  if (item.map && shown !== item.map && photo.canvas !== undefined) {
    shown = item.map;
    renderColors();
    renderFacts(item.map);
  }
}

function renderColors() {
  if (!shown) return;
  const [name, scale] = [$('colormap').value, $('scale').value];
  const pixels = shown.colors(name, scale);
  stage.showDepth(shown, pixels);
  cloud.showImage(shown, photo.canvas, pixels);
  const range = shown.range(scale);
  const words = (depth) => shown.words(depth).replace(` ${shown.unit}`, ''); // metres alone are said here
  $('near').textContent = range ? `near ${words(range[0])}` : 'near';
  $('far').textContent = range ? `far ${words(range[1])}` : 'far';
}

function renderLegend() {
  const table = colorTable($('colormap').value);
  const pixels = new ImageData(256, 1);
  for (let i = 0; i < 256; i += 1) pixels.data.set([table[3 * i], table[3 * i + 1], table[3 * i + 2], 255], 4 * i);
  $('legend').getContext('2d').putImageData(pixels, 0, 0);
}

function renderFacts(map) {
  const facts = [`Depth of ${map.width} × ${map.height} pixels`];
  if (map.imageSize) facts.push(`photo of ${map.imageSize[0]} × ${map.imageSize[1]}`);
  if (map.networkMs !== null) facts.push(`network ${Math.round(map.networkMs)} ms`);
  $('facts').textContent = `${facts.join(', ')}.`;
  const warnings = [...map.warnings];
  if (!photo.canvas) warnings.push('This browser cannot show this kind of photo; its depth is right.');
  $('warnings').hidden = !warnings.length;
  $('warnings').textContent = warnings.join(' ');
}

function renderMode() {
  const isScene = items.selected?.kind === 'scene';
  const mode = isScene ? 'cloud' : document.querySelector('input[name=mode]:checked').value;
  $('modes').disabled = isScene;
  $('stage').hidden = mode === 'cloud';
  $('cloud').hidden = mode !== 'cloud';
  $('reading-section').hidden = mode === 'cloud';
  $('cloud-settings').hidden = mode !== 'cloud';
  stage.setMode(mode);
  cloud.setActive(mode === 'cloud');
}

function progressText({ phase, share }, kind) {
  if (phase === 'wait') return `The server is busy. Trying again in ${share} s`;
  if (phase === 'compute') return kind === 'scene' ? 'Computing the scene' : 'Computing depth';
  return share > 0 && share < 1 ? `Uploading, ${Math.round(100 * share)} %` : 'Uploading';
}

function renderProgress(item) {
  const busy = item.status === 'waiting' || item.status === 'working';
  $('busy').hidden = !busy && item.status !== 'failed';
  $('busy').classList.toggle('failed', item.status === 'failed');
  $('busy-bar').hidden = !busy;
  $('cancel').textContent = busy ? 'Cancel' : 'Try again';
  const { progress } = item;
  const text = item.status === 'failed' ? item.error : progress ? progressText(progress, item.kind) : 'Waiting';
  if ($('busy-text').textContent !== text) $('busy-text').textContent = text;
  if (progress?.phase === 'upload') $('busy-bar').value = progress.share;
  else $('busy-bar').removeAttribute('value');
  // Screen readers say this: no numbers that change.
  const phase = { upload: 'uploading', compute: 'computing', wait: 'the server is busy' }[progress?.phase] ?? 'waiting';
  const said = `${item.name}: ${{ done: 'ready', failed: 'failed' }[item.status] ?? phase}`;
  if ($('status').textContent !== said) $('status').textContent = said;
}

function showReading(place, byKey) {
  $('reading').setAttribute('aria-live', byKey ? 'polite' : 'off');
  const text = place && shown ? shown.words(shown.at(place.column, place.row)) : '';
  $('reading').textContent = text || '–';
  document.querySelectorAll('.cross').forEach((cross) => { cross.dataset.depth = text; });
  const hint = coarse.matches ? 'Tap the photo.' : 'Move over the photo; click to keep a place.';
  $('reading-place').textContent = place ? `column ${place.column}, row ${place.row}` : hint;
}

// ---- The list of photos

function renderThumbs() {
  $('thumbs').replaceChildren(...items.all.map((item) => {
    const entry = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'thumb';
    button.addEventListener('click', () => items.select(item));
    entry.append(button);
    renderThumb(item, button);
    return entry;
  }));
  const images = items.all.filter((item) => item.kind === 'image');
  $('as-scene').hidden = !(model.scenes && model.has_cameras && images.length > 1);
}

const STATUS = { waiting: 'waiting', working: 'computing', done: 'ready', failed: 'failed' };

function renderThumb(item, button) {
  button.dataset.status = item.status;
  button.dataset.kind = item.kind;
  button.setAttribute('aria-label', `${item.name}, ${STATUS[item.status]}`);
  button.title = item.name;
  button.setAttribute('aria-current', String(items.selected === item));
  if (item.thumb && button.firstChild !== item.thumb) button.replaceChildren(item.thumb);
}

function thumbOf(item) {
  return $('thumbs').children[items.all.indexOf(item)]?.firstChild;
}

items.addEventListener('list', renderThumbs);
items.addEventListener('select', () => {
  items.all.forEach((item) => thumbOf(item) && renderThumb(item, thumbOf(item)));
  renderSelected();
});
items.addEventListener('item', ({ detail: item }) => {
  if (thumbOf(item)) renderThumb(item, thumbOf(item));
  if (item.status === 'done' && !model.model) loadModel(); // the token came later
  if (item !== items.selected) return;
  if (item.status === 'working') renderProgress(item);
  else renderSelected();
});

// ---- Errors

function showError(text) {
  const line = document.createElement('p');
  const close = document.createElement('button');
  close.type = 'button';
  close.textContent = 'Close';
  close.addEventListener('click', () => line.remove());
  line.append(text, close);
  $('errors').append(line);
}

function clearErrors() {
  $('errors').replaceChildren();
}

onTokenNeeded((refused) => new Promise((resolve) => {
  const dialog = $('token-dialog');
  $('token-title').textContent = refused ? 'The server refused this token' : 'This server asks for a token';
  $('token').value = '';
  dialog.onclose = () => resolve(dialog.returnValue === 'ok' ? $('token').value.trim() : null);
  dialog.returnValue = '';
  dialog.showModal();
}));

// ---- What the user does

document.querySelectorAll('[data-action=choose]').forEach((each) => each.addEventListener('click', () => $('files').click()));
document.querySelectorAll('[data-action=take]').forEach((each) => each.addEventListener('click', take));
for (const input of [$('files'), $('capture')]) {
  input.addEventListener('change', () => {
    addFiles(input.files);
    input.value = '';
  });
}
document.addEventListener('paste', (event) => {
  if (event.clipboardData?.files.length) addFiles(event.clipboardData.files);
});
const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
document.addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  $('drop-hint').hidden = false;
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) $('drop-hint').hidden = true;
});
document.addEventListener('drop', (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  $('drop-hint').hidden = true;
  addFiles(event.dataTransfer.files);
});
$('modes').addEventListener('change', renderMode);
$('colormap').addEventListener('change', () => {
  renderLegend();
  renderColors();
});
$('scale').addEventListener('change', renderColors);
$('cancel').addEventListener('click', () => {
  const item = items.selected;
  if (item.status === 'failed') items.again(item, item.kind === 'image' ? query() : {});
  else items.cancel(item);
});
$('recompute').addEventListener('click', () => items.again(items.selected, query()));
$('remove').addEventListener('click', () => items.remove(items.selected));
$('as-scene').addEventListener('click', () => {
  items.addScene(items.all.filter((item) => item.kind === 'image').flatMap((item) => item.files));
});

$('colormap').replaceChildren(...COLORMAPS.map((name) => new Option(name, name)));
renderLegend();
showReading(null, false);
if (coarse.matches) $('cloud-help').textContent = 'Drag to turn, pinch to zoom, two fingers to move';
loadModel();
