"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const record = (fields, kind) => (values) => {
  const shape = { shape: kind };
  fields.forEach((field, i) => { shape[field] = values[i]; });
  return shape;
};
const boxes = data.boxes.map(record(data.boxFields, "box"));
const arrows = data.arrows.map(record(data.arrowFields, "arrow"));
const START = data.start, END = data.start + data.length;
const LEFT = 84, RIGHT = 56, TOP = 34, BOTTOM = 40, CLOSEST = 200;
const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const view = { from: START, to: END, width: 0, height: 0 };
let hovered = null, chosen = null, due = false, theme = {};

for (const box of boxes) {
  box.from = box.begin;
  box.to = box.end ?? END;
  box.group = box.lane;
}
for (const arrow of arrows) {
  const times = [arrow.sent, arrow.received, arrow.used].filter((time) => time !== null);
  arrow.from = times[0];
  arrow.to = times[times.length - 1];
  arrow.unreceived = ["unsent", "missing", "overwritten"].includes(arrow.outcome);
  arrow.dropped = arrow.outcome === "unsent" || arrow.outcome === "dropped";
  arrow.group = `${arrow.sender} ${arrow.receiver} ${arrow.kind}`;
  arrow.far = Math.abs(arrow.sender - arrow.receiver) > 1;
}

// -- coordinates

const span = () => view.to - view.from;
const plot = () => Math.max(50, view.width - LEFT - RIGHT);
const x = (time) => LEFT + (time - view.from) / span() * plot();
const timeAt = (px) => view.from + (px - LEFT) / plot() * span();
const pitch = () => Math.min(110, (view.height - TOP - BOTTOM) / data.lanes.length);
const tall = () => pitch() * 0.46;
const ceiling = (lane) => TOP + lane * pitch();
const thickness = (lane) => data.lanes[lane].busy === null ? Math.min(10, tall()) : tall();
const floor = (lane) => ceiling(lane) + thickness(lane);
const bottom = () => floor(data.lanes.length - 1);

function lineOf(arrow) {
  const up = arrow.receiver < arrow.sender;
  const leaves = up ? ceiling(arrow.sender) : floor(arrow.sender);
  const arrives = up ? floor(arrow.receiver) : ceiling(arrow.receiver);
  const begin = x(arrow.from);
  const end = arrow.unreceived ? begin : x(arrow.to);
  return [begin, leaves, end, arrow.unreceived ? leaves + (arrives - leaves) * 0.3 : arrives];
}

const inView = (shape) => shape.to >= view.from && shape.from <= view.to;

// -- drawing

function draw() {
  due = false;
  pen.clearRect(0, 0, view.width, view.height);
  drawAxis();
  drawLanes();
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, plot(), view.height);
  pen.clip();
  const seen = visible(arrows);
  seen.filter((arrow) => arrow.far).forEach(drawArrow);
  visible(boxes).forEach(drawBox);
  seen.filter((arrow) => !arrow.far).forEach(drawArrow);
  if (chosen && chosen.shape === "arrow") drawArrow(chosen);
  pen.restore();
}

// The shapes in view. Of shapes of one group that would cover the same pixels, only the first.
function visible(shapes) {
  const last = new Map();
  return shapes.filter((shape) => {
    if (!inView(shape)) return false;
    if (shape === hovered || shape === chosen || chosen?.batch === shape.batch) return true;
    const pixels = Math.round(x(shape.from)) * 1e7 + Math.round(x(shape.to));
    const fresh = last.get(shape.group) !== pixels;
    last.set(shape.group, pixels);
    return fresh;
  });
}

function later() {
  if (!due) {
    due = true;
    requestAnimationFrame(draw);
  }
}

function write(text, px, py, align, colour) {
  pen.textAlign = align;
  pen.fillStyle = colour;
  pen.fillText(text, px, py);
}

function unitOf(size) {
  return UNITS.find((unit) => size >= unit[1]) ?? UNITS[UNITS.length - 1];
}

function drawAxis() {
  const rough = span() / Math.max(2, plot() / 95);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((n) => n * size).find((n) => n >= rough));
  const [unit, per] = unitOf(span() / 2);
  const digits = Math.max(0, Math.ceil(Math.log10(per / step)));
  pen.font = theme.font;
  pen.lineWidth = 1;
  for (let n = Math.ceil((view.from - START) / step); START + n * step <= view.to; n++) {
    const px = x(START + n * step);
    pen.fillStyle = theme.line;
    pen.fillRect(px, TOP - 8, 1, bottom() - TOP + 16);
    write(`${(n * step / per).toFixed(digits)} ${unit}`, px, bottom() + 24, "center", theme.quiet);
  }
  write("busy", view.width - 10, TOP - 12, "right", theme.quiet);
}

