/* The page "Train it yourself": settings, a worker that trains by engine.js, and what one sees.
   Needs ratings-data.js, movies.js and engine.js. */
"use strict";

window.EmbedLensTrain = (() => {
  /* Name, label, and the choices or the range; in this order in the form and in a link. */
  const FIELDS = [
    ["model", "Model", ["dot", "bias"]],
    ["low", "Initial weights from", [-1, 0]],
    ["high", "Initial weights to", [0.001, 1]],
    ["dim", "Dimensions", [2, 64]],
    ["userDropout", "Dropout of users", [0, 0.9]],
    ["movieDropout", "Dropout of movies", [0, 0.9]],
    ["rate", "Learning rate", [0.0001, 0.02]],
    ["batch", "Batch size", [8, 2048]],
    ["epochs", "Epochs", [1, 30]],
    ["patience", "Stop after epochs without gain (0: never)", [0, 30]],
    ["seed", "Seed", [0, 999999]],
  ];
  const WHOLE = ["dim", "batch", "epochs", "patience", "seed"];
  const BASE = {
    model: "dot", low: 0, high: 0.05, dim: 64, userDropout: 0, movieDropout: 0,
    rate: 0.001, batch: 32, epochs: 10, patience: 2, seed: 1,
  };
  const BIAS = { ...BASE, model: "bias", low: -0.05, userDropout: 0.3, movieDropout: 0.6 };
  const LONG = { epochs: 20, patience: 0 };
  /* Name, settings, what it is, and the RMSE that the post gives. */
  const PRESETS = [
    ["The post's first model", BASE, "A dot product of two vectors. Initial weights lie between 0 and 0.05.", 1.08],
    ["With biases", BIAS, "The post's second model: biases, dropout and a bounded scale.", 0.88],
    ["Own layer: only the initializer differs", { ...BASE, low: -0.05 },
      "The first model again, but initial weights lie between -0.05 and 0.05, as in the layer that the post writes by hand.", 1.13],
    ["Overfit", { ...BIAS, ...LONG, userDropout: 0, movieDropout: 0 },
      "The bias model without dropout, for twenty epochs. The training error falls on; what does the validation error do?"],
    ["No training for cold movies", { ...BASE, ...LONG },
      "The first model for twenty epochs. Seen and cold movies part: nothing trains the vector of a movie without a rating."],
    ["Two dimensions", { ...BIAS, ...LONG, dim: 2, userDropout: 0, movieDropout: 0 },
      "The bias model with vectors that can be drawn: watch them move."],
  ];

  /* The preset of these settings, whatever the seed; undefined if there is none. */
  const presetOf = (settings) => PRESETS.find(([, preset]) =>
    FIELDS.every(([name]) => name === "seed" || preset[name] === settings[name]));

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
      let reason = "";
      if (value === undefined || more.length || !FIELDS.some(([known]) => known === name)) reason = "no such setting";
      else if (name in settings) reason = "given before";
      else reason = wrong(name, value);
      if (reason) ignored.push(`${piece.trim().slice(0, 30)} (${reason})`);
      else settings[name] = valueOf(name, value);
    }
    return { settings: { ...BASE, ...settings }, ignored };
  }

  const valueOf = (name, text) => (name === "model" ? text : Number(text));

  /* Why a text does not do for a setting; empty if it does. */
  function wrong(name, text) {
    const [, , range] = FIELDS.find(([known]) => known === name);
    if (name === "model") return range.includes(text) ? "" : "dot or bias";
    const [least, most] = range;
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value)) return "not a number";
    if (value < least || value > most) return `${least} to ${most}`;
    return WHOLE.includes(name) && !Number.isInteger(value) ? "a whole number" : "";
  }

  const formatLink = (settings) => "#t=" + FIELDS.map(([name]) => `${name}:${settings[name]}`).join(",");

  /* What runs in the worker: trains in short turns, so that it hears "pause", and tells what it has. */
  function work(engine) {
    const TURN = 80; // milliseconds
    let ratings, known, parts, trainer, settings, errors, done;
    let running = false;
    let run = 0; // tells the page what belongs to settings that it has left
    let chain = 0; // of turns; an older one ends

    function restart(message) {
      ({ settings, run } = message);
      parts = engine.groups(ratings, engine.split(ratings, settings.seed));
      trainer = engine.trainer(ratings, parts, settings);
      errors = [];
      running = done = false;
      tell("ready");
    }

    function tell(type, more = {}) {
      const { width, dim, perEpoch, movies } = trainer;
      const vector = (row) => movies.slice(row * width, row * width + dim);
      const rows = dim === 2 ? known : Array.from({ length: 20 }, (_, i) => i + 1);
      const counts = { valid: parts.valid.length, cold: parts.cold.length };
      postMessage({ type, run, vectors: rows.map(vector), perEpoch, counts, batches: trainer.batches(), done, ...more });
    }

    function oneBatch() {
      if (!trainer.oneBatch()) return;
      const found = {};
      for (const name of ["train", "valid", "seen", "cold"]) found[name] = trainer.rmse(parts[name]);
      errors.push(found);
      const stop = engine.stoppedAfter(errors.map(({ valid }) => valid), settings.patience);
      done = trainer.done() || stop !== null;
      tell("epoch", { errors, scores: engine.firstComponent(trainer.movies, trainer.width, trainer.dim) });
    }

    function turn(own) {
      const started = performance.now();
      while (running && own === chain && !done && performance.now() - started < TURN) oneBatch();
      if (!running || own !== chain || done) return;
      tell("progress");
      setTimeout(turn, 0, own);
    }

    self.onmessage = ({ data }) => {
      if (data.type === "load") ({ ratings, known } = data);
      else if (data.type === "reset") restart(data);
      else if (data.type === "pause") {
        running = false;
        tell("progress");
      } else if (data.type === "go") {
        running = true;
        turn(++chain);
      } else if (data.type === "step" && !done) {
        oneBatch();
        tell("progress");
      }
    };
  }

  /* A worker from the functions' own text: a page from disk may not load one from a file. */
  function startWorker() {
    const text = `"use strict";(${work})((${embedLensEngine})());`;
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    return new Worker(address);
  }

  return { FIELDS, PRESETS, BASE, presetOf, parseLink, valueOf, wrong, formatLink, startWorker };
})();

