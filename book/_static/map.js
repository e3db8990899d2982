// The map of the movies: scatter plot, search, neighbours. Data: movies-data.js (EMBEDLENS).
(() => {
  "use strict";

  const $ = (id) => document.getElementById(`map-${id}`);
  const SHOWN = 20; // movies with more ratings are shown from the start
  const NEIGHBOURS = 10;
  const OPTIONS = 8;
  // seaborn's palette "colorblind"; each class has a symbol too.
  const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#ece133", "#56b4e9"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
  const OTHER = { colour: "#949494", symbol: "circle-open" };
  const AXES = {
    pc1: [0, "PC1: general appreciation"],
    pc2: [1, "PC2: spectacle"],
    pc3: [2, "PC3 (no name)"],
  };

  let data, movies, vectors, classes;
  let chosen = null; // index of a movie
  let options = []; // indices that the search offers
  let active = -1; // the option that the arrow keys have reached

  function start() {
    data = window.EMBEDLENS;
    if (!data || !window.Plotly) {
      say("The map could not be loaded: movies-data.js or Plotly is missing.");
      return;
    }
    movies = data.movies;
    vectors = unitVectors(data.vectors, data.dim);
    classes = largestClasses();
    for (const id of ["axes", "colour", "all"]) $(id).addEventListener("change", draw);
    $("clear").addEventListener("click", clear);
    connectSearch();
    addEventListener("hashchange", readHash);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    draw();
    $("plot").on("plotly_click", (event) => choose(event.points[0].customdata));
    $("controls").disabled = false;
    readHash();
  }

  // Data -------------------------------------------------------------------------------------

  function unitVectors(base64, dim) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return movies.id.map((_, i) => {
      const vector = Array.from({ length: dim }, (_, k) => view.getFloat32(4 * (i * dim + k), true));
      const length = Math.hypot(...vector);
      return vector.map((entry) => entry / length);
    });
  }

  const firstGenre = (i) => movies.genres[i].split("|")[0];

  function largestClasses() {
    const counts = {};
    for (const i of movies.id.keys()) counts[firstGenre(i)] = (counts[firstGenre(i)] || 0) + 1;
    const names = Object.keys(counts).filter((name) => !name.startsWith("("));
    return names.sort((a, b) => counts[b] - counts[a]).slice(0, COLOURS.length);
  }

  const shown = () => [...movies.id.keys()].filter((i) => $("all").checked || movies.n[i] > SHOWN);

  function nearest(of, among) {
    const cosine = (i) => vectors[of].reduce((sum, entry, k) => sum + entry * vectors[i][k], 0);
    const others = among.filter((i) => i !== of).map((i) => ({ i, cosine: cosine(i) }));
    return others.sort((a, b) => b.cosine - a.cosine).slice(0, NEIGHBOURS);
  }

  // Drawing ----------------------------------------------------------------------------------

  function place(i) {
    if ($("axes").value === "near") return data.layout.near[i];
    return $("axes").value.split("-").map((name) => data.layout.pc[i][AXES[name][0]]);
  }

  function axisTitles() {
    if ($("axes").value === "near") return ["", ""];
    return $("axes").value.split("-").map((name) => AXES[name][1]);
  }

  function trace(indices, settings) {
    const placed = indices.filter(place);
    return {
      type: "scatter",
      mode: "markers",
      x: placed.map((i) => place(i)[0]),
      y: placed.map((i) => place(i)[1]),
      text: placed.map((i) => movies.title[i]),
      customdata: placed,
      hovertemplate: "%{text}<extra></extra>",
      opacity: chosen === null ? 0.85 : 0.25,
      ...settings,
    };
  }

  function tracesByGenre(indices, line) {
    const look = (k) => ({ size: 8, color: COLOURS[k], symbol: SYMBOLS[k], line });
    const traces = classes.map((name, k) =>
      trace(indices.filter((i) => firstGenre(i) === name), { name, marker: look(k) }));
    const rest = indices.filter((i) => !classes.includes(firstGenre(i)));
    const marker = { size: 8, color: OTHER.colour, symbol: OTHER.symbol };
    return [...traces, trace(rest, { name: "Other", marker })];
  }

  function tracesByNumber(indices, values, title, line) {
    const known = indices.filter((i) => values[i] !== null);
    const unknown = indices.filter((i) => values[i] === null);
    const bar = { title: { text: title }, orientation: "h", y: -0.12, yanchor: "top", thickness: 12 };
    const marker = {
      size: 8, line, color: known.filter(place).map((i) => values[i]), colorscale: "Cividis", colorbar: bar,
    };
    const grey = { size: 8, color: OTHER.colour, symbol: OTHER.symbol };
    return [
      trace(known, { name: title, marker, showlegend: false }),
      trace(unknown, { name: "unknown", marker: grey, showlegend: unknown.length > 0 }),
    ];
  }

  function highlights(theme) {
    if (chosen === null) return [];
    const found = nearest(chosen, shown()).map(({ i }) => i);
    const marker = (size, symbol) => ({ size, symbol, color: theme.accent, line: { color: theme.text, width: 1.5 } });
    const common = { mode: "markers+text", opacity: 1, showlegend: false, cliponaxis: false, textfont: { color: theme.text, size: 13 } };
    const numbers = trace(found, { ...common, name: "neighbours", marker: marker(11, "circle") });
    numbers.hovertext = numbers.text;
    numbers.hovertemplate = "%{hovertext}<extra></extra>";
    numbers.text = numbers.customdata.map((i) => String(found.indexOf(i) + 1));
    numbers.textposition = "top right";
    const star = trace([chosen], { ...common, mode: "markers", name: "chosen", marker: marker(18, "star") });
    return [numbers, star];
  }

  function themeColours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--pst-color-${name}`).trim();
    return { text: colour("text-base"), background: colour("background"), muted: colour("text-muted"),
      grid: colour("border"), accent: "#de8f05" };
  }

  function draw() {
    const theme = themeColours();
    const indices = shown();
    const line = { color: theme.text, width: 0.4 };
    const by = $("colour").value;
    const traces = by === "genre" ? tracesByGenre(indices, line)
      : by === "year" ? tracesByNumber(indices, movies.year, "Year", line)
      : tracesByNumber(indices, movies.mean, "Mean rating (stars)", line);
    const [x, y] = axisTitles();
    const still = $("axes").value === "near"; // the coordinates mean nothing by themselves
    const axis = (title) => ({
      title: { text: title }, gridcolor: theme.grid, zerolinecolor: theme.grid, showgrid: !still, showticklabels: !still, zeroline: !still,
    });
    const layout = {
      height: 560,
      margin: { l: 50, r: 10, t: 30, b: 45 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: theme.text },
      hoverlabel: { bgcolor: theme.background, font: { color: theme.text } },
      legend: { orientation: "h", y: -0.12, yanchor: "top", x: 0 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.muted, activecolor: theme.text },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "pan",
      hovermode: "closest",
      uirevision: $("axes").value, // keep the zoom while the axes stay
      xaxis: axis(x),
      yaxis: axis(y),
    };
    const config = {
      responsive: true, displaylogo: false, displayModeBar: true,
      modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    };
    const all = [...traces, ...highlights(theme)];
    const drawn = traces.reduce((sum, { x }) => sum + x.length, 0);
    $("plot").setAttribute("aria-label", `Scatter plot of ${drawn} movies. The table below lists the neighbours of a chosen one.`);
    $("count").textContent = `${drawn} movies shown.` + (drawn < indices.length
      ? " Movies with 20 ratings or fewer have no place in this layout." : "");
    Plotly.react($("plot"), all, layout, config);
    fillTable();
  }

  // The chosen movie -------------------------------------------------------------------------

  const choose = (i) => { location.hash = `m${movies.id[i]}`; };

  function clear() {
    history.pushState(null, "", location.pathname + location.search);
    chosen = null;
    $("search").value = "";
    draw();
    say("No movie chosen.");
  }

  function readHash() {
    const { hash } = location; // "#m158"; the theme stumbles over links with "=" there
    if (hash === "" || document.getElementById(hash.slice(1))) return;
    const [, number] = hash.match(/^#m=?(\d{1,9})$/) || [];
    const found = movies.id.indexOf(Number(number));
    if (found < 0) {
      say(`The address ends in “${hash.slice(0, 40)}”, which names no movie of this map. Search for a title instead.`);
      return;
    }
    chosen = found;
    const rare = movies.n[chosen] <= SHOWN && !$("all").checked;
    if (rare) $("all").checked = true;
    $("search").value = movies.title[chosen];
    const inTable = $("neighbours").contains(document.activeElement);
    draw();
    if (inTable) $("neighbours").focus(); // the link that was followed is gone
    const first = movies.title[nearest(chosen, shown())[0].i];
    say(`${movies.title[chosen]}. Nearest: ${first}. The table lists ten neighbours.`
      + (rare ? " It has few ratings, so all movies are shown now." : ""));
  }

  function fillTable() {
    $("clear").disabled = chosen === null;
    $("neighbours").hidden = chosen === null;
    if (chosen === null) return;
    const i = chosen;
    $("caption").textContent = `Neighbours of ${movies.title[i]} (${movies.genres[i].replaceAll("|", ", ")}; `
      + `${movies.mean[i].toFixed(1)} stars from ${movies.n[i]} ratings)`;
    $("rows").replaceChildren(...nearest(i, shown()).map((neighbour, k) => row(k + 1, neighbour)));
  }

  function row(rank, { i, cosine }) {
    const link = document.createElement("a");
    Object.assign(link, { href: `#m${movies.id[i]}`, textContent: movies.title[i] });
    const cells = [rank, link, cosine.toFixed(2), movies.year[i] ?? "unknown",
      movies.genres[i].replaceAll("|", ", "), movies.mean[i].toFixed(1)];
    const line = document.createElement("tr");
    for (const content of cells) {
      const cell = document.createElement("td");
      cell.append(content);
      line.append(cell);
    }
    return line;
  }

  function say(text) { $("status").textContent = text; }

  // Search: a combobox as the ARIA practices describe it -----------------------------------------

  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

  function matches(query) {
    const words = plain(query).split(/\s+/).filter(Boolean);
    if (words.length === 0) return [];
    const found = [...movies.id.keys()].filter((i) => {
      const title = plain(movies.title[i]);
      return words.every((word) => title.includes(word));
    });
    const begins = (i) => plain(movies.title[i]).startsWith(words[0]);
    return found.sort((a, b) => begins(b) - begins(a) || movies.n[b] - movies.n[a]).slice(0, OPTIONS);
  }

  function offer(indices, activeOption) {
    options = indices;
    active = activeOption;
    $("options").replaceChildren(...options.map((i, k) => {
      const option = document.createElement("li");
      Object.assign(option, { id: `map-option-${k}`, role: "option", textContent: movies.title[i] });
      option.setAttribute("aria-selected", String(k === active));
      option.addEventListener("mousedown", (event) => event.preventDefault()); // keep the focus
      option.addEventListener("click", () => take(k));
      return option;
    }));
    $("options").hidden = options.length === 0;
    $("search").setAttribute("aria-expanded", String(options.length > 0));
    if (active < 0) $("search").removeAttribute("aria-activedescendant");
    else $("search").setAttribute("aria-activedescendant", `map-option-${active}`);
  }

  function take(k) {
    const i = options[k];
    $("search").value = movies.title[i];
    offer([], -1);
    choose(i);
  }

  function connectSearch() {
    const input = $("search");
    input.addEventListener("input", () => {
      offer(matches(input.value), -1);
      const typed = input.value.trim();
      say(typed === "" ? "" : options.length === 0 ? `No title contains “${typed}”.`
        : `${options.length} titles offered; choose with the arrow keys and Enter.`);
    });
    input.addEventListener("blur", () => offer([], -1));
    input.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        const found = options.length ? options : matches(input.value);
        const from = active < 0 && step < 0 ? 0 : active;
        offer(found, found.length ? (from + step + found.length) % found.length : -1);
      } else if (event.key === "Enter" && (options.length || matches(input.value).length)) {
        if (options.length === 0) offer(matches(input.value), -1);
        take(Math.max(active, 0));
      } else if (event.key === "Escape") {
        if (options.length === 0) input.value = "";
        offer([], -1);
      } else {
        return;
      }
      event.preventDefault();
    });
  }

  start();
})();
