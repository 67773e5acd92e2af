// The map of latents: points in the plane of two axes of latent space, and the point that is shown.
"use strict";

// options: points [[x, y], ...], labels or null, colours of the classes; onMove(x, y) is called while a
// pointer is dragged or an arrow key pressed, onPick(n) when a point is clicked.
function jaxgenMap(canvas, { points, labels, colours, onMove, onPick }) {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const largest = Math.max(...xs.map(Math.abs), ...ys.map(Math.abs), 1e-3);
  const reach = 1.08 * largest;
  let shown = [0, 0];
  let marked = [];
  let pressed = null;

  const size = () => canvas.width;
  const toPixel = ([x, y]) => [((x / reach + 1) * size()) / 2, ((1 - y / reach) * size()) / 2];

  function toPlane(event) {
    const box = canvas.getBoundingClientRect();
    const along = (at, from, length) => 2 * ((at - from) / length) - 1;
    const clamp = (value) => Math.min(1, Math.max(-1, value));
    return [
      reach * clamp(along(event.clientX, box.left, box.width)),
      -reach * clamp(along(event.clientY, box.top, box.height)),
    ];
  }

  function nearest([x, y]) {
    let best = -1, least = Infinity;
    points.forEach((p, n) => {
      const distance = (p[0] - x) ** 2 + (p[1] - y) ** 2;
      if (distance < least) [best, least] = [n, distance];
    });
    return best;
  }

  function ring(context, point, radius, width, colour) {
    const [x, y] = toPixel(point);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.max(200, Math.round(canvas.clientWidth * ratio));
    const context = canvas.getContext("2d");
    context.strokeStyle = style.getPropertyValue("--line");
    for (const end of [[[-reach, 0], [reach, 0]], [[0, -reach], [0, reach]]]) {
      context.beginPath();
      context.moveTo(...toPixel(end[0]));
      context.lineTo(...toPixel(end[1]));
      context.stroke();
    }
    points.forEach((point, n) => {
      const [x, y] = toPixel(point);
      context.beginPath();
      context.arc(x, y, 2.6 * ratio, 0, 2 * Math.PI);
      context.fillStyle = labels ? colours[labels[n]] : style.getPropertyValue("--accent");
      context.fill();
    });
    for (const n of marked) ring(context, points[n], 7 * ratio, 2 * ratio, ink);
    ring(context, shown, 6 * ratio, 4 * ratio, style.getPropertyValue("--paper"));
    ring(context, shown, 6 * ratio, 2.5 * ratio, style.getPropertyValue("--mark"));
  }

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pressed = [event.clientX, event.clientY];
    onMove(...toPlane(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (pressed) onMove(...toPlane(event));
  });
  canvas.addEventListener("pointerup", (event) => {
    const still = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) < 4;
    pressed = null;
    if (still) onPick(nearest(toPlane(event)));
  });
  canvas.addEventListener("pointercancel", () => { pressed = null; });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    if (event.key === "Enter") onPick(nearest(shown));
    if (!step && event.key !== "Enter") return;
    event.preventDefault();
    if (step) {
      const moved = shown.map((value, axis) => value + (reach / 40) * step[axis]);
      onMove(...moved.map((value) => Math.min(reach, Math.max(-reach, value))));
    }
  });
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    show(point) { shown = point; draw(); },
    mark(numbers) { marked = numbers; draw(); },
  };
}
