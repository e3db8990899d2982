/* The page "Train it yourself": settings, a worker that trains by engine.js, and what one sees.
   Needs ratings-data.js, movies.js and engine.js. */
"use strict";

window.EmbedLensTrain = (() => {
  const POST = { dot: 1.08, bias: 0.88, own: 1.13 };
  const PATIENCE = 2;
  /* Name, label, kind or range; in this order in the form and in a link. */
  const FIELDS = [
    ["model", "Model", ["dot", "bias"]],
    ["low", "Initial weights from", [-0.05, 0]],
    ["high", "to", [0.05, 0.05]],
    ["dim", "Dimensions", [2, 64]],
    ["userDropout", "Dropout of users", [0, 0.9]],
    ["movieDropout", "Dropout of movies", [0, 0.9]],
    ["rate", "Learning rate", [0.0001, 0.02]],
    ["batch", "Batch size", [8, 2048]],
    ["epochs", "Epochs", [1, 30]],
    ["seed", "Seed", [0, 999999]],
  ];
  const WHOLE = ["dim", "batch", "epochs", "seed"];
  const BASE = {
    model: "dot", low: 0, high: 0.05, dim: 64, userDropout: 0, movieDropout: 0,
    rate: 0.001, batch: 32, epochs: 10, seed: 0,
  };
  const BIAS = { ...BASE, model: "bias", low: -0.05, userDropout: 0.3, movieDropout: 0.6 };
  const PRESETS = [
    ["The post's first model", BASE, "A dot product of two vectors; initial weights between 0 and 0.05.", POST.dot],
    ["With biases", BIAS, "Biases, dropout and a bounded scale.", POST.bias],
    ["The post's own layer: only the initializer differs", { ...BASE, low: -0.05 },
      "The first model again, with initial weights between -0.05 and 0.05.", POST.own],
    ["Overfit", { ...BIAS, userDropout: 0, movieDropout: 0, epochs: 20 }, "The bias model without dropout, for twenty epochs.", null],
    ["No training for cold movies", { ...BASE, epochs: 20 },
      "The first model for twenty epochs: what happens to movies that nobody rates?", null],
    ["Two dimensions", { ...BIAS, dim: 2, userDropout: 0, movieDropout: 0, epochs: 20 },
      "The bias model with vectors that can be drawn.", null],
  ];

  /* Settings of a link such as "#t=model:bias,dim:64", and what was ignored, with the reason. */
  function parseLink(hash) {
    const settings = {};
    const ignored = [];
    if (!hash.startsWith("#t=")) return { settings: null, ignored };
    let text = hash.slice(3);
    try {
      text = decodeURIComponent(text);
    } catch {
      /* A stray % stays as it is, and is reported below. */
    }
    for (const piece of text.split(",").filter((part) => part.trim())) {
      const [name, value, ...more] = piece.trim().split(":");
      const field = FIELDS.find(([known]) => known === name);
      let reason = "";
      if (!field || value === undefined || more.length) reason = "no such setting";
      else if (name in settings) reason = "given before";
      else reason = wrong(name, name === "model" ? value : Number(value), value);
      if (reason) ignored.push(`${piece.trim().slice(0, 30)} (${reason})`);
      else settings[name] = name === "model" ? value : Number(value);
    }
    return { settings: { ...BASE, ...settings }, ignored };
  }

  /* Why a value does not do for a setting; empty if it does. */
  function wrong(name, value, text = String(value)) {
    const range = FIELDS.find(([known]) => known === name)[2];
    if (name === "model") return range.includes(value) ? "" : "dot or bias";
    const [least, most] = range;
    if (text.trim() === "" || !Number.isFinite(value)) return "not a number";
    if (value < least || value > most) return least === most ? `only ${least}` : `${least} to ${most}`;
    return WHOLE.includes(name) && !Number.isInteger(value) ? "a whole number" : "";
  }

  const formatLink = (settings) => "#t=" + FIELDS.map(([name]) => `${name}:${settings[name]}`).join(",");

  /* Epoch after which Keras' early stopping ends training: no gain for so many epochs. */
  function stoppedAfter(errors) {
    let best = 0;
    for (let epoch = 0; epoch < errors.length; epoch++) {
      if (errors[epoch] < errors[best]) best = epoch;
      if (epoch - best >= PATIENCE) return epoch + 1;
    }
    return null;
  }

  /* What runs in the worker: trains in short turns, so that it hears "pause", and tells what it has. */
  function work(engine) {
    const TURN = 80; // milliseconds
    let ratings, parts, trainer, settings, known;
    let running = false;
    let run = 0; // tells the page what belongs to settings that it has left
    let chain = 0; // of turns; an older one ends

    function restart(message) {
      ({ settings, run } = message);
      parts = engine.groups(ratings, engine.split(ratings, settings.seed));
      trainer = engine.trainer(ratings, parts, settings);
      running = false;
      tell("ready");
    }

    function tell(type, more = {}) {
      const first = trainer.movies.slice(trainer.width, 21 * trainer.width);
      const plane = settings.dim === 2 ? known.ids.map((id) => [...trainer.movies.slice(id * trainer.width, id * trainer.width + 2)]) : null;
      const { width, dim, perEpoch } = trainer;
      postMessage({ type, run, first, plane, width, dim, perEpoch, batches: trainer.batches(), ...more });
    }

    function endOfEpoch() {
      const errors = {};
      for (const name of ["train", "valid", "seen", "cold"]) errors[name] = trainer.rmse(parts[name]);
      const scores = engine.firstComponent(trainer.movies, trainer.width, trainer.dim);
      tell("epoch", { errors, scores, done: trainer.done() });
    }

    function turn(own) {
      if (!running || own !== chain || trainer.done()) return;
      const started = performance.now();
      while (performance.now() - started < TURN) {
        if (!trainer.oneBatch()) continue;
        endOfEpoch();
        if (trainer.done()) {
          running = false;
          return;
        }
      }
      tell("progress");
      setTimeout(turn, 0, own);
    }

    self.onmessage = ({ data }) => {
      if (data.type === "load") {
        ratings = engine.decode(data.packed);
        known = data.known;
        postMessage({ type: "loaded", ratings });
      } else if (data.type === "reset") restart(data);
      else if (data.type === "pause") running = false;
      else if (data.type === "go" && !running) {
        running = true;
        turn(++chain);
      } else if (data.type === "step" && !trainer.done()) {
        if (trainer.oneBatch()) endOfEpoch();
        else tell("progress");
      }
    };
  }

  /* A worker from the functions' own text: a page from disk may not load one from a file. */
  function startWorker() {
    const text = `"use strict";(${work})((${embedLensEngine})());`;
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    return new Worker(address);
  }

  return { FIELDS, PRESETS, BASE, parseLink, wrong, formatLink, stoppedAfter, startWorker };
})();

