/* The page "Try it yourself". First pure functions, which repeat src/embedlens/foldin.py
   and use the weights of src/embedlens/ease.py
   (tests hold them together); below them what touches the page. Needs movies.js. */
"use strict";

window.EmbedLensTry = (() => {
  const { bytesOf, vectorsOf, dot } = window.EmbedLensMovies;
  const WELL = 100; // Ordered by taste: out of so many movies with the highest predictions.

  /* What stays fixed: movies and average user. `data` is window.EMBEDLENS. */
  function spaceOf(data) {
    const { movies } = data;
    return {
      ...movies,
      vectors: vectorsOf(data),
      rowOf: new Map(movies.id.map((id, row) => [id, row])),
      user: data.user,
      ridge: data.ridge,
      scale: data.scale,
    };
  }

  /* Solve a x = b for a symmetric, positive definite a (Gaussian elimination). */
  function solve(a, b) {
    const rows = a.map((row, i) => [...row, b[i]]);
    const n = rows.length;
    for (let k = 0; k < n; k++) {
      for (let i = k + 1; i < n; i++) {
        const factor = rows[i][k] / rows[k][k];
        for (let j = k; j <= n; j++) rows[i][j] -= factor * rows[k][j];
      }
    }
    const x = new Array(n).fill(0);
    for (let k = n - 1; k >= 0; k--) {
      x[k] = rows[k][n];
      for (let j = k + 1; j < n; j++) x[k] -= rows[k][j] * x[j];
      x[k] /= rows[k][k];
    }
    return x;
  }

  /* Ridge regression; `ratings` is a list of [dense id, stars]. */
  function foldIn(space, ratings) {
    const { user, ridge, scale } = space;
    const rows = ratings.map(([id]) => space.rowOf.get(id));
    const known = rows.map((row) => [...space.vectors[row], 1]);
    const wanted = ratings.map(([, stars], i) => {
      const share = (stars - scale.min) / (scale.max - scale.min);
      const kept = Math.min(Math.max(share, ridge.clip), 1 - ridge.clip);
      const average = dot(space.vectors[rows[i]], user.vector) + space.bias[rows[i]] + user.bias;
      return Math.log(kept / (1 - kept)) - average;
    });
    const dim = user.vector.length;
    const left = Array.from({ length: dim + 1 }, () => new Array(dim + 1).fill(0));
    const right = new Array(dim + 1).fill(0);
    known.forEach((x, i) => {
      for (let j = 0; j <= dim; j++) {
        right[j] += x[j] * wanted[i];
        for (let k = 0; k <= dim; k++) left[j][k] += x[j] * x[k];
      }
    });
    for (let j = 0; j <= dim; j++) left[j][j] += j < dim ? ridge.vector : ridge.bias;
    const change = solve(left, right);
    return {
      change: change.slice(0, dim),
      bias: user.bias + change[dim],
      rows,
      residuals: wanted.map((z, i) => z - dot(known[i], change)),
    };
  }

  /* What the prediction for one movie is made of; the parts are in units of score. */
  function explain(space, user, row) {
    const bias = space.bias[row] + user.bias;
    const shared = dot(space.vectors[row], space.user.vector);
    const taste = dot(space.vectors[row], user.change);
    const share = 1 / (1 + Math.exp(-(bias + shared + taste)));
    const predicted = space.scale.min + (space.scale.max - space.scale.min) * share;
    return { row, id: space.id[row], predicted, bias, shared, taste };
  }

  /* What each rating adds to the taste for one movie; the pushes add up to it. */
  function pushes(space, user, row) {
    return user.rows.map((rated, i) => ({
      id: space.id[rated],
      push: (dot(space.vectors[row], space.vectors[rated]) * user.residuals[i]) / space.ridge.vector,
    }));
  }

  const byPrediction = (a, b) => b.predicted - a.predicted || a.id - b.id;

  /* All movies that the user has not rated, best first. By "taste": the WELL movies with the
     highest predictions alone. */
  function rank(space, user, by = "predicted") {
    const rated = new Set(user.rows);
    const all = space.id
      .map((_, row) => row)
      .filter((row) => !rated.has(row))
      .map((row) => explain(space, user, row))
      .sort(byPrediction);
    if (by === "predicted") return all;
    return all.slice(0, WELL).sort((a, b) => b.taste - a.taste || byPrediction(a, b));
  }

  /* The weights of EASE; `data` is window.EMBEDLENS_EASE. */
  function easeOf({ rows, weights, units, kept, middle }) {
    const targets = new Uint16Array(bytesOf(rows).buffer);
    const steps = new Int8Array(bytesOf(weights).buffer);
    return { targets, steps, units, kept, middle };
  }

  /* All movies that EASE gives a score above 0, best first, with what each rating adds to it. */
  function rankByEase(space, ease, ratings) {
    const found = new Map();
    for (const [id, stars] of ratings) {
      const row = space.rowOf.get(id);
      const unit = (stars - ease.middle) * ease.units[row];
      for (let k = row * ease.kept; k < (row + 1) * ease.kept; k++) {
        const target = ease.targets[k];
        if (!found.has(target)) found.set(target, []);
        found.get(target).push({ id, push: unit * ease.steps[k] });
      }
    }
    for (const [id] of ratings) found.delete(space.rowOf.get(id));
    const sum = (list) => list.reduce((total, { push }) => total + push, 0);
    return [...found]
      .map(([row, list]) => ({
        row,
        id: space.id[row],
        score: sum(list),
        favour: sum(list.filter(({ push }) => push > 0)),
        against: sum(list.filter(({ push }) => push < 0)),
        pushes: list,
      }))
      .filter(({ score }) => score > 0)
      .sort((a, b) => b.score - a.score || a.id - b.id);
  }

  /* The two ratings that speak most for a movie, and the one that speaks most against it. */
  function reasons(list, least) {
    const sorted = list.filter(({ push }) => Math.abs(push) >= least).sort((a, b) => b.push - a.push);
    return {
      because: sorted.filter(({ push }) => push > 0).slice(0, 2),
      although: sorted.filter(({ push }) => push < 0).slice(-1),
    };
  }

  /* "#r=318:5,296:4.5" as ratings, and what was ignored, with the reason. */
  function parseLink(space, hash) {
    const ratings = new Map();
    const ignored = [];
    if (!hash.startsWith("#r=")) return { ratings: [], ignored };
    let text = hash.slice(3);
    try {
      text = decodeURIComponent(text);
    } catch {
      /* A stray % stays as it is, and is reported below. */
    }
    for (const piece of text.split(",").filter((part) => part.trim())) {
      const found = piece.match(/^\s*(\d{1,9}):(\d(?:\.\d)?)\s*$/);
      const [id, stars] = found ? [Number(found[1]), Number(found[2])] : [];
      let reason = "";
      if (!found) reason = "not of the form movie:stars";
      else if (!space.rowOf.has(id)) reason = "no such movie";
      else if (stars < space.scale.min || stars > space.scale.max || (2 * stars) % 1)
        reason = `not ${space.scale.min} to ${space.scale.max} stars in halves`;
      else if (ratings.has(id)) reason = "movie given before";
      if (reason) ignored.push(`${piece.trim().slice(0, 30)} (${reason})`);
      else ratings.set(id, stars);
    }
    return { ratings: [...ratings], ignored };
  }

  const formatLink = (ratings) => "#r=" + ratings.map((pair) => pair.join(":")).join(",");

  return {
    WELL, spaceOf, foldIn, explain, pushes, rank, easeOf, rankByEase, reasons, parseLink, formatLink,
  };
})();