document.addEventListener("DOMContentLoaded", () => {
  const app = document.getElementById("train-app");
  const data = window.EMBEDLENS_RATINGS;
  if (!app || !data || !window.Worker) return;
  const { FIELDS, PRESETS, presetOf, parseLink, valueOf, wrong, formatLink, startWorker } = window.EmbedLensTrain;
  const { element, copyLink } = window.EmbedLensMovies;
  const { decode, joined, correlation } = embedLensEngine();
  const part = (name) => document.getElementById(`train-${name}`);
  const [BLUE, ORANGE] = ["#0173b2", "#de8f05"];
  /* Colour (null: that of the text) and dashes of each curve; the legend is in train.css. */
  const CURVES = { train: ["#029e73", [7, 4]], valid: [null, []], seen: [BLUE, [2, 3]], cold: [ORANGE, []] };
  const NAMED = 6; // of the most rated movies, at two dimensions
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const known = data.known; // movies with more than 20 ratings
  const ratings = decode(data.packed);
  const starsOf = known.ids.map(() => []);
  const placeOf = new Map(known.ids.map((id, i) => [id, i]));
  ratings.movies.forEach((id, row) => starsOf[placeOf.get(id)]?.push(ratings.stars[row]));
  const means = starsOf.map((stars) => stars.reduce((sum, x) => sum + x, 0) / stars.length);
  const named = [...means.keys()].sort((a, b) => starsOf[b].length - starsOf[a].length).slice(0, NAMED);
  const worker = startWorker();
  let settings, told;
  let [errors, scores, running, run] = [[], null, false, 0];
  let [started, before] = [0, 0]; // time, and batches trained by then: for the time that is left
  let drawnFor = 0; // width of the page

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
    part("preset").replaceChildren(...PRESETS.map(([name]) => new Option(name)), new Option("my own settings", ""));
    part("preset").addEventListener("change", () => {
      const chosen = PRESETS.find(([name]) => name === part("preset").value);
      if (chosen) change(chosen[1]);
      else part("more").open = true;
    });
  }

  function readFields() {
    const reasons = [];
    for (const [name, label] of FIELDS) {
      const reason = wrong(name, part(name).value);
      part(name).ariaInvalid = String(reason !== "");
      if (reason) reasons.push(`${label}: ${reason}.`);
    }
    if (reasons.length) return note(reasons);
    change(Object.fromEntries(FIELDS.map(([name]) => [name, valueOf(name, part(name).value)])));
  }

  /* The reader's own choice: what the address says holds no longer. */
  function change(chosen) {
    if (location.hash.startsWith("#t=")) history.replaceState(null, "", location.pathname + location.search);
    note([]);
    take(chosen);
  }

  function readHash() {
    const { settings: linked, ignored } = parseLink(location.hash);
    if (!linked) return;
    take(linked);
    const more = ignored.length > 5 ? ` and ${ignored.length - 5} more` : "";
    note(ignored.length ? [`Ignored in the link: ${ignored.slice(0, 5).join("; ")}${more}.`] : []);
  }

  function note(lines) {
    part("notice").replaceChildren(...lines.map((line) => element("p", { textContent: line })));
    part("notice").hidden = !lines.length;
  }

  /* Take settings over, and begin anew. */
  function take(chosen) {
    settings = { ...chosen };
    for (const [name] of FIELDS) Object.assign(part(name), { value: settings[name], ariaInvalid: "false" });
    const [name, , about] = presetOf(settings) ?? ["", , ""];
    part("preset").value = name;
    part("about").textContent = about;
    part("link").value = location.href.split("#")[0] + formatLink(settings);
    part("copied").textContent = "";
    reset();
  }

  /* ---- training ---- */

  function reset() {
    errors = [];
    scores = told = null;
    running = false;
    run += 1;
    worker.postMessage({ type: "reset", settings, run });
    showErrors();
    showComponent();
  }

  function toggle() {
    if (told?.done) reset();
    running = !running;
    started = performance.now();
    before = told?.batches ?? 0;
    worker.postMessage({ type: running ? "go" : "pause" });
    if (running) say("Training …");
    showProgress();
  }

  const say = (text) => (part("status").textContent = text);
  const total = () => told.perEpoch * settings.epochs;
  const place = () => `${told.batches.toLocaleString("en")} of ${total().toLocaleString("en")} batches`;

  function hear({ data: message }) {
    if (message.run !== run) return;
    told = message;
    if (message.type === "ready" && !running) say(`Ready: ${settings.epochs} epochs of ${told.perEpoch.toLocaleString("en")} batches.`);
    if (message.type === "epoch") {
      ({ errors, scores } = message);
      showErrors();
      showComponent();
      if (message.done) end();
    } else if (message.type === "progress" && !running && !told.done) say(`Paused after ${place()}.`);
    if (message.type !== "progress" || !running || !still.matches) showVectors();
    showProgress();
  }

  function end() {
    running = false;
    const last = errors[errors.length - 1].valid.toFixed(2);
    const early = errors.length < settings.epochs ? `, as ${settings.patience} brought no gain` : "";
    const [, , , post] = presetOf(settings) ?? [];
    say(`Done after ${errors.length} epochs${early}. RMSE on validation: ${last} stars${post ? `; the post: ${post}` : ""}.`);
  }

  function showProgress() {
    part("progress").value = told ? (told.done ? 1 : told.batches / total()) : 0;
    part("start").textContent = running ? "Pause" : told?.done ? "Train again" : told?.batches ? "Go on" : "Start";
    part("step").disabled = running || Boolean(told?.done);
    part("left").textContent = running && told ? `Epoch ${Math.min(errors.length + 1, settings.epochs)} of ${settings.epochs}${timeLeft()}` : "";
  }

  function timeLeft() {
    const spent = (performance.now() - started) / 1000;
    const trained = told.batches - before;
    if (spent < 0.3 || trained <= 0) return "";
    const left = Math.ceil(((total() - told.batches) * spent) / trained);
    return left > 90 ? `; at most ${Math.ceil(left / 60)} minutes left` : `; at most ${left} s left`;
  }

  /* ---- pictures ---- */

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--pst-color-${name}`).trim();
  const short = (value) => String(Number(value.toPrecision(5))).replace("-", "−");

  /* A canvas with axes: gives functions from numbers to its places. */
  function plot(name, { x, y, height = 260, labels, ticksOf = ticks }) {
    const canvas = part(name);
    const width = canvas.clientWidth || 320;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "13px sans-serif";
    const box = { left: 52, right: width - 10, top: 10, bottom: height - 40 };
    const toX = (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (box.right - box.left);
    const toY = (value) => box.bottom - ((value - y[0]) / (y[1] - y[0])) * (box.bottom - box.top);
    pen.fillStyle = css("text-base");
    pen.strokeStyle = css("border");
    pen.textAlign = "center";
    for (const tick of ticksOf(x)) pen.fillText(short(tick), toX(tick), box.bottom + 16);
    pen.fillText(labels[0], (box.left + box.right) / 2, height - 5);
    pen.textAlign = "right";
    for (const tick of ticksOf(y)) {
      pen.fillText(short(tick), box.left - 6, toY(tick) + 4);
      line(pen, [[box.left, toY(tick)], [box.right, toY(tick)]]);
    }
    pen.save();
    pen.translate(13, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(labels[1], 0, 0);
    pen.restore();
    return { pen, toX, toY, box };
  }

  function line(pen, points) {
    pen.beginPath();
    for (const point of points) pen.lineTo(...point);
    pen.stroke();
  }

  function ticks(ends) {
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const raw = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * power).find((candidate) => candidate >= raw);
    const first = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
  }

  function range(values, room = 0.05) {
    const low = Math.min(...values);
    const high = Math.max(...values);
    const more = (high - low || 1) * room;
    return [low - more, high + more];
  }

  function curves(name, columns, label, post) {
    const values = columns.flatMap((column) => errors.map((row) => row[column])).filter(Number.isFinite);
    const y = values.length ? range(post ? [...values, post] : values) : [0.6, 1.4];
    const ticksOf = (ends) => ticks(ends).filter((tick) => ends === y || Number.isInteger(tick));
    const { pen, toX, toY, box } = plot(name, { x: [0.5, settings.epochs + 0.5], y, labels: ["Epoch", label], ticksOf });
    pen.strokeStyle = css("text-base");
    pen.setLineDash([1, 4]);
    if (post) line(pen, [[box.left, toY(post)], [box.right, toY(post)]]);
    pen.lineWidth = 2;
    for (const column of columns) {
      const [colour, dashes] = CURVES[column];
      pen.strokeStyle = pen.fillStyle = colour ?? css("text-base");
      pen.setLineDash(dashes);
      line(pen, errors.map((row, epoch) => [toX(epoch + 1), toY(row[column])]));
      for (const [epoch, row] of errors.entries()) pen.fillRect(toX(epoch + 1) - 2.5, toY(row[column]) - 2.5, 5, 5);
    }
  }

  function showErrors() {
    const post = presetOf(settings)?.[3];
    curves("curves", ["train", "valid", "seen"], "RMSE (stars)", post);
    curves("cold", ["cold"], "RMSE of cold movies (stars)");
    part("post").hidden = !post;
    part("post-rmse").textContent = post ?? "";
    part("errors").replaceChildren(...errors.map((row, epoch) => element(
      "tr", {},
      element("th", { scope: "row", textContent: epoch + 1 }),
      ...Object.keys(CURVES).map((column) => element("td", { textContent: row[column].toFixed(4) }))
    )));
  }

  function showVectors() {
    const { valid, cold } = told.counts;
    part("counts").textContent = `Of ${valid.toLocaleString("en")} validation ratings ${cold.toLocaleString("en")} are of cold movies: `
      + "training has no rating of them, so their vectors stay where they began.";
    if (settings.dim === 2) showPlane();
    else showHeatmap();
  }

  function showHeatmap() {
    const { pen, toX, toY } = plot("vectors", { x: [0.5, settings.dim + 0.5], y: [20.5, 0.5], height: 300, labels: ["Dimension", "Movie (dense id)"] });
    const largest = told.vectors.reduce((most, vector) => vector.reduce((a, b) => Math.max(a, Math.abs(b)), most), 1e-9);
    told.vectors.forEach((vector, row) => vector.forEach((value, k) => {
      pen.fillStyle = value < 0 ? mix("#f7f7f7", "#b35806", -value / largest) : mix("#f7f7f7", "#542788", value / largest);
      pen.fillRect(toX(k + 0.5), toY(row + 0.5), toX(2) - toX(1) + 0.5, toY(2) - toY(1) + 0.5);
    }));
    part("vectors-hint").textContent = "The vectors of the first 20 movies, a row each: orange is negative, purple positive, "
      + `white is 0. The largest number is ${largest.toFixed(2)}.`;
  }

  function mix(from, to, share) {
    const at = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
    return `rgb(${[0, 1, 2].map((i) => Math.round(at(from, i) + (at(to, i) - at(from, i)) * share)).join(" ")})`;
  }

  function showPlane() {
    const x = range(told.vectors.map((vector) => vector[0]));
    const y = range(told.vectors.map((vector) => vector[1]));
    const { pen, toX, toY } = plot("vectors", { x, y, height: 420, labels: ["First number", "Second number"] });
    told.vectors.forEach(([a, b], i) => {
      pen.fillStyle = mix(BLUE, ORANGE, Math.min(Math.max((means[i] - 2) / 2.5, 0), 1));
      pen.fillRect(toX(a) - 2, toY(b) - 2, 4, 4);
    });
    const places = named.map((i) => ({ i, x: toX(told.vectors[i][0]), y: toY(told.vectors[i][1]) })).sort((a, b) => a.y - b.y);
    let lowest = 0; // end of the name above: names keep apart
    for (const { i, x: left, y: top } of places) {
      const name = known.titles[i].replace(/(, The)? \(.*|:.*/, "");
      lowest = Math.max(top + 4, lowest + 15);
      pen.strokeStyle = css("background");
      pen.lineWidth = 4;
      const isRight = left > 0.7 * app.clientWidth;
      pen.textAlign = isRight ? "right" : "left";
      const from = left + (isRight ? -8 : 8);
      pen.strokeText(name, from, lowest);
      pen.strokeStyle = pen.fillStyle = css("text-base");
      pen.lineWidth = 1.5;
      pen.strokeRect(left - 4, top - 4, 8, 8);
      pen.fillText(name, from, lowest);
    }
    part("vectors-hint").textContent = `The vectors of the ${known.ids.length.toLocaleString("en")} movies with more than 20 ratings: `
      + "a dot each, at its two numbers; blue: a low mean rating, orange: a high one.";
  }

  function showComponent() {
    const shift = part("shift").checked ? 1 : 0;
    const found = scores ? joined(scores, known.ids, means, shift) : [];
    const y = found.length ? range(found) : [-1, 1];
    const { pen, toX, toY } = plot("pc1", { x: [1, 5], y, height: 300, labels: ["Mean rating (stars)", "PC1"] });
    pen.fillStyle = BLUE;
    pen.globalAlpha = 0.6;
    found.forEach((value, i) => pen.fillRect(toX(means[i]) - 2, toY(value) - 2, 4, 4));
    const order = [...found.keys()].sort((a, b) => found[a] - found[b]);
    const titled = (rows) => rows.map((i) => element("li", { textContent: `${known.titles[i]}: ${means[i].toFixed(1)}\u00a0★` }));
    part("lowest").replaceChildren(...titled(order.slice(0, 10)));
    part("highest").replaceChildren(...titled(order.slice(-10).reverse()));
    part("lists").hidden = !found.length;
    part("correlation").ariaLive = running ? "off" : "polite"; // told after the switch, not after each epoch
    part("correlation").textContent = found.length
      ? `Correlation with the mean rating: ${correlation(found, means).toFixed(2).replace("-", "−")}.`
      : "It is worked out after each epoch.";
  }

  function drawAll() {
    drawnFor = app.clientWidth;
    showErrors();
    showComponent();
    if (told) showVectors();
  }

  /* ---- begin ---- */

  document.body.classList.add("train-ready");
  app.hidden = false;
  makeFields();
  part("start").addEventListener("click", toggle);
  part("step").addEventListener("click", () => worker.postMessage({ type: "step" }));
  part("reset").addEventListener("click", () => reset());
  part("copy").addEventListener("click", () => copyLink(part("link"), part("copied")));
  part("shift").addEventListener("change", showComponent);
  part("settings").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", readHash);
  new ResizeObserver(() => app.clientWidth !== drawnFor && drawAll()).observe(app);
  new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  worker.addEventListener("message", hear);
  worker.postMessage({ type: "load", ratings, known: known.ids });
  take(PRESETS[0][1]);
  readHash();
});
