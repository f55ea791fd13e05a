// Ask a server for the depth of photos and print a line for each.
//
//     node examples/serve/client.mjs photo.jpg other.jpg

import { readFile } from "node:fs/promises";

const URL_OF_SERVER = process.env.DA3_URL ?? "http://127.0.0.1:8008";
const TOKEN = process.env.DA3_TOKEN;

/** Return depth as { depth: Float32Array, width, height, unit }; wait as long as a busy server asks. */
async function depthOf(image) {
  const headers = { Accept: "application/octet-stream", ...(TOKEN && { Authorization: `Bearer ${TOKEN}` }) };
  for (;;) {
    const answer = await fetch(`${URL_OF_SERVER}/v1/depth`, { method: "POST", headers, body: image });
    if (answer.status === 429) {
      const seconds = Number(answer.headers.get("Retry-After"));
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    if (!answer.ok) {
      const problem = await answer.json(); // application/problem+json
      throw new Error(`${problem.detail} (${problem.type})`);
    }
    const [height, width] = answer.headers.get("X-Depth-Shape").split(",").map(Number);
    // Little-endian, as the typed arrays of nearly all machines.
    return { depth: new Float32Array(await answer.arrayBuffer()), width, height, unit: answer.headers.get("X-Depth-Unit") };
  }
}

for (const name of process.argv.slice(2)) {
  try {
    const { depth, width, height, unit } = await depthOf(await readFile(name));
    let [least, most] = [Infinity, 0];
    for (const value of depth) {
      if (value > 0) [least, most] = [Math.min(least, value), Math.max(most, value)];
    }
    console.log(`${name}: ${width}x${height}, ${least.toFixed(3)} to ${most.toFixed(3)}, ${unit}`);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    process.exitCode = 1;
  }
}