document.addEventListener("DOMContentLoaded", () => {
  const app = document.getElementById("try-app");
  if (!app || !window.EMBEDLENS || !window.EMBEDLENS_EASE) return;
  const { element, copyLink, connectSearch } = window.EmbedLensMovies;
  const {
    WELL, spaceOf, foldIn, pushes, rank, easeOf, rankByEase, reasons, parseLink, formatLink,
  } = window.EmbedLensTry;
  const STORE = "embedlens-ratings";
  const SHOWN = 8;
  const LISTED = 10;
  const space = spaceOf(window.EMBEDLENS);
  const ease = easeOf(window.EMBEDLENS_EASE);
  /* `parts`: of the bars; `least`: pushes that are smaller are no reasons. */
  const MODELS = {
    bias: {
      name: "the bias model",
      parts: ["bias", "shared", "taste"],
      digits: 2,
      least: 0.005,
      told: (movie) => `${movie.predicted.toFixed(2)} ★`,
      sums: (movie) => MODELS.bias.parts.map((name) => `${name} ${signed(movie[name], 2)}`).join(", "),
    },
    ease: {
      name: "EASE",
      parts: ["favour", "against"],
      digits: 3,
      least: 0.0005,
      told: (movie) => `score ${movie.score.toFixed(3)}`,
      sums: (movie) => `in favour ${movie.favour.toFixed(3)}, against ${Math.abs(movie.against).toFixed(3)}`,
    },
  };
  const mostRated = space.id.map((_, row) => row).sort((a, b) => space.n[b] - space.n[a] || a - b);
  const part = (name) => document.getElementById(`try-${name}`);
  const titleOf = (id) => space.title[space.rowOf.get(id)];
  const signed = (x, digits) =>
    (x.toFixed(digits) < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);

  /* Dense id -> stars, or null for a movie that was chosen and waits for its stars. */
  let chosen = new Map();

  const rated = () => [...chosen].filter(([, stars]) => stars !== null);

  /* ---- keeping ---- */

  function stored() {
    try {
      return parseLink(space, localStorage.getItem(STORE) || "").ratings;
    } catch {
      return []; /* Some browsers forbid storage to a page from disk. */
    }
  }

  function keep() {
    try {
      localStorage.setItem(STORE, formatLink(rated()));
    } catch {
      /* As above: then the link is the way to keep ratings. */
    }
    if (location.hash.startsWith("#r=")) history.replaceState(null, "", location.pathname + location.search);
    part("notice").hidden = true;
  }

  function load() {
    const { ratings, ignored } = parseLink(space, location.hash);
    const own = stored();
    chosen = new Map(ratings.length ? ratings : own);
    const lines = [];
    if (ratings.length) {
      lines.push("These ratings come from the link. They replace your own once you change one.");
    }
    if (ignored.length) {
      const more = ignored.length > 5 ? ` and ${ignored.length - 5} more` : "";
      lines.push(`Ignored in the link: ${ignored.slice(0, 5).join("; ")}${more}.`);
    }
    part("notice").replaceChildren(...lines.map((line) => element("p", { textContent: line })));
    part("notice").hidden = !lines.length;
    show();
  }

  /* ---- ratings ---- */

  function choose(id) {
    if (!chosen.has(id)) chosen.set(id, null);
    part("search").value = "";
    showRatings();
    part("ratings").querySelector(`[data-id="${id}"] select`).focus();
  }

  /* The rows stay as they are, so that the control keeps the focus. */
  function rate(id, control) {
    control.querySelector('[value=""]')?.remove();
    chosen.set(id, Number(control.value));
    keep();
    showAround();
    showList();
  }

  function remove(id) {
    const place = [...chosen.keys()].indexOf(id);
    chosen.delete(id);
    keep();
    show();
    const buttons = part("ratings").querySelectorAll("button");
    (buttons[Math.min(place, buttons.length - 1)] || part("search")).focus();
  }

  function starsControl(id, title) {
    const control = element("select", { attributes: { "aria-label": `Stars for ${title}` } });
    if (chosen.get(id) === null) control.append(new Option("stars …", ""));
    for (let stars = space.scale.max; stars >= space.scale.min; stars -= 0.5) {
      control.append(new Option(`${stars} ★`, stars));
    }
    control.value = chosen.get(id) ?? "";
    control.addEventListener("change", () => rate(id, control));
    return control;
  }

  function showRatings() {
    const rows = [...chosen.keys()].map((id) => {
      const title = titleOf(id);
      const button = element("button", {
        type: "button",
        textContent: "Remove",
        attributes: { "aria-label": `Remove ${title}` },
      });
      button.addEventListener("click", () => remove(id));
      const name = element("span", { className: "try-title", textContent: title });
      return element("li", { dataset: { id } }, name, starsControl(id, title), button);
    });
    part("ratings").replaceChildren(...rows);
    showAround();
  }

  /* What stands around the rows: the tools below, the suggestions above. */
  function showAround() {
    part("none").hidden = chosen.size > 0;
    part("tools").hidden = chosen.size === 0;
    part("copied").textContent = "";
    const address = location.href.split("#")[0];
    part("link").value = address + formatLink(rated());
    const offered = mostRated.filter((row) => !chosen.has(space.id[row])).slice(0, SHOWN);
    part("suggestions").replaceChildren(
      ...offered.map((row) => {
        const button = element("button", { type: "button", textContent: space.title[row] });
        button.addEventListener("click", () => choose(space.id[row]));
        return element("li", {}, button);
      })
    );
  }

  /* ---- recommendations ---- */

  function bar(movie, parts, widest) {
    const segments = [];
    const ends = { 1: 0, "-1": 0 }; /* Positive parts pile up to the right, negative to the left. */
    for (const name of parts) {
      const side = movie[name] < 0 ? -1 : 1;
      const width = (Math.abs(movie[name]) / widest.span) * 100;
      const from = (widest.left / widest.span) * 100 + ends[side] - (side < 0 ? width : 0);
      ends[side] += side * width;
      const style = `left:${from}%;width:${width}%`;
      segments.push(element("span", { className: `try-${name}`, attributes: { style } }));
    }
    const zero = `left:${(widest.left / widest.span) * 100}%`;
    segments.push(element("span", { className: "try-zero", attributes: { style: zero } }));
    return element("div", { className: "try-bar", attributes: { "aria-hidden": "true" } }, ...segments);
  }

  /* "Because you gave A 5 ★ (+0.12) and B 4 ★ (+0.08), although you gave C 1 ★ (−0.05)." */
  function reasonOf(list, { least, digits }) {
    const { because, although } = reasons(list, least);
    const given = ({ id, push }) => `${titleOf(id)} ${chosen.get(id)} ★ (${signed(push, digits)})`;
    const [pro, contra] = [because, although].map((some) => some.map(given).join(" and "));
    if (!pro && !contra) return "Your ratings hardly move it.";
    const sum = list.reduce((total, { push }) => total + push, 0);
    if (pro && sum > 0) return `Because you gave ${pro}${contra && `, although you gave ${contra}`}.`;
    return `In spite of your taste: you gave ${contra}${pro && `; in its favour only ${pro}`}.`;
  }

  function recommendation(movie, model, widest, otherPlace) {
    const { parts, told, sums } = model;
    const lines = [
      element("div", { className: "try-head" },
        element("span", { className: "try-title", textContent: space.title[movie.row] }),
        element("span", { className: "try-predicted", textContent: told(movie) })),
      bar(movie, parts, widest),
      element("div", { className: "try-small", textContent: `${sums(movie)}. ${otherPlace}` }),
    ];
    if (movie.pushes.length) {
      const why = reasonOf(movie.pushes, model);
      lines.push(element("div", { className: "try-small try-why", textContent: why }));
    }
    return element("li", { dataset: { id: movie.id } }, ...lines);
  }

  function show() {
    showRatings();
    showList();
  }

  /* The lists of both models: all movies, best first. */
  function lists() {
    const ratings = rated();
    const user = foldIn(space, ratings);
    const list = rank(space, user, part("order").value);
    return {
      bias: list.map((movie, place) =>
        place < LISTED ? { ...movie, pushes: pushes(space, user, movie.row) } : movie),
      ease: rankByEase(space, ease, ratings),
    };
  }

  /* Where the list of the other model has the movie. */
  function placesIn(list, name) {
    const places = new Map(list.map(({ id }, place) => [id, place + 1]));
    return (id) => (places.has(id) ? `Place ${places.get(id)} for ${name}.` : `Not listed by ${name}.`);
  }

  function showList() {
    const which = part("model").value;
    const other = which === "ease" ? "bias" : "ease";
    const model = MODELS[which];
    const all = lists();
    const list = all[which].slice(0, LISTED);
    const sum = (movie, side) =>
      model.parts.reduce((total, name) => total + Math.max(side * movie[name], 0), 0);
    const left = Math.max(0, ...list.map((movie) => sum(movie, -1)));
    const right = Math.max(0, ...list.map((movie) => sum(movie, 1)));
    const widest = { left, span: Math.max(left + right, 1e-9) };
    const otherPlace = rated().length ? placesIn(all[other], MODELS[other].name) : () => "";
    part("list").replaceChildren(
      ...list.map((movie) => recommendation(movie, model, widest, otherPlace(movie.id))));
    for (const name of ["bias", "ease"]) {
      for (const e of app.querySelectorAll(`.try-with-${name}`)) e.hidden = name !== which;
    }
    part("whose").textContent = summary(which, list, all[other].slice(0, LISTED), MODELS[other].name);
  }

  function summary(which, list, others, otherName) {
    const n = rated().length;
    if (!n && which === "bias") return "You have not rated yet: these are for the average user.";
    if (!n) return "You have not rated yet: EASE has a list for you from the first rating on.";
    const count = n === 1 ? "1 rating" : `${n} ratings`;
    if (!list.length) return `From ${count}: none speaks for another movie. Rate one that you like.`;
    const ids = new Set(others.map(({ id }) => id));
    const common = list.filter(({ id }) => ids.has(id)).length;
    return `For you, from ${count}. First: ${space.title[list[0].row]}. ` +
      `In the first ten of ${otherName} too: ${common || "none"}.`;
  }

  /* What was measured in Python, of both models. */
  function showMeasured() {
    const { measured, users } = window.EMBEDLENS_EASE;
    const row = ([key, name]) => {
      const cells = ["ndcg", "precision"].map((measure) => measured[key][measure].toFixed(3));
      return element("tr", {}, element("th", { scope: "row", textContent: name }),
        ...cells.map((textContent) => element("td", { textContent })));
    };
    const names = [["bias", "Bias model"], ["ease", "EASE"], ["ease_on_page", "EASE as cut for this page"],
      ["most_rated", "The ten most rated movies, for all"]];
    part("measured").replaceChildren(...names.map(row));
    part("users").textContent = users;
  }

  connectSearch({
    input: part("search"),
    list: part("options"),
    movies: space,
    say: (text) => (part("count").textContent = text),
    choose: (row) => choose(space.id[row]),
    isChosen: (row) => chosen.has(space.id[row]),
  });
  for (const name of ["model", "order"]) part(name).addEventListener("change", showList);
  part("clear").addEventListener("click", () => {
    chosen.clear();
    keep();
    show();
    part("search").focus();
  });
  part("copy").addEventListener("click", () => copyLink(part("link"), part("copied")));
  window.addEventListener("hashchange", () => location.hash.startsWith("#r=") && load());

  part("well").textContent = WELL;
  showMeasured();
  part("missing").hidden = true;
  app.hidden = false;
  load();
});