function drawLanes() {
  data.lanes.forEach((lane, i) => {
    pen.fillStyle = theme.lane;
    pen.globalAlpha = 0.75;
    pen.fillRect(LEFT, ceiling(i), plot(), thickness(i));
    pen.globalAlpha = 1;
    const y = ceiling(i) + thickness(i) / 2 + 4;
    write(lane.name, LEFT - 10, y, "right", theme.ink);
    if (lane.busy !== null) {
      write(`${Math.round(lane.busy * 100)}%`, view.width - 10, y, "right", theme.ink);
    }
  });
}

const faint = (shape) => chosen !== null && shape.batch !== chosen.batch && shape !== hovered;

function drawBox(box) {
  const style = data.actionStyles[box.action];
  const from = x(Math.max(box.from, view.from)), to = x(Math.min(box.to, view.to));
  const width = Math.max(to - from, 0.6), y = ceiling(box.lane);
  pen.globalAlpha = faint(box) ? 0.25 : 1;
  pen.fillStyle = style.colour;
  pen.fillRect(from, y, width > 3 ? width - 0.8 : width, tall());
  if (width > 7 * String(box.batch).length + 4) {
    write(box.batch, from + width / 2, y + tall() / 2 + 4, "center", style.text_colour);
  }
  pen.globalAlpha = 1;
  if (box === hovered || box === chosen) {
    pen.strokeStyle = theme.ink;
    pen.lineWidth = box === chosen ? 2.5 : 1.5;
    pen.strokeRect(from, y, width, tall());
  }
}

function drawArrow(arrow) {
  const [x1, y1, x2, y2] = lineOf(arrow);
  const marked = arrow === hovered || arrow === chosen;
  const colour = data.kindStyles[arrow.kind].colour;
  pen.globalAlpha = marked ? 1 : faint(arrow) ? 0.12 : arrow.far ? 0.35 : 0.9;
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = marked ? 3 : 1.3;
  pen.setLineDash(arrow.dropped ? [5, 3] : arrow.outcome === "used" ? [] : [2, 3]);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
  if (arrow.dropped) drawCross(x2, y2);
  else if (arrow.outcome === "used") drawHead(x1, y1, x2, y2, marked ? 10 : 7);
  pen.globalAlpha = 1;
}

function drawHead(x1, y1, x2, y2, size) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  pen.beginPath();
  pen.moveTo(x2, y2);
  for (const turn of [-0.38, 0.38]) {
    pen.lineTo(x2 - size * Math.cos(angle + turn), y2 - size * Math.sin(angle + turn));
  }
  pen.fill();
}

function drawCross(px, py) {
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(px - 3.5, py - 3.5);
  pen.lineTo(px + 3.5, py + 3.5);
  pen.moveTo(px + 3.5, py - 3.5);
  pen.lineTo(px - 3.5, py + 3.5);
  pen.stroke();
}

// -- the shape under the pointer

function distance(px, py, arrow) {
  const [x1, y1, x2, y2] = lineOf(arrow);
  const length = (x2 - x1) ** 2 + (y2 - y1) ** 2 || 1;
  const share = Math.min(1, Math.max(0, ((px - x1) * (x2 - x1) + (py - y1) * (y2 - y1)) / length));
  return Math.hypot(px - x1 - share * (x2 - x1), py - y1 - share * (y2 - y1));
}

function find(px, py) {
  if (px < LEFT || px > LEFT + plot()) return null;
  const slack = 1.5;
  const box = boxes.find((b) => py >= ceiling(b.lane) && py <= ceiling(b.lane) + tall()
    && px >= x(b.from) - slack && px <= x(b.to) + slack);
  if (box) return box;
  let best = null, least = 6;
  for (const arrow of arrows) {
    const far = inView(arrow) ? distance(px, py, arrow) : Infinity;
    if (far < least) [best, least] = [arrow, far];
  }
  return best;
}

// -- details of a shape

function durationText(ns) {
  const [unit, per] = unitOf(Math.abs(ns));
  return `${Number((ns / per).toPrecision(4))} ${unit}`;
}

const moment = (time) => time === null ? "never" : `${(time / 1e6).toFixed(3)} ms`;
const between = (from, to) => from === null || to === null ? "" : durationText(to - from);
const name = (lane) => data.lanes[lane].name;

function detailsOfBox(box) {
  return [["stage", name(box.lane)], ["batch", box.batch], ["message from", box.edge],
    ["began", moment(box.begin)], ["ended", box.end === null ? "in progress" : moment(box.end)],
    ["took", between(box.begin, box.end)]];
}

