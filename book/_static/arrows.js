/* Users and films as arrows, as src/embedlens/book/arrows.py writes them: drag their tips, or train on
   one rating. Drawn into the figure of the still picture, which stays for print. */
"use strict";

(() => {
  const { name } = document.currentScript.dataset;
  const { arrows, rate, colours } = JSON.parse(document.getElementById(`${name}-data`).textContent);
  const app = document.getElementById(name);
  const users = arrows.filter(({ kind }) => kind === "user");
  const films = arrows.filter(({ kind }) => kind !== "user");
  const start = arrows.map(({ x, y }) => ({ x, y }));
  const GAP = 18; // between names, in pixels
  const STEP = 0.05; // of an arrow key; ten times with Shift
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let moved = []; // the two of the last step, with where they were
  let frame; // how the picture's numbers become pixels
  let run = 0; // of the animation
  let [low, high] = [-0.2, 0]; // ends of both axes

  const dot = (a, b) => a.x * b.x + a.y * b.y;
  const minus = (text) => text.replace("-", "−");
  const place = ({ x, y }) => minus(`${x.toFixed(2)} across, `) + minus(`${y.toFixed(2)} up`);

  function set(element, attributes) {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function made(tag, attributes = {}, ...children) {
    const isDrawn = ["svg", "g", "line", "path", "text", "circle"].includes(tag);
    const space = isDrawn ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
    const element = set(document.createElementNS(space, tag), attributes);
    element.append(...children);
    return element;
  }

  /* ---- the picture ---- */

  const back = made("g");
  const svg = made("svg", { role: "group", "aria-label": "Arrows; each tip can be moved" }, back);

  for (const arrow of arrows) {
    const { kind } = arrow;
    arrow.shaft = made("line", { stroke: colours[kind], "stroke-dasharray": kind === "cold" ? "4 3" : "none" });
    arrow.leader = made("line", { class: "leader" });
    arrow.text = made("text", { class: kind }, arrow.name);
    const hold = made("circle", { r: 12, fill: "transparent" });
    arrow.tip = made("g", { class: "tip", tabindex: 0, role: "slider" }, hold, made("path", { d: "M0 0L-11 5L-11 -5Z", fill: colours[kind] }));
    arrow.tip.addEventListener("pointerdown", (event) => arrow.tip.setPointerCapture(event.pointerId));
    arrow.tip.addEventListener("pointermove", (event) => drag(arrow, event));
    arrow.tip.addEventListener("lostpointercapture", () => arrow.isDragged && tell(arrow));
    arrow.tip.addEventListener("keydown", (event) => press(arrow, event));
    svg.append(arrow.leader, arrow.text);
  }
  svg.append(...[...films, ...users].flatMap(({ shaft, tip }) => [shaft, tip])); // above the thin lines

  /* What the axes show: more, where a step leads out of the picture. A hand stays inside. */
  function stretch() {
    const all = arrows.flatMap(({ x, y }) => [x, y]);
    low = Math.min(low, Math.min(...all) - 0.2);
    high = Math.max(high, Math.max(...all) + 0.2);
  }

  function fit() {
    const width = app.clientWidth;
    const names = Math.min(150, 0.36 * width);
    const room = Math.min(width - names - 24, 440);
    const side = Math.max(room, (arrows.length + 1) * GAP); // high enough for all names
    const wide = Math.min(side, room);
    svg.setAttribute("viewBox", `0 0 ${width} ${side + 22}`);
    svg.setAttribute("height", side + 22);
    const across = (x) => 20 + ((x - low) / (high - low)) * wide;
    const up = (y) => ((high - y) / (high - low)) * wide + (side - wide);
    frame = { side, wide, across, up, unit: wide / (high - low) };
  }

  function grid() {
    const { side, wide, across, up } = frame;
    const lines = [];
    for (let n = Math.ceil(low); n <= high; n++) {
      lines.push(made("line", { x1: across(n), x2: across(n), y1: side - wide, y2: side, class: n ? "" : "zero" }));
      lines.push(made("line", { y1: up(n), y2: up(n), x1: 20, x2: 20 + wide, class: n ? "" : "zero" }));
      lines.push(made("text", { x: across(n), y: side + 16, "text-anchor": "middle" }, minus(`${n}`)));
      lines.push(made("text", { x: 14, y: up(n) + 4, "text-anchor": "end" }, minus(`${n}`)));
    }
    for (const { arrow, x, y } of moved) {
      lines.push(made("line", { x1: across(x), y1: up(y), x2: across(arrow.x), y2: up(arrow.y), class: "way" }));
    }
    back.replaceChildren(...lines);
  }

  function draw(shown = (arrow) => arrow) {
    fit();
    grid();
    const { across, up, side, wide } = frame;
    const at = new Map(arrows.map((arrow) => [arrow, { x: across(shown(arrow).x), y: up(shown(arrow).y) }]));
    let free = GAP / 2; // names keep apart, and leave room for those below
    [...at].sort(([, a], [, b]) => a.y - b.y).forEach(([arrow, { x, y }], i) => {
      const isMoved = moved.some((one) => one.arrow === arrow);
      const height = Math.min(Math.max(y, free), side - (arrows.length - 1 - i) * GAP);
      free = height + GAP;
      const angle = (Math.atan2(y - up(0), x - across(0)) * 180) / Math.PI;
      set(arrow.shaft, { x1: across(0), y1: up(0), x2: x, y2: y, "stroke-width": (arrow.kind === "user" ? 3 : 1.5) + (isMoved ? 2 : 0) });
      set(arrow.tip, { transform: `translate(${x} ${y}) rotate(${angle})` });
      set(arrow.leader, { x1: x, y1: y, x2: 26 + wide, y2: height });
      set(arrow.text, { x: 30 + wide, y: height + 4 });
      arrow.text.classList.toggle("moved", isMoved);
      const [kind, position] = [arrow.kind === "user" ? "" : "film ", place(arrow)];
      set(arrow.tip, { "aria-label": `${kind}${arrow.name}, ${position}`, "aria-valuetext": position });
      set(arrow.tip, { "aria-valuenow": arrow.x.toFixed(2), "aria-valuemin": low.toFixed(2), "aria-valuemax": high.toFixed(2) });
      Object.assign(arrow.tip.dataset, { name: arrow.name, x: arrow.x, y: arrow.y });
    });
  }

  /* ---- the table ---- */

  const cells = films.map((film) => users.map((user) => ({ film, user, cell: made("td") })));
  const table = made("table", {},
    made("caption", {}, "Dot products: predicted stars"),
    made("thead", {}, made("tr", {}, made("td"), ...users.map((user) => made("th", { scope: "col" }, user.name)))),
    made("tbody", {}, ...cells.map((row) => made("tr", {}, made("th", { scope: "row" }, row[0].film.name), ...row.map(({ cell }) => cell)))));

  function count() {
    for (const { film, user, cell } of cells.flat()) {
      cell.textContent = minus(dot(film, user).toFixed(2));
      cell.dataset.value = dot(film, user);
      cell.className = moved.some(({ arrow }) => arrow === film || arrow === user) ? "moved" : "";
    }
  }

  /* ---- moved by hand ---- */

  function move(arrow, x, y) {
    const inside = (value) => Math.min(Math.max(value, low), high);
    Object.assign(arrow, { x: inside(x), y: inside(y) });
    moved = [];
    run += 1;
    draw();
    count();
  }

  function drag(arrow, event) {
    if (!arrow.tip.hasPointerCapture(event.pointerId)) return;
    const box = svg.getBoundingClientRect();
    const { unit, across, up } = frame;
    arrow.isDragged = true;
    move(arrow, (event.clientX - box.left - across(0)) / unit, (up(0) - (event.clientY - box.top)) / unit);
  }

  function press(arrow, event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!(event.key in ways)) return;
    event.preventDefault();
    const [x, y] = ways[event.key].map((way) => way * STEP * (event.shiftKey ? 10 : 1));
    move(arrow, arrow.x + x, arrow.y + y);
    tell(arrow);
  }

  function tell(arrow) {
    arrow.isDragged = false;
    const changed = arrow.kind === "user" ? films.length : users.length;
    status.textContent = `You moved ${arrow.name}: ${changed} dot products changed.`;
  }

  /* ---- trained ---- */

  const select = (label, rows) => {
    const control = made("select", { autocomplete: "off" }, ...rows.map((row) => made("option", {}, row)));
    return [control, made("label", {}, label, control)];
  };
  const trainable = films.filter(({ kind }) => kind === "film"); // a film that nobody rated is not
  const [who, whoLabel] = select("User", users.map((user) => user.name));
  const [what, whatLabel] = select("Film", trainable.map((film) => film.name));
  const [stars, starsLabel] = select("Stars", [1, 2, 3, 4, 5]);
  const status = made("p", { role: "status" });
  stars.value = 4;

  /* One step of gradient descent for one rating, by the chapter's formula. */
  function step() {
    const [user, film, rating] = [users[who.selectedIndex], trainable[what.selectedIndex], Number(stars.value)];
    const [u, m] = [{ x: user.x, y: user.y }, { x: film.x, y: film.y }];
    const error = dot(u, m) - rating;
    const against = (a, b) => ({ x: a.x - rate * 2 * error * b.x, y: a.y - rate * 2 * error * b.y });
    const [newU, newM] = [against(u, m), against(m, u)];
    if (Math.abs(dot(newU, newM) - rating) > Math.abs(error)) {
      status.textContent = "No step: these two arrows are so long that it would go too far. Shorten one.";
      return;
    }
    Object.assign(user, newU);
    Object.assign(film, newM);
    stretch();
    moved = [{ arrow: user, ...u }, { arrow: film, ...m }];
    status.textContent = `Moved: ${user.name} and ${film.name}, and no other. Predicted before: `
      + minus(`${dot(u, m).toFixed(2)}, after: `) + minus(`${dot(newU, newM).toFixed(2)}, rated: ${rating}.`);
    count();
    animate();
  }

  function animate() {
    const [own, from] = [++run, performance.now()];
    function next(now) {
      if (own !== run) return;
      const share = still.matches ? 1 : Math.min(Math.max((now - from) / 600, 0), 1);
      const before = (arrow) => moved.find((one) => one.arrow === arrow) ?? arrow;
      draw((arrow) => ({
        x: before(arrow).x + (arrow.x - before(arrow).x) * share,
        y: before(arrow).y + (arrow.y - before(arrow).y) * share,
      }));
      if (share < 1) requestAnimationFrame(next);
    }
    next(from);
  }

  function reset() {
    arrows.forEach((arrow, i) => Object.assign(arrow, start[i]));
    [low, high] = [-0.2, 0];
    stretch();
    moved = [];
    run += 1;
    status.textContent = "All arrows are where training had left them.";
    draw();
    count();
  }

  /* ---- begin ---- */

  function begin() {
    const cold = films.find(({ kind }) => kind === "cold");
    const button = (label, act) => {
      const element = made("button", { type: "button" }, label);
      element.addEventListener("click", act);
      return element;
    };
    const form = made("div", { class: "arrows-form" }, whoLabel, whatLabel, starsLabel, button("Train on this rating", step), button("Reset", reset));
    const about = cold ? [made("p", {}, `Nobody rated ${cold.name}, so it cannot be chosen and no step ever moves it. Its predictions change when a user moves.`)] : [];
    const hint = made("p", {}, "Drag the tips, or reach them by Tab and move them by arrow keys (Shift: further).");
    app.replaceChildren(hint, svg, form, status, ...about, made("div", { class: "arrows-table", tabindex: 0 }, table));
    const left = app.closest(".cell_output");
    document.getElementById(`fig-${name}`)?.prepend(app);
    if (left && !left.contains(app)) left.hidden = true;
    app.classList.add("ready");
    stretch();
    draw();
    count();
    new ResizeObserver(() => draw()).observe(app);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
