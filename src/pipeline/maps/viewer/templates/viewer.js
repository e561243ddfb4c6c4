(() => {
"use strict";
// Places on the map are pairs [u, v] in [0, 1]: fractions of its width from the left, of its height from the top.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MISSING = 65535;
const map = byId("map"), divider = byId("divider");
const state = { share: 0.5, cursor: null, pinned: null, ends: [] };

// ---------------------------------------------------------------- small helpers

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

function shown(value, digits, unit) {
  if (value === null) return "no data";
  return value.toFixed(digits).replace("-", "\u2212") + unit;
}

// ---------------------------------------------------------------- values of the map

const numbers = {};
for (const [name, packed] of Object.entries(data.values)) {
  const bytes = atob(packed.data);
  const levels = new Uint16Array(packed.rows * packed.cols);
  for (let i = 0; i < levels.length; i++) levels[i] = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
  numbers[name] = { ...packed, data: null, levels };
}

function value(name, row, col) {
  const held = numbers[name];
  const level = held.levels[row * held.cols + col];
  return level === MISSING ? null : held.offset + held.scale * level;
}

// The value of the pixel that contains a place; null without data.
function at(name, [u, v]) {
  const held = numbers[name];
  if (!held) return null;
  const row = clamp(Math.floor(v * held.rows), 0, held.rows - 1);
  const col = clamp(Math.floor(u * held.cols), 0, held.cols - 1);
  return value(name, row, col);
}

// Interpolation between the centres of four pixels; null where one has no data.
function between(name, [u, v]) {
  const held = numbers[name];
  if (!held) return null;
  const y = clamp(v * held.rows - 0.5, 0, held.rows - 1), x = clamp(u * held.cols - 0.5, 0, held.cols - 1);
  const row = Math.min(Math.floor(y), Math.max(held.rows - 2, 0)), down = y - row;
  const col = Math.min(Math.floor(x), Math.max(held.cols - 2, 0)), right = x - col;
  let sum = 0;
  for (const [i, j, weight] of [
    [0, 0, (1 - down) * (1 - right)], [0, 1, (1 - down) * right], [1, 0, down * (1 - right)], [1, 1, down * right],
  ]) {
    if (weight === 0) continue;
    const one = value(name, row + i, col + j);
    if (one === null) return null;
    sum += weight * one;
  }
  return sum;
}

// Longitude and latitude, interpolated as directions between the nodes, which also works at poles and the date line.
function lonlat([u, v]) {
  const { nodes, lon, lat } = data.lattice;
  const y = clamp(v, 0, 1) * (nodes - 1), x = clamp(u, 0, 1) * (nodes - 1);
  const row = Math.min(Math.floor(y), nodes - 2), col = Math.min(Math.floor(x), nodes - 2);
  const down = y - row, right = x - col, sum = [0, 0, 0];
  for (const [i, j, weight] of [
    [0, 0, (1 - down) * (1 - right)], [0, 1, (1 - down) * right], [1, 0, down * (1 - right)], [1, 1, down * right],
  ]) {
    const node = (row + i) * nodes + col + j;
    const a = lon[node] * Math.PI / 180, b = lat[node] * Math.PI / 180;
    sum[0] += weight * Math.cos(b) * Math.cos(a);
    sum[1] += weight * Math.cos(b) * Math.sin(a);
    sum[2] += weight * Math.sin(b);
  }
  const across = Math.hypot(sum[0], sum[1]);
  return [Math.atan2(sum[1], sum[0]) * 180 / Math.PI, Math.atan2(sum[2], across) * 180 / Math.PI];
}

// Images whose box (first and last row, first and last column of the working area) contains a place.
function imagesAt([u, v]) {
  const row = data.row + Math.min(Math.floor(v * data.height), data.height - 1);
  const col = data.col + Math.min(Math.floor(u * data.width), data.width - 1);
  const found = [];
  data.boxes.forEach((box, i) => {
    if (box && box[0] <= row && row < box[1] && box[2] <= col && col < box[3]) found.push(i);
  });
  return found;
}

// ---------------------------------------------------------------- two layers and a divider

const selects = [byId("layer0"), byId("layer1")];
selects.forEach((select, side) => {
  for (const layer of data.layers) select.append(new Option(layer.title, layer.key));
  select.value = side === 0 ? "prior_relief" : "mean_relief";
  select.addEventListener("change", () => showLayer(side));
});

function showLayer(side) {
  const layer = data.layers.find((one) => one.key === selects[side].value);
  const image = byId("image" + side);
  image.src = layer.src;
  image.alt = layer.title + (side === 0 ? ", left of the divider" : ", right of the divider");
  byId("tag" + side).textContent = layer.title;
  showLegend(byId("legend" + side), layer);
}

function showLegend(where, layer) {
  const title = document.createElement("div");
  title.textContent = layer.title;
  where.replaceChildren(title);
  if (layer.legend.classes) {
    for (const [colour, text] of layer.legend.classes) {
      const line = document.createElement("div"), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour;
      line.append(swatch, text);
      where.append(line);
    }
    return;
  }
  const { stops, low, high, unit } = layer.legend;
  const ramp = document.createElement("div"), ends = document.createElement("div");
  ramp.className = "ramp";
  ramp.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  ends.className = "ends";
  const digits = clamp(Math.ceil(2 - Math.log10(high - low)), 0, 6);
  for (const end of [low, high]) {
    const text = document.createElement("span");
    text.textContent = shown(end, digits, unit ? " " + unit : "");
    ends.append(text);
  }
  where.append(ramp, ends);
}

function setDivider(share) {
  state.share = clamp(share, 0, 1);
  const percent = (100 * state.share).toFixed(2);
  divider.style.left = percent + "%";
  divider.setAttribute("aria-valuenow", Math.round(100 * state.share));
  divider.setAttribute("aria-valuetext", `${Math.round(100 * state.share)} % of the map shows the left layer`);
  byId("image0").style.clipPath = `inset(0 ${(100 - percent).toFixed(2)}% 0 0)`;
  byId("image1").style.clipPath = `inset(0 0 0 ${percent}%)`;
}

function place(event) {
  const box = map.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

divider.addEventListener("pointerdown", (event) => {
  divider.setPointerCapture(event.pointerId);
  divider.focus();
  event.preventDefault();
});
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) setDivider(place(event)[0]);
});
// The end of a drag does not count as a click on the map.
divider.addEventListener("click", (event) => event.stopPropagation());
divider.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.1 : 0.01;
  const goals = {
    ArrowLeft: state.share - step, ArrowDown: state.share - step, ArrowRight: state.share + step,
    ArrowUp: state.share + step, PageDown: state.share - 0.1, PageUp: state.share + 0.1, Home: 0, End: 1,
  };
  event.stopPropagation();
  if (!(event.key in goals)) return;
  setDivider(goals[event.key]);
  event.preventDefault();
});

