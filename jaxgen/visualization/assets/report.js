// Curves to hover over, and pictures to go through by epoch. Without it tables and pictures stay.
"use strict";

// Distinguishable in light and dark and for colour-blind readers; the dashes repeat less often.
const COLOURS = ["#2a7fd4", "#d1642a", "#1c9a76", "#b5579b", "#9a8b1f", "#6a6fd0", "#5f8f2f", "#c04a5a"];
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
const HEIGHT = 240;

function drawChart(holder, { x, series, xLabel, yLabel }, logarithmic) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink");
  const line = style.getPropertyValue("--line");
  const axis = { stroke: ink, grid: { stroke: line }, ticks: { stroke: line }, font: "12px sans-serif", labelFont: "12px sans-serif" };
  const positive = (value) => (value !== null && value > 0 ? value : null);
  const options = {
    width: holder.clientWidth,
    height: HEIGHT,
    scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
    axes: [
      { ...axis, label: xLabel, incrs: [1, 2, 5].flatMap((n) => [n, 10 * n, 100 * n, 1000 * n]).sort((a, b) => a - b) },
      { ...axis, label: yLabel, size: 68, values: (_, ticks) => ticks.map(short) },
    ],
    series: [
      { label: xLabel },
      ...series.map(({ name }, n) => ({
        label: name,
        stroke: COLOURS[n % COLOURS.length],
        dash: DASHES[n % DASHES.length],
        width: 2,
        spanGaps: true,
        points: { show: x.length < 2 },
        value: (_, value) => (value === null || value === undefined ? "" : short(value)),
      })),
    ],
  };
  const rows = series.map(({ values }) => (logarithmic ? values.map(positive) : values));
  return new uPlot(options, [x, ...rows], holder);
}

function short(value) {
  if (value === null || value === undefined) return "";
  return String(Number(value.toPrecision(5)));
}

function showCharts() {
  const specifications = JSON.parse(document.getElementById("curves").textContent);
  const box = document.getElementById("logarithmic");
  const holders = [...document.querySelectorAll(".chart .plot")];
  let drawn = [];

  function redraw() {
    drawn.forEach((chart) => chart.destroy());
    drawn = holders.map((holder, n) => drawChart(holder, specifications[n], box.checked));
  }

  redraw();
  document.getElementById("curve-controls").hidden = false;
  box.addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawn.forEach((chart, n) => chart.setSize({ width: holders[n].clientWidth, height: HEIGHT }));
  });
}

function showSeries(series) {
  const figures = [...series.querySelectorAll("figure")];
  const name = series.dataset.name;
  const controls = document.createElement("div");
  controls.className = "epochs";
  const label = document.createElement("label");
  const slider = document.createElement("input");
  const output = document.createElement("output");
  slider.type = "range";
  slider.id = `epoch-of-${series.id}`;
  slider.min = 0;
  slider.max = figures.length - 1;
  slider.value = figures.length - 1;
  label.htmlFor = output.htmlFor = slider.id;
  label.textContent = `epoch of ${name}`;
  controls.append(label, slider, output);

  function show() {
    figures.forEach((figure, n) => figure.classList.toggle("shown", n === Number(slider.value)));
    output.textContent = figures[slider.value].dataset.epoch;
    slider.setAttribute("aria-valuetext", `epoch ${output.textContent}`);
  }

  series.classList.add("chosen");
  series.removeAttribute("tabindex");
  if (figures.length > 1) series.before(controls);
  slider.addEventListener("input", show);
  show();
}

if (document.getElementById("curves")) showCharts();
document.querySelectorAll(".series").forEach(showSeries);
document.body.dataset.ready = "true";
