// The explorer of a latent space: one point and one class, decoded after every change.
"use strict";

const byId = (id) => document.getElementById(id);
const held = (id) => JSON.parse(byId(id).textContent);

function heldBytes(id) {
  return jaxgenEngine.bytesOf(byId(id).textContent);
}

// (latents, label) => values in [0, 1], from the decoder's weights.
function compiledDecoder(program) {
  const run = jaxgenEngine.compile(program, heldBytes("weights"));
  return (latents, label) => (program.inputs.length > 1 ? run(latents, [label]) : run(latents));
}

// The same from pictures made beforehand: that of the nearest latents of the same class.
function precomputedDecoder({ count, labels, shape, latentSize }) {
  const bytes = heldBytes("precomputed-pictures");
  const known = jaxgenEngine.reader(heldBytes("precomputed-latents"))("float32", count * latentSize);
  const size = shape[0] * shape[1] * shape[2];
  return (latents, label) => {
    let best = 0, least = Infinity;
    for (let n = 0; n < count; n++) {
      if (labels && labels[n] !== label) continue;
      let distance = 0;
      for (let d = 0; d < latentSize; d++) distance += (known[n * latentSize + d] - latents[d]) ** 2;
      if (distance < least) [best, least] = [n, distance];
    }
    return Float32Array.from(bytes.subarray(best * size, (best + 1) * size), (byte) => byte / 255);
  };
}