byId("swap").addEventListener("click", () => {
  [selects[0].value, selects[1].value] = [selects[1].value, selects[0].value];
  showLayer(0);
  showLayer(1);
});

// ---------------------------------------------------------------- values under the cursor

function show(point) {
  state.cursor = point;
  const put = (id, text) => { byId("at-" + id).textContent = text; };
  if (!point) {
    for (const line of document.querySelectorAll("#readout dd")) line.textContent = "\u2013";
    markImages([]);
    return;
  }
  const [lon, lat] = lonlat(point);
  put("x", shown(data.left + point[0] * data.width * data.pixel, 1, " m"));
  put("y", shown(data.top - point[1] * data.height * data.pixel, 1, " m"));
  put("lon", shown(lon, 5, "\u00b0"));
  put("lat", shown(lat, 5, "\u00b0"));
  put("mean", shown(at("mean", point), 2, " m"));
  put("prior", shown(at("prior", point), 2, " m"));
  put("std", shown(at("std", point), 2, " m"));
  put("slope", shown(at("slope", point), 2, "\u00b0"));
  const kind = at("class", point), lit = at("lit", point);
  put("class", data.classes[kind === null ? 0 : kind] || "no data");
  put("lit", lit === null ? "no data" : `${lit} image${lit === 1 ? "" : "s"}`);
  const here = imagesAt(point);
  put("images", `${here.length}, of which ${here.filter((i) => data.used[i]).length} used`);
  markImages(here);
}

function markImages(indices) {
  const here = new Set(indices.map(String));
  for (const one of document.querySelectorAll("[data-image]")) {
    one.classList.toggle("here", here.has(one.dataset.image));
  }
}

