/* The page "Try it yourself". First pure functions, which repeat src/embedlens/foldin.py
   (tests hold the two together); below them what touches the page. Needs movies.js. */
"use strict";

window.EmbedLensTry = (() => {
  const { vectorsOf, dot, cosine } = window.EmbedLensMovies;

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

  /* The rated movie with the greatest cosine similarity, and what its rating adds to taste. */
  function nearest(space, user, row) {
    let best = null;
    user.rows.forEach((rated, i) => {
      const near = cosine(space.vectors[row], space.vectors[rated]);
      const push = (dot(space.vectors[row], space.vectors[rated]) * user.residuals[i]) / space.ridge.vector;
      if (!best || near > best.cosine) best = { id: space.id[rated], cosine: near, push };
    });
    return best;
  }

  /* The n best movies that the user has not rated; `by` is "predicted" or "taste". */
  function rank(space, user, n = 10, by = "predicted") {
    const rated = new Set(user.rows);
    return space.id
      .map((_, row) => row)
      .filter((row) => !rated.has(row))
      .map((row) => explain(space, user, row))
      .sort((a, b) => b[by] - a[by] || b.predicted - a.predicted || a.id - b.id)
      .slice(0, n)
      .map((movie) => ({ ...movie, nearest: nearest(space, user, movie.row) }));
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

  return { spaceOf, foldIn, explain, nearest, rank, parseLink, formatLink };
})();

document.addEventListener("DOMContentLoaded", () => {
  const app = document.getElementById("try-app");
  if (!app || !window.EMBEDLENS) return;
  const { element, connectSearch } = window.EmbedLensMovies;
  const { spaceOf, foldIn, rank, parseLink, formatLink } = window.EmbedLensTry;
  const STORE = "embedlens-ratings";
  const SHOWN = 8;
  const PARTS = ["bias", "shared", "taste"];
  const space = spaceOf(window.EMBEDLENS);
  const mostRated = space.id.map((_, row) => row).sort((a, b) => space.n[b] - space.n[a] || a - b);
  const part = (name) => document.getElementById(`try-${name}`);
  const titleOf = (id) => space.title[space.rowOf.get(id)];
  const signed = (x) => (x < -0.005 ? "−" : "+") + Math.abs(x).toFixed(2);

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

  function bar(movie, widest) {
    const segments = [];
    const ends = { 1: 0, "-1": 0 }; /* Positive parts pile up to the right, negative to the left. */
    for (const name of PARTS) {
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

  function recommendation(movie, widest) {
    const parts = PARTS.map((name) => `${name} ${signed(movie[name])}`).join(", ");
    const lines = [
      element("div", { className: "try-head" },
        element("span", { className: "try-title", textContent: space.title[movie.row] }),
        element("span", { className: "try-predicted", textContent: `${movie.predicted.toFixed(2)} ★` })),
      bar(movie, widest),
      element("div", { className: "try-small", textContent: parts }),
    ];
    if (movie.nearest) {
      const { id, cosine, push } = movie.nearest;
      const why =
        `Nearest of your movies: ${titleOf(id)}, which you gave ${chosen.get(id)} ★ ` +
        `(cosine ${cosine.toFixed(2).replace("-", "−")}, adds ${signed(push)} to taste)`;
      lines.push(element("div", { className: "try-small", textContent: why }));
    }
    return element("li", { dataset: { id: movie.id } }, ...lines);
  }

  function show() {
    showRatings();
    showList();
  }

  function showList() {
    const ratings = rated();
    const list = rank(space, foldIn(space, ratings), 10, part("order").value);
    const sum = (movie, side) =>
      PARTS.reduce((total, name) => total + Math.max(side * movie[name], 0), 0);
    const left = Math.max(...list.map((movie) => sum(movie, -1)));
    const right = Math.max(...list.map((movie) => sum(movie, 1)));
    const widest = { left, span: Math.max(left + right, 1e-9) };
    part("list").replaceChildren(...list.map((movie) => recommendation(movie, widest)));
    const count = ratings.length === 1 ? "1 rating" : `${ratings.length} ratings`;
    part("whose").textContent = ratings.length
      ? `For you, from ${count}. First: ${space.title[list[0].row]}.`
      : "You have not rated yet: these are for the average user.";
  }

  connectSearch({
    input: part("search"),
    list: part("options"),
    movies: space,
    say: (text) => (part("count").textContent = text),
    choose: (row) => choose(space.id[row]),
  });
  part("order").addEventListener("change", showList);
  part("clear").addEventListener("click", () => {
    chosen.clear();
    keep();
    show();
    part("search").focus();
  });
  part("copy").addEventListener("click", async () => {
    part("link").select();
    try {
      await navigator.clipboard.writeText(part("link").value);
      part("copied").textContent = "Copied";
    } catch {
      part("copied").textContent = "The link is marked: copy it with Ctrl+C";
    }
  });
  window.addEventListener("hashchange", () => location.hash.startsWith("#r=") && load());

  part("missing").hidden = true;
  app.hidden = false;
  load();
});
