// Photos from a camera: the phone's own camera, or one of this computer.

const QUALITY = 0.95; // of JPEGs

/** Whether a camera is better asked through the file dialog, as on phones. */
export function prefersCapture() {
  return !navigator.mediaDevices?.getUserMedia || window.matchMedia('(pointer: coarse)').matches;
}

/**
 * Show the camera, and wait for a photo.
 *
 * @param {HTMLDialogElement} dialog of index.html
 * @returns {Promise<File|null>} null: cancelled
 * @throws if there is no camera, or it may not be used
 */
export async function takePhoto(dialog) {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false, video: { facingMode: 'environment', width: { ideal: 1920 }, height: { ideal: 1080 } },
  });
  const video = dialog.querySelector('video');
  const shutter = dialog.querySelector('#shutter');
  shutter.disabled = true; // until a frame is shown: before, the photo would be black
  const enable = () => { shutter.disabled = false; };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(enable);
  else video.onplaying = enable;
  video.srcObject = stream;
  dialog.showModal();
  try {
    const taken = await new Promise((resolve) => {
      shutter.onclick = () => resolve(true);
      dialog.querySelector('#camera-close').onclick = () => resolve(false);
      dialog.oncancel = () => resolve(false);
    });
    return taken && video.videoWidth ? await grab(video) : null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    dialog.close();
  }
}

async function grab(video) {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', QUALITY); });
  return new File([blob], 'camera.jpg', { type: 'image/jpeg' });
}
