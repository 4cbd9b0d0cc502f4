"use strict";
// Draws the timeline. viewer_controls.js continues this file; both become one script.
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