function say() {
  byId("spoken").textContent = ["x", "y", "mean", "std", "class", "images"].map(
    (id) => `${byId("at-" + id).previousElementSibling.textContent} ${byId("at-" + id).textContent}`,
  ).join("; ");
}

map.addEventListener("pointermove", (event) => {
  const point = place(event);
  if (point.every((share) => share >= 0 && share < 1)) show(point);
});
map.addEventListener("pointerleave", () => { show(state.pinned); drawOverlay(); });
map.addEventListener("click", (event) => mark(place(event).map((share) => clamp(share, 0, 1 - 1e-9))));
map.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const point = state.cursor || [0.5, 0.5];
  if (event.key in steps) {
    const { rows, cols } = numbers.mean, reach = event.shiftKey ? 10 : 1;
    const [right, down] = steps[event.key];
    // From the centre of one pixel to that of another.
    const col = clamp(Math.floor(point[0] * cols) + right * reach, 0, cols - 1);
    const row = clamp(Math.floor(point[1] * rows) + down * reach, 0, rows - 1);
    state.pinned = [(col + 0.5) / cols, (row + 0.5) / rows];
    show(state.pinned);
    drawOverlay();
    say();
  } else if (event.key === "Enter" || event.key === " ") {
    mark(point);
  } else if (event.key === "Escape") {
    clear();
  } else {
    return;
  }
  event.preventDefault();
});
byId("clear").addEventListener("click", clear);

for (const row of document.querySelectorAll("#images tbody tr")) {
  row.addEventListener("mouseenter", () => drawOverlay(Number(row.dataset.image)));
  row.addEventListener("mouseleave", () => drawOverlay());
}

// ---------------------------------------------------------------- marks on the map, and the profile

function mark(point) {
  state.pinned = point;
  state.ends = state.ends.length === 2 ? [point] : [...state.ends, point];
  show(point);
  drawOverlay();
  drawProfile();
  say();
}

function clear() {
  state.ends = [];
  state.pinned = null;
  show(null);
  drawOverlay();
  drawProfile();
}

// Everything is drawn twice, dark below and light above, to be visible on any layer.
function drawOverlay(image) {
  const overlay = byId("overlay");
  overlay.replaceChildren();
  const both = (name, attributes) => {
    element(name, { ...attributes, class: "cast", "stroke-width": 5 }, overlay);
    element(name, { ...attributes, class: "light", "stroke-width": 2 }, overlay);
  };
  const arm = 0.014 * Math.max(data.width, data.height);
  const cross = ([u, v]) => {
    const x = u * data.width, y = v * data.height;
    both("path", { d: `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}` });
  };
  if (state.pinned && !state.ends.includes(state.pinned)) cross(state.pinned);
  state.ends.forEach(cross);
  if (state.ends.length === 2) {
    const [a, b] = state.ends.map(([u, v]) => `${u * data.width} ${v * data.height}`);
    both("path", { d: `M${a}L${b}` });
  }
  const box = image === undefined ? null : data.boxes[image];
  if (box) {
    both("rect", { x: box[2] - data.col, y: box[0] - data.row, width: box[3] - box[2], height: box[1] - box[0] });
  }
}

// Round numbers between two ends, approximately as many as requested.
function ticks(low, high, about) {
  const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

// Contiguous parts of a line.
function parts(points) {
  const found = [[]];
  for (const point of points) {
    if (point === null) found.push([]);
    else found[found.length - 1].push(point);
  }
  return found.filter((part) => part.length > 1);
}

function sample() {
  const [a, b] = state.ends;
  const cols = (b[0] - a[0]) * data.width, rows = (b[1] - a[1]) * data.height;
  const length = Math.hypot(cols, rows) * data.pixel * data.ground;
  const count = clamp(Math.ceil(2 * Math.hypot(cols, rows) / data.step), 2, 800);
  const points = [];
  for (let i = 0; i <= count; i++) {
    const share = i / count, point = [a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])];
    points.push({
      distance: share * length, mean: between("mean", point), prior: between("prior", point),
      std: between("std", point),
    });
  }
  return { length, points };
}