function detailsOfArrow(arrow) {
  return [["edge", `${name(arrow.sender)}>${name(arrow.receiver)}`], ["batch", arrow.batch],
    ["bytes", arrow.bytes.toLocaleString("en")], ["cause", arrow.cause],
    ["outcome", arrow.reason ? `${arrow.outcome}: ${arrow.reason}` : arrow.outcome],
    ["sent", moment(arrow.sent)], ["received", moment(arrow.received)],
    [arrow.dropped ? "dropped" : "used", moment(arrow.used)],
    ["transit", between(arrow.sent, arrow.received)],
    ["wait", between(arrow.received, arrow.used)], ["delay", between(arrow.sent, arrow.used)],
    ["queue", arrow.queue || ""], ["staleness", arrow.outcome === "used" ? arrow.staleness : ""],
    ["version of sender", arrow.version], ["version of receiver", arrow.used_version || ""]];
}

function choose(shape) {
  chosen = shape;
  const list = document.getElementById("details");
  list.replaceChildren();
  const what = document.getElementById("what");
  document.getElementById("hint").hidden = shape !== null;
  what.textContent = "";
  if (shape) {
    const box = shape.shape === "box";
    what.textContent = (box ? data.actionStyles[shape.action] : data.kindStyles[shape.kind]).label;
    for (const [label, value] of box ? detailsOfBox(shape) : detailsOfArrow(shape)) {
      if (value !== "") list.append(element("dt", label), element("dd", value));
    }
  }
  later();
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

// -- zoom and pan

function show(from, length) {
  const held = Math.min(data.length, Math.max(CLOSEST, length));
  view.from = Math.min(Math.max(from, START), END - held);
  view.to = view.from + held;
  later();
}

function zoom(factor, px) {
  const at = timeAt(px);
  const length = Math.min(data.length, Math.max(CLOSEST, span() * factor));
  show(at - (px - LEFT) / plot() * length, length);
}

const middle = () => LEFT + plot() / 2;
const keys = {
  ArrowLeft: () => show(view.from - span() / 8, span()),
  ArrowRight: () => show(view.from + span() / 8, span()),
  "+": () => zoom(1 / 1.4, middle()),
  "=": () => zoom(1 / 1.4, middle()),
  "-": () => zoom(1.4, middle()),
  0: () => show(START, data.length),
  Escape: () => choose(null),
};

addEventListener("keydown", (event) => {
  const known = keys[event.key];
  if (known && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    known();
  }
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 20 : 1;
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    show(view.from + event.deltaX * lines / plot() * span(), span());
  } else zoom(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY * lines / 400))), event.offsetX);
}, { passive: false });

let held = null;
canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  held = { px: event.offsetX, from: view.from, moved: false };
});
canvas.addEventListener("pointermove", (event) => {
  if (held) {
    const by = event.offsetX - held.px;
    held.moved = held.moved || Math.abs(by) > 3;
    canvas.classList.toggle("held", held.moved);
    if (held.moved) show(held.from - by / plot() * span(), span());
    return;
  }
  const found = find(event.offsetX, event.offsetY);
  canvas.classList.toggle("over", found !== null);
  if (found !== hovered) {
    hovered = found;
    later();
  }
});
canvas.addEventListener("pointerup", (event) => {
  if (held && !held.moved) choose(find(event.offsetX, event.offsetY));
  held = null;
  canvas.classList.remove("held");
});
canvas.addEventListener("pointerleave", () => { hovered = null; later(); });
document.getElementById("in").addEventListener("click", keys["+"]);
document.getElementById("out").addEventListener("click", keys["-"]);
document.getElementById("reset").addEventListener("click", keys[0]);

// -- the page

function legend() {
  const list = document.getElementById("legend");
  const add = (kind, colour, words) => {
    const entry = element("span", "");
    const sample = document.createElement("i");
    sample.className = kind;
    if (colour) sample.style.background = colour;
    entry.append(sample, words);
    list.append(entry);
  };
  Object.values(data.actionStyles).forEach((look) => add("box", style.colour, look.words));
  Object.values(data.kindStyles).forEach((look) => add("arrow", style.colour, look.words));
  if (arrows.some((arrow) => arrow.dropped)) add("dropped", "", "dropped");
}

function dress() {
  const style = getComputedStyle(document.documentElement);
  for (const part of ["ink", "quiet", "line", "lane"]) {
    theme[part] = style.getPropertyValue(`--${part}`).trim();
  }
  theme.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  later();
}

function resize() {
  const scale = devicePixelRatio || 1;
  view.width = canvas.clientWidth;
  view.height = canvas.clientHeight;
  canvas.width = Math.round(view.width * scale);
  canvas.height = Math.round(view.height * scale);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  draw();
}

document.title = document.getElementById("title").textContent = data.title;
legend();
dress();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", dress);
new ResizeObserver(resize).observe(canvas);
resize();
