// The details of a shape, zoom and pan. This file continues viewer.js; both become one script.

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