function normal() {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

// A point between two, t in [0, 1]; the spherical path keeps to the length of its ends.
function between(a, b, t, spherical) {
  const dot = (x, y) => x.reduce((sum, value, d) => sum + value * y[d], 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  const angle = lengths > 0 ? Math.acos(Math.min(1, Math.max(-1, dot(a, b) / lengths))) : 0;
  const sine = Math.sin(angle);
  const straight = !spherical || sine < 1e-3;
  const p = straight ? 1 - t : Math.sin((1 - t) * angle) / sine;
  const q = straight ? t : Math.sin(t * angle) / sine;
  return a.map((value, d) => p * value + q * b[d]);
}

async function explore() {
  const about = held("about");
  const { imageShape, latentSize, order, axes, center, labels, thumbnail, columns } = about;
  const decode = about.program
    ? compiledDecoder(about.program)
    : precomputedDecoder({ ...about.precomputed, shape: imageShape, latentSize });
  const all = jaxgenEngine.reader(heldBytes("latents"))("float32", about.numImages * latentSize);
  const latentsOf = (n) => all.slice(n * latentSize, (n + 1) * latentSize);
  const images = await jaxgenPictures.sheet(byId("images"), thumbnail, columns);

  let latents = Float32Array.from(center);
  let label = 0;
  let waiting = false;

  // The picture.

  const project = (z) => axes.map((axis) => axis.reduce((sum, v, d) => sum + v * (z[d] - center[d]), 0));

  function show() {
    waiting = false;
    const before = performance.now();
    const values = decode(latents, label);
    const milliseconds = performance.now() - before;
    jaxgenPictures.draw(byId("picture"), values, imageShape);
    byId("speed").textContent = `decoded in ${milliseconds.toFixed(1)} ms`;
    map.show(project(latents));
    nearest.later();
  }

  function changed() {
    for (const update of updates) update();
    if (!waiting) requestAnimationFrame(show);
    waiting = true;
  }

  function goTo(z) {
    latents = Float32Array.from(z);
    changed();
  }

  // Sliders, the most active dimension first.

  const updates = order.map((dimension, rank) => {
    const row = document.createElement("div");
    row.className = "slider";
    const id = `latent-${dimension}`;
    row.innerHTML =
      `<label for="${id}">latent ${dimension}</label>` +
      `<input type="range" id="${id}" min="${-about.reach}" max="${about.reach}" step="0.01">` +
      `<output for="${id}"></output>`;
    const [, input, output] = row.children;
    row.title = `${about.activityName}: ${about.activity[dimension].toPrecision(3)}`;
    input.addEventListener("input", () => {
      latents[dimension] = Number(input.value);
      changed();
    });
    byId(rank < about.numFirst ? "sliders" : "more-sliders").append(row);
    return () => {
      input.value = latents[dimension];
      output.textContent = latents[dimension].toFixed(2);
    };
  });

  // Interpolation between two images.

  let ends = [0, Math.min(1, about.numImages - 1)];
  let next = 0;
  let painting = 0;

  const path = (t) => between(latentsOf(ends[0]), latentsOf(ends[1]), t, byId("path").value === "spherical");

  function showEnds() {
    ["start", "end"].forEach((id, n) => {
      images.drawOn(byId(id), ends[n]);
      byId(id).setAttribute("aria-label", `${id}: ${nameOf(ends[n])}`);
    });
    map.mark(ends);
    const cells = [...byId("strip").children];
    const current = ++painting;
    function paint(n) {
      if (current !== painting || n === cells.length) return;
      const values = decode(path(n / (cells.length - 1)), label);
      jaxgenPictures.draw(cells[n], values, imageShape);
      requestAnimationFrame(() => paint(n + 1));
    }
    paint(0);
  }

  function pick(n) {
    ends[next] = n;
    byId("t").value = next;
    next = 1 - next;
    byId("next").textContent = next ? "end" : "start";
    if (about.numClasses && labels) setLabel(labels[n]);
    goTo(latentsOf(n));
    showEnds();
  }

  function nameOf(n) {
    return `${about.imageName} ${n + 1}` + (labels ? `, class ${about.classNames[labels[n]]}` : "");
  }

  byId("t").addEventListener("input", () => goTo(path(Number(byId("t").value))));
  byId("path").addEventListener("change", showEnds);

  for (let n = 0; n < Math.min(about.numImages, about.numThumbnails); n++) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", nameOf(n));
    const canvas = document.createElement("canvas");
    canvas.className = "pixels";
    images.drawOn(canvas, n);
    button.append(canvas);
    button.addEventListener("click", () => pick(n));
    byId("thumbnails").append(button);
  }

  // The map.

  const points = Array.from({ length: about.numImages }, (_, n) => project(latentsOf(n)));
  const map = jaxgenMap(byId("map"), {
    points,
    labels,
    colours: about.classColours,
    onMove: (x, y) => goTo(center.map((c, d) => c + x * axes[0][d] + y * axes[1][d])),
    onPick: pick,
  });
  if (labels && about.hasLegend) {
    about.classNames.forEach((name, n) => {
      const entry = document.createElement("span");
      entry.textContent = name;
      entry.style.setProperty("--colour", about.classColours[n]);
      byId("legend").append(entry);
    });
  }

  // The class, and the rest of the buttons.

  function setLabel(value) {
    label = value;
    byId("condition").value = String(value);
  }

  if (about.numClasses) {
    byId("condition").addEventListener("change", () => {
      label = Number(byId("condition").value);
      changed();
      showEnds();
    });
  }
  byId("draw").addEventListener("click", () => goTo(Array.from({ length: latentSize }, normal)));
  byId("centre").addEventListener("click", () => goTo(center));

  const nearest = await nearestTrainingImages(about, () => decode(latents, label));
  if (about.numClasses && labels) setLabel(labels[0]);
  goTo(latentsOf(0));
  showEnds();
  window.jaxgenExplorer = { decode, latentsOf, get latents() { return latents; } };
  document.body.dataset.ready = "true";
}

// Training images that look most like the picture, found once it has stood still for a moment.
async function nearestTrainingImages({ imageShape, thumbnail, training }, picture) {
  if (!training) return { later() {} };
  const sheet = await jaxgenPictures.sheet(byId("training-images"), thumbnail, training.columns);
  const known = Array.from({ length: training.count }, (_, n) => sheet.values(n));
  let timer = 0;

  function find() {
    const values = jaxgenPictures.reduced(picture(), imageShape, thumbnail);
    const distances = known.map((other, n) => {
      let sum = 0;
      for (let i = 0; i < values.length; i++) sum += (values[i] - other[i]) ** 2;
      return [Math.sqrt(sum / values.length), n];
    });
    distances.sort((a, b) => a[0] - b[0]);
    [...byId("nearest").children].forEach((figure, rank) => {
      const [distance, n] = distances[Math.min(rank, distances.length - 1)];
      sheet.drawOn(figure.firstElementChild, n);
      figure.lastElementChild.textContent = distance.toFixed(3);
    });
  }

  return { later() { clearTimeout(timer); timer = setTimeout(find, 150); } };
}

explore().catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `This page could not start: ${error.message}`;
  throw error;
});