// One chart of the profile: named lines of values of `points`, with a band of one standard deviation around `sure`.
function panel(chart, points, length, { top, bottom, lines, sure, label, distances }) {
  const [left, right] = [78, 950];
  const held = (p, name) => (p[name] === undefined ? null : p[name]);
  const banded = points.map((p) => (held(p, sure) === null || p.std === null ? null : p));
  const ends = points.flatMap((p) => lines.map((name) => held(p, name))).filter((one) => one !== null);
  for (const p of banded) if (p) ends.push(p[sure] - p.std, p[sure] + p.std);
  let low = Math.min(...ends), high = Math.max(...ends);
  const room = Math.max(0.04 * (high - low), 0.05);
  low -= room;
  high += room;
  const x = (distance) => left + (right - left) * distance / length;
  const y = (height) => bottom - (bottom - top) * (height - low) / (high - low);
  const across = ticks(0, length, 8), up = ticks(low, high, (bottom - top) / 40);
  for (const tick of across.found) {
    element("path", { class: "grid", d: `M${x(tick)} ${top}V${bottom}` }, chart);
    if (!distances) continue;
    element("text", { x: x(tick), y: bottom + 17, "text-anchor": "middle" }, chart, shown(tick, across.digits, ""));
  }
  for (const tick of up.found) {
    element("path", { class: "grid", d: `M${left} ${y(tick)}H${right}` }, chart);
    element("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, chart, shown(tick, up.digits, ""));
  }
  const middle = (top + bottom) / 2;
  element("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, chart, label);
  const line = (part) => part.map(([a, b]) => `${x(a).toFixed(2)} ${y(b).toFixed(2)}`).join("L");
  for (const part of parts(banded)) {
    const above = part.map((p) => [p.distance, p[sure] + p.std]);
    const below = part.map((p) => [p.distance, p[sure] - p.std]).reverse();
    element("path", { class: "band", d: `M${line([...above, ...below])}Z` }, chart);
  }
  for (const name of lines) {
    for (const part of parts(points.map((p) => (held(p, name) === null ? null : [p.distance, p[name]])))) {
      element("path", { class: name, d: "M" + line(part) }, chart);
    }
  }
}

function drawProfile() {
  const chart = byId("profile"), text = byId("profile-text");
  chart.replaceChildren();
  chart.toggleAttribute("hidden", true);
  if (state.ends.length < 2) {
    text.textContent = state.ends.length ? "Mark the other end on the map." : "Mark two places on the map.";
    return;
  }
  const { length, points } = sample();
  if (length === 0) {
    text.textContent = "The two places are the same.";
    return;
  }
  if (points.every((p) => p.mean === null || p.prior === null)) {
    text.textContent = "There are no data between the two places.";
    return;
  }
  // Small differences are invisible beside the relief: the lower chart shows heights relative to the a priori DEM.
  for (const p of points) {
    p.change = p.mean === null || p.prior === null ? null : p.mean - p.prior;
    p.level = p.prior === null ? null : 0;
  }
  panel(chart, points, length, { top: 26, bottom: 226, lines: ["prior", "mean"], sure: "mean", label: "height, m" });
  panel(chart, points, length, {
    top: 252, bottom: 376, lines: ["level", "change"], sure: "change", label: "above a priori, m", distances: true,
  });
  element("text", { x: 514, y: 414, "text-anchor": "middle" }, chart, "distance on the ground, m");
  const names = [["mean", "mean"], ["band", "mean \u00b1 one standard deviation"], ["prior", "a priori DEM"]];
  names.forEach(([kind, name], i) => {
    const from = [78, 168, 408][i];
    if (kind === "band") element("rect", { class: kind, x: from, y: 5, width: 26, height: 12 }, chart);
    else element("path", { class: kind, d: `M${from} 11H${from + 26}` }, chart);
    element("text", { x: from + 32, y: 15 }, chart, name);
  });
  chart.toggleAttribute("hidden", false);
  const [first, last] = [points[0], points[points.length - 1]];
  const rise = first.mean === null || last.mean === null ? null : last.mean - first.mean;
  const tilt = rise === null ? "" : `, ${(Math.atan2(Math.abs(rise), length) * 180 / Math.PI).toFixed(2)}\u00b0 overall`;
  text.textContent = `From the first place to the second: ${shown(length, 1, " m")} on the ground, `
    + `rise ${shown(rise, 2, " m")}${tilt}. Values every ${shown(data.step * data.pixel, 1, " m")}.`;
}

showLayer(0);
showLayer(1);
setDivider(0.5);
show(null);
})();
