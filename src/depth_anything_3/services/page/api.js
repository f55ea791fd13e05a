// Requests to the server: uploads with progress, waiting when it is busy, the token, and its errors.

const TOKEN = 'da3-token';
const MAX_WAITS = 40;
const MAX_WAIT = 30; // seconds

/** An error of the server, of the network or of the caller, in words for people. */
export class RequestError extends Error {
  /** @param {string} title @param {string} detail @param {number} status of HTTP; 0: no answer */
  constructor(title, detail, status = 0) {
    super(detail || title);
    this.title = title;
    this.status = status;
  }
}

let askForToken = null;
let asking = null;

/** Set what asks for the token: a function that returns a promise of it, or of null. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Make the address of a path of this server; addresses of other servers are refused. */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  if (url.origin !== window.location.origin) {
    throw new RequestError('Wrong address', `The server named an address that is not its own: ${url.origin}.`);
  }
  for (const [name, value] of Object.entries(query)) {
    if (value !== '' && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/**
 * Send a request; wait and send it again while the server is busy, and with the token if it asks for one.
 *
 * @param {string} method
 * @param {URL} url
 * @param {{body?: Blob|FormData, accept?: string, type?: string, signal?: AbortSignal,
 *   onProgress?: (phase: 'upload'|'compute'|'wait', share: number) => void}} options share of the upload, or seconds
 * @returns {Promise<{status: number, header: (name: string) => string|null, data: ArrayBuffer}>}
 */
export async function send(method, url, options = {}) {
  for (let waits = 0; ; ) {
    const token = sessionStorage.getItem(TOKEN);
    const answer = await sendOnce(method, url, options, token);
    if (answer.status >= 200 && answer.status < 300) return answer;
    if (answer.status === 401 && askForToken) {
      await renewToken(token, answer);
      continue;
    }
    const after = answer.header('Retry-After');
    if ((answer.status === 429 || (answer.status === 503 && after)) && waits < MAX_WAITS) {
      waits += 1;
      await wait(Math.min(MAX_WAIT, Math.max(0.2, Number(after) || 1)), options);
      continue;
    }
    throw problem(answer);
  }
}

/** Ask once for all requests that wait; a request that was sent with an older token is only sent again. */
async function renewToken(used, answer) {
  if (sessionStorage.getItem(TOKEN) !== used) return;
  asking ??= askForToken(used !== null).finally(() => { asking = null; });
  const token = await asking;
  if (!token) throw problem(answer);
  sessionStorage.setItem(TOKEN, token);
}

function sendOnce(method, url, { body, accept, type, signal, onProgress }, token) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new DOMException('cancelled', 'AbortError'));
    const request = new XMLHttpRequest(); // fetch reports no progress of an upload
    request.open(method, url);
    request.responseType = 'arraybuffer';
    if (accept) request.setRequestHeader('Accept', accept);
    if (type) request.setRequestHeader('Content-Type', type);
    if (token) request.setRequestHeader('Authorization', `Bearer ${token}`);
    const abort = () => request.abort();
    signal?.addEventListener('abort', abort);
    request.onloadend = () => signal?.removeEventListener('abort', abort);
    request.upload.onprogress = (event) => onProgress?.('upload', event.lengthComputable ? event.loaded / event.total : 0);
    request.upload.onload = () => onProgress?.('compute', 0);
    request.onabort = () => reject(new DOMException('cancelled', 'AbortError'));
    request.onerror = () => reject(new RequestError('No answer', 'The server cannot be reached. Is it still running?'));
    request.onload = () => resolve({
      status: request.status,
      header: (name) => request.getResponseHeader(name),
      data: request.response ?? new ArrayBuffer(0),
    });
    request.send(body ?? null);
  });
}

/** Wait, and report each second that is left. */
function wait(seconds, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const end = performance.now() + 1000 * seconds;
    let timer = 0;
    const abort = () => {
      clearTimeout(timer);
      reject(new DOMException('cancelled', 'AbortError'));
    };
    const tick = () => {
      const left = end - performance.now();
      if (left <= 0) {
        signal?.removeEventListener('abort', abort);
        return resolve();
      }
      onProgress?.('wait', Math.ceil(left / 1000));
      timer = setTimeout(tick, Math.min(1000, left));
    };
    if (signal?.aborted) return abort();
    signal?.addEventListener('abort', abort);
    tick();
  });
}

const PLAIN = {
  401: 'The token is missing or wrong.',
  403: 'The server does not accept requests from this page.',
  413: 'The photo is too large for this server.',
  415: 'The server cannot read this kind of file.',
  429: 'The server is busy. Try again later.',
  503: 'The server is starting or stopping. Try again later.',
  504: 'The server took too long.',
};

/** Make an error of an answer: problem+json (RFC 9457), or whatever else came. */
function problem({ status, data, header }) {
  const plain = PLAIN[status] ?? `The server answered with status ${status}.`;
  if (/json/.test(header('Content-Type') ?? '')) {
    try {
      const { title, detail } = JSON.parse(new TextDecoder().decode(data));
      const said = typeof detail === 'string' ? detail : '';
      return new RequestError(typeof title === 'string' ? title : plain, said || plain, status);
    } catch { /* not JSON after all */ }
  }
  return new RequestError(plain, plain, status);
}

/** Get a JSON document. */
export async function getJson(path, signal) {
  const { data } = await send('GET', address(path), { accept: 'application/json', signal });
  return JSON.parse(new TextDecoder().decode(data));
}

/**
 * Compute views of one scene as a job, and wait for it.
 *
 * @param {File[]} files
 * @param {{signal?: AbortSignal, onProgress?: Function}} options
 * @returns {Promise<{id: string, results: Record<string, string|string[]>}>}
 */
export async function computeScene(files, options) {
  const body = new FormData();
  for (const file of files) body.append('images', file, file.name);
  const { data } = await send('POST', address('v1/scenes'), { ...options, body, accept: 'application/json' });
  const job = JSON.parse(new TextDecoder().decode(data));
  try {
    for (;;) {
      const state = await getJson(job.status_url ?? `v1/jobs/${job.id}`, options.signal);
      if (state.status === 'done') return { id: job.id, results: state.results };
      if (state.status === 'failed') {
        const { error } = state;
        throw new RequestError('The scene failed', typeof error === 'string' ? error : error?.detail ?? '');
      }
      options.onProgress?.('compute', 0);
      await wait(0.5, { signal: options.signal });
    }
  } catch (error) {
    discardJob(job.id);
    throw error;
  }
}

/** Ask the server to forget a job; it does so by itself later. */
export function discardJob(id) {
  send('DELETE', address(`v1/jobs/${encodeURIComponent(id)}`)).catch(() => {});
}

/** Save bytes as a file of the user's. */
export function save(data, name, type) {
  const url = URL.createObjectURL(new Blob([data], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