document.addEventListener("DOMContentLoaded", () => {
  const app = document.getElementById("train-app");
  const data = window.EMBEDLENS_RATINGS;
  if (!app || !data || !window.Worker) return;
  const { FIELDS, PRESETS, parseLink, wrong, formatLink, stoppedAfter, startWorker } = window.EmbedLensTrain;
  const { element } = window.EmbedLensMovies;
  const { joined, correlation } = embedLensEngine();
  const part = (name) => document.getElementById(`train-${name}`);
  const COLOURS = { train: "#029e73", valid: "#949494", seen: "#0173b2", cold: "#de8f05" };
  const NAMES = { train: "training", valid: "validation", seen: "seen movies", cold: "cold movies" };
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const known = data.known;
  let worker, settings, told, means;
  let errors = [];
  let scores = null;
  let running = false;
  let run = 0;
  let started = 0;
  let batchesBefore = 0;

  /* ---- settings ---- */

  function makeFields() {
    part("fields").replaceChildren(...FIELDS.map(([name, label, range]) => {
      const attributes = { id: `train-${name}`, autocomplete: "off" };
      const control = name === "model"
        ? element("select", { attributes }, new Option("dot product", "dot"), new Option("with biases", "bias"))
        : element("input", { type: "number", min: range[0], max: range[1], step: "any", attributes });
      control.addEventListener("change", readFields);
      return element("label", { attributes: { for: `train-${name}` } }, label, control);
    }));
    part("preset").replaceChildren(...PRESETS.map(([name], i) => new Option(name, i)), new Option("my own settings", ""));
    part("preset").addEventListener("change", () => {
      const chosen = PRESETS[part("preset").value];
      if (chosen) take(chosen[1]);
    });
  }

  function readFields() {
    const found = {};
    for (const [name, label] of FIELDS) {
      const control = part(name);
      const value = name === "model" ? control.value : Number(control.value);
      const reason = wrong(name, value, control.value);
      if (reason) return note([`${label}: ${reason}.`]);
      found[name] = value;
    }
    if (found.low >= found.high) return note(["The initial weights must lie between two different numbers."]);
    note([]);
    take(found);
  }

  function note(lines) {
    part("notice").replaceChildren(...lines.map((line) => element("p", { textContent: line })));
    part("notice").hidden = !lines.length;
  }

  /* Take settings over, and begin anew. */
  function take(chosen) {
    settings = { ...chosen };
    for (const [name] of FIELDS) part(name).value = settings[name];
    const same = PRESETS.findIndex(([, preset]) => FIELDS.every(([name]) => preset[name] === settings[name]));
    part("preset").value = same < 0 ? "" : same;
    part("about").textContent = same < 0 ? "" : PRESETS[same][2];
    part("link").value = location.href.split("#")[0] + formatLink(settings);
    reset();
  }

  const published = () => {
    const same = PRESETS.find(([, preset]) => FIELDS.every(([name]) => name === "seed" || preset[name] === settings[name]));
    return same ? same[3] : null;
  };

  /* ---- training ---- */

  function reset() {
    errors = [];
    scores = null;
    running = false;
    started = 0;
    run += 1;
    worker.postMessage({ type: "reset", settings, run });
    showErrors();
    showComponent();
    buttons();
  }

  function toggle() {
    running = !running;
    started = performance.now();
    batchesBefore = told?.batches ?? 0;
    worker.postMessage({ type: running ? "go" : "pause" });
    say(running ? "Training." : `Paused ${where()}.`);
    buttons();
  }

  const finished = () => told && told.batches >= told.perEpoch * settings.epochs;
  const where = () => `in epoch ${Math.min(Math.floor(told.batches / told.perEpoch) + 1, settings.epochs)} of ${settings.epochs}`;

  function buttons() {
    part("start").textContent = running ? "Pause" : errors.length || told?.batches ? "Go on" : "Start";
    part("start").disabled = part("step").disabled = finished();
    if (running) part("step").disabled = true;
  }

  function say(text) {
    if (part("status").textContent !== text) part("status").textContent = text;
  }

  function remaining() {
    const spent = (performance.now() - started) / 1000;
    const trained = told.batches - batchesBefore;
    if (spent < 0.5 || !trained) return "";
    const left = ((told.perEpoch * settings.epochs - told.batches) * spent) / trained;
    return `; about ${left < 1 ? "a second" : `${Math.ceil(left)} seconds`} left`;
  }

  function hear({ data: message }) {
    if (message.type === "loaded") return begin(message.ratings);
    if (message.run !== run) return;
    told = message;
    part("progress").value = told.batches / (told.perEpoch * settings.epochs);
    if (message.type === "epoch") {
      errors.push(message.errors);
      scores = message.scores;
      showErrors();
      showComponent();
      say(message.done ? `Done: ${settings.epochs} epochs.` : `Epoch ${errors.length} of ${settings.epochs} done${remaining()}.`);
      if (message.done) running = false;
    } else if (message.type === "ready") say("Ready.");
    else if (!running) say(`${told.batches} batches, ${where()}.`);
    if (message.type !== "progress" || !running || !still.matches) showVectors();
    buttons();
  }

  /* ---- pictures ---- */

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* A canvas with axes: gives functions from numbers to its places. */
  function plot(name, { x, y, height = 260, labels }) {
    const canvas = part(name);
    const width = canvas.clientWidth || 320;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px sans-serif";
    const box = { left: 46, right: width - 8, top: 8, bottom: height - 36 };
    const toX = (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (box.right - box.left);
    const toY = (value) => box.bottom - ((value - y[0]) / (y[1] - y[0])) * (box.bottom - box.top);
    pen.fillStyle = css("--pst-color-text-base");
    pen.strokeStyle = css("--pst-color-border");
    pen.lineWidth = 1;
    pen.textAlign = "center";
    for (const tick of ticks(x)) pen.fillText(text(tick), toX(tick), box.bottom + 15);
    pen.fillText(labels[0], (box.left + box.right) / 2, height - 4);
    pen.textAlign = "right";
    for (const tick of ticks(y)) {
      pen.fillText(text(tick), box.left - 5, toY(tick) + 4);
      pen.beginPath();
      pen.moveTo(box.left, toY(tick));
      pen.lineTo(box.right, toY(tick));
      pen.stroke();
    }
    pen.save();
    pen.translate(11, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(labels[1], 0, 0);
    pen.restore();
    return { pen, toX, toY, box };
  }

  const text = (value) => String(Number(value.toPrecision(3)));

  function ticks([low, high]) {
    const raw = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * power).find((candidate) => candidate >= raw);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) found.push(value);
    return found;
  }

  function range(values, room = 0.05) {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const more = (high - low || 1) * room;
    return [low - more, high + more];
  }

  function curves(name, columns, mark) {
    const values = columns.flatMap((column) => errors.map((row) => row[column])).filter(Number.isFinite);
    const shown = [...values, ...(mark ? [mark] : [])];
    const y = shown.length ? range(shown) : [0.8, 1.2];
    const frame = plot(name, { x: [0.5, settings.epochs + 0.5], y, labels: ["Epoch", "RMSE (stars)"] });
    const { pen, toX, toY, box } = frame;
    if (mark) {
      pen.setLineDash([3, 4]);
      pen.strokeStyle = css("--pst-color-text-base");
      pen.beginPath();
      pen.moveTo(box.left, toY(mark));
      pen.lineTo(box.right, toY(mark));
      pen.stroke();
      pen.setLineDash([]);
      pen.textAlign = "right";
      pen.fillText(`the post: ${mark}`, box.right, toY(mark) - 4);
    }
    columns.forEach((column, i) => {
      pen.strokeStyle = pen.fillStyle = COLOURS[column];
      pen.lineWidth = 2;
      pen.beginPath();
      errors.forEach((row, epoch) => pen.lineTo(toX(epoch + 1), toY(row[column])));
      pen.stroke();
      errors.forEach((row, epoch) => pen.fillRect(toX(epoch + 1) - 2.5, toY(row[column]) - 2.5, 5, 5));
      pen.fillRect(box.left + 6, box.top + 8 + 16 * i, 10, 3);
      pen.fillStyle = css("--pst-color-text-base");
      pen.textAlign = "left";
      pen.fillText(NAMES[column], box.left + 20, box.top + 13 + 16 * i);
    });
  }

  function showErrors() {
    curves("curves", ["train", "valid", "seen"], published());
    curves("cold", ["cold"], null);
    const columns = ["train", "valid", "seen", "cold"];
    part("errors").replaceChildren(...errors.map((row, epoch) => element(
      "tr", {},
      element("th", { scope: "row", textContent: epoch + 1 }),
      ...columns.map((column) => element("td", { textContent: row[column].toFixed(4) }))
    )));
    const stop = stoppedAfter(errors.map((row) => row.valid));
    part("verdict").textContent = stop
      ? `Early stopping, as in the post, would have ended after epoch ${stop}, at ${errors[stop - 1].valid.toFixed(2)}.`
      : "";
  }

  function showVectors() {
    const flat = settings.dim === 2;
    part("plane-hint").textContent = flat
      ? "Each dot is a movie with more than 20 ratings, at its two numbers; the darker, the higher its mean rating."
      : "The first 20 movies, a row each, as in the post's picture: purple is negative, orange positive.";
    if (flat) return showPlane();
    const { pen, toX, toY } = plot("vectors", { x: [0, settings.dim], y: [20, 0], labels: ["Dimension", "Movie"] });
    const largest = told.first.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
    for (let row = 0; row < 20; row++) {
      for (let k = 0; k < settings.dim; k++) {
        pen.fillStyle = shade(told.first[row * told.width + k] / largest);
        pen.fillRect(toX(k), toY(row), toX(1) - toX(0) + 0.5, toY(1) - toY(0) + 0.5);
      }
    }
  }

  /* From purple by white to orange. */
  function shade(value) {
    const [r, g, b] = value < 0 ? [84, 39, 136] : [179, 88, 6];
    const mix = (colour) => Math.round(247 + (colour - 247) * Math.abs(value));
    return `rgb(${mix(r)}, ${mix(g)}, ${mix(b)})`;
  }

  function showPlane() {
    const x = range(told.plane.map((vector) => vector[0]));
    const y = range(told.plane.map((vector) => vector[1]));
    const { pen, toX, toY } = plot("vectors", { x, y, height: 380, labels: ["First number", "Second number"] });
    told.plane.forEach(([a, b], i) => {
      pen.fillStyle = `hsl(205, 90%, ${85 - 14 * (means[i] - 1)}%)`;
      pen.fillRect(toX(a) - 2, toY(b) - 2, 4, 4);
    });
  }

  function showComponent() {
    const shift = part("shift").checked ? 1 : 0;
    const found = scores ? joined(scores, known.ids, means, shift) : [];
    const y = found.length ? range(found) : [-1, 1];
    const { pen, toX, toY } = plot("pc1", { x: [1, 5], y, height: 300, labels: ["Mean rating (stars)", "PC1"] });
    pen.fillStyle = COLOURS.seen;
    pen.globalAlpha = 0.6;
    found.forEach((value, i) => pen.fillRect(toX(means[i]) - 2, toY(value) - 2, 4, 4));
    const order = [...found.keys()].sort((a, b) => found[a] - found[b]);
    const titled = (rows) => rows.map((i) => element("li", { textContent: known.titles[i] }));
    part("lowest").replaceChildren(...titled(order.slice(0, 10)));
    part("highest").replaceChildren(...titled(order.slice(-10).reverse()));
    part("correlation").textContent = found.length
      ? `Correlation with the mean rating: ${correlation(found, means).toFixed(2)}.`
      : "Train for an epoch to see it.";
  }

  function drawAll() {
    showErrors();
    showComponent();
    if (told) showVectors();
  }

  /* ---- begin ---- */

  function begin(ratings) {
    const sums = new Float64Array(ratings.nMovies + 1);
    const counts = new Float64Array(ratings.nMovies + 1);
    ratings.movies.forEach((movie, row) => {
      sums[movie] += ratings.stars[row];
      counts[movie] += 1;
    });
    means = known.ids.map((id) => sums[id] / counts[id]);
    readHash();
  }

  function readHash() {
    const { settings: linked, ignored } = parseLink(location.hash);
    take(linked ?? PRESETS[0][1]);
    note(ignored.length ? [`Ignored in the link: ${ignored.slice(0, 5).join("; ")}.`] : []);
  }

  async function copy() {
    part("link").select();
    try {
      await navigator.clipboard.writeText(part("link").value);
    } catch {
      document.execCommand("copy");
    }
    say("Link copied.");
  }

  part("missing").hidden = true;
  app.hidden = false;
  makeFields();
  part("start").addEventListener("click", toggle);
  part("step").addEventListener("click", () => worker.postMessage({ type: "step" }));
  part("reset").addEventListener("click", reset);
  part("copy").addEventListener("click", copy);
  part("shift").addEventListener("change", showComponent);
  part("settings").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", readHash);
  addEventListener("resize", () => requestAnimationFrame(drawAll));
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  worker = startWorker();
  worker.addEventListener("message", hear);
  worker.postMessage({ type: "load", packed: data.packed, known });
});
