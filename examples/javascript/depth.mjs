// JPEG to depth under Node: node depth.mjs PHOTO.jpg PLAN.json MODEL.onnx OUTPUT
//
// Writes OUTPUT.f32 (depth: float32, little-endian, row by row) and OUTPUT.pgm (16 bits, near is bright, for viewers).
import { readFileSync, writeFileSync } from "node:fs";
import jpeg from "jpeg-js";
import * as ort from "onnxruntime-web";
import { networkInput } from "./network_input.mjs";

async function main(photo, planFile, modelFile, output) {
  if (output === undefined) throw new Error("usage: node depth.mjs PHOTO.jpg PLAN.json MODEL.onnx OUTPUT");
  const plan = JSON.parse(readFileSync(planFile, "utf8"));
  if (plan.version !== 1) throw new Error(`${planFile}: version ${plan.version}, but this program reads version 1`);
  const [image] = plan.images;
  const [height, width] = image.target_hw;
  const decoded = jpeg.decode(readFileSync(photo), { useTArray: true, formatAsRGBA: false, maxMemoryUsageInMB: 2048 });
  const pixels = networkInput(decoded.data, 3, image, plan);
  const inputs = { image: new ort.Tensor("uint8", pixels, [1, height, width, 3]) };

  const session = await ort.InferenceSession.create(readFileSync(modelFile), { executionProviders: ["wasm"] });
  if (session.inputMetadata[0].type !== "uint8") throw new Error(`${modelFile}: export it with --input uint8`);
  if (session.inputNames.includes("focal")) {
    if (!image.focal) throw new Error(`${photo}: unknown focal length; make the plan with --focal or --fov`);
    inputs.focal = new ort.Tensor("float32", [image.focal.pixels], [1]);
  }
  const { depth } = await session.run(inputs);

  const [nearest, farthest] = range(depth.data);
  writeFileSync(`${output}.f32`, new Uint8Array(depth.data.buffer, depth.data.byteOffset, depth.data.byteLength));
  writeFileSync(`${output}.pgm`, asPgm(depth.data, width, height, nearest, farthest));
  console.log(`${width}x${height} pixels, depth from ${nearest.toPrecision(5)} to ${farthest.toPrecision(5)}`);
}

function range(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  return [least, most];
}

function asPgm(depth, width, height, nearest, farthest) {
  const samples = Buffer.alloc(2 * depth.length);
  const span = 1 / nearest - 1 / farthest || 1;
  depth.forEach((value, i) => samples.writeUInt16BE(Math.round((65535 * (1 / value - 1 / farthest)) / span), 2 * i));
  return Buffer.concat([Buffer.from(`P5\n${width} ${height}\n65535\n`), samples]);
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message}`);
  process.exit(1);
});
