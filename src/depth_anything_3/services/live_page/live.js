// The numbers below the image, once a second; the image again after the server was away.

const numbers = document.getElementById('numbers');
const image = document.getElementById('image');
let lost = false;

function row(name, value) {
  const [one, dt, dd] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag));
  dt.textContent = name.replaceAll('_', ' ');
  dd.textContent = value ?? '-';
  one.append(dt, dd);
  return one;
}

async function refresh() {
  try {
    const values = await (await fetch('/stats.json', { cache: 'no-store' })).json();
    numbers.replaceChildren(...Object.entries(values).map(([name, value]) => row(name, value)));
    if (lost) {
      lost = false;
      image.src = `/stream.mjpg?${Date.now()}`;
    }
  } catch {
    lost = true;
    numbers.textContent = 'the stream has ended, or is out of reach';
  }
}

refresh();
setInterval(refresh, 1000);
