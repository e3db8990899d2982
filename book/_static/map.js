// The map of the movies: scatter plot and neighbours. Needs movies-data.js, movies.js and Plotly.
(() => {
  "use strict";

  const $ = (id) => document.getElementById(`map-${id}`);
  const SHOWN = 20; // movies with more ratings are shown from the start
  const NEIGHBOURS = 10;
  // seaborn's palette "colorblind"; each class has a symbol too.
  const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#ece133", "#56b4e9"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down"];
  const OTHER = { colour: "#949494", symbol: "circle-open" };
  const UNKNOWN = { colour: "#949494", symbol: "x-thin-open" };
  const AXES = {
    pc1: [0, "PC1: general appreciation"],
    pc2: [1, "PC2: spectacle"],
    pc3: [2, "PC3 (no name)"],
  };

  let data, movies, vectors, classes;
  let chosen = null; // index of a movie

  function start() {
    data = window.EMBEDLENS;
    if (!data || !window.EmbedLensMovies || !window.Plotly) {
      say("The map could not be loaded: movies-data.js, movies.js or Plotly is missing.");
      return;
    }
    movies = data.movies;
    vectors = window.EmbedLensMovies.vectorsOf(data);
    classes = largestClasses();
    for (const id of ["axes", "colour", "all"]) $(id).addEventListener("change", draw);
    $("clear").addEventListener("click", clear);
    window.EmbedLensMovies.connectSearch({ input: $("search"), list: $("options"), movies, say, choose });
    addEventListener("hashchange", readHash);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    draw();
    $("plot").on("plotly_click", (event) => choose(event.points[0].customdata));
    $("controls").disabled = false;
    readHash();
  }

  // Data -------------------------------------------------------------------------------------

  // A movie without known genre has none: no class, and not among the others.
  const firstGenre = (i) => movies.genres[i].split("|")[0];
  const genresOf = (i) => movies.genres[i].replaceAll("|", ", ") || "no genres known";

  function largestClasses() {
    const counts = {};
    for (const name of [...movies.id.keys()].map(firstGenre).filter(Boolean)) counts[name] = (counts[name] || 0) + 1;
    return Object.keys(counts).sort((a, b) => counts[b] - counts[a]).slice(0, COLOURS.length);
  }

  const shown = () => [...movies.id.keys()].filter((i) => $("all").checked || movies.n[i] > SHOWN);

  function nearest(of, among) {
    const { cosine } = window.EmbedLensMovies;
    const others = among.filter((i) => i !== of).map((i) => ({ i, cosine: cosine(vectors[of], vectors[i]) }));
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
    const rest = indices.filter((i) => firstGenre(i) && !classes.includes(firstGenre(i)));
    const unknown = indices.filter((i) => !firstGenre(i));
    const grey = ({ colour, symbol }) => ({ size: 8, color: colour, symbol });
    traces.push(trace(rest, { name: "Other", marker: grey(OTHER) }));
    if (unknown.length) traces.push(trace(unknown, { name: "No genres known", marker: grey(UNKNOWN) }));
    return traces;
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

  function choose(i) {
    const hash = `#m${movies.id[i]}`;
    if (location.hash === hash) readHash();
    else location.hash = hash;
  }

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
    $("caption").textContent = `Neighbours of ${movies.title[i]} (${genresOf(i)}; `
      + `${movies.mean[i].toFixed(1)} stars from ${movies.n[i]} ratings)`;
    $("rows").replaceChildren(...nearest(i, shown()).map((neighbour, k) => row(k + 1, neighbour)));
  }

  function row(rank, { i, cosine }) {
    const link = document.createElement("a");
    Object.assign(link, { href: `#m${movies.id[i]}`, textContent: movies.title[i] });
    const cells = [rank, link, cosine.toFixed(2), movies.year[i] ?? "unknown",
      genresOf(i), movies.mean[i].toFixed(1)];
    const line = document.createElement("tr");
    for (const content of cells) {
      const cell = document.createElement("td");
      cell.append(content);
      line.append(cell);
    }
    return line;
  }

  function say(text) { $("status").textContent = text; }

  start();
})();
