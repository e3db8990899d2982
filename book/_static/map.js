// The map of the movies: scatter plot and neighbours. Needs movies-data.js, movies.js and Plotly.
(() => {
  "use strict";

  const $ = (id) => document.getElementById(`map-${id}`);
  const SHOWN = 20; // movies with more ratings are shown from the start
  const NEIGHBOURS = 10;
  const LANDMARKS = 15; // movies with a name on the map, if there is room
  const LANDMARK_SIZE = 12; // of their letters
  const COVERED = 4; // dots under a name, unless there is no better place
  const HEIGHT = 560;
  const GREY = "#949494";
  const HIGHLIGHT = "diamond";
  const CONFIG = {
    responsive: true, displaylogo: false, displayModeBar: true,
    modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  const AXES = {
    pc1: [0, "PC1: general appreciation"],
    pc2: [1, "PC2: spectacle"],
    pc3: [2, "PC3 (no name)"],
  };

  let data, movies, vectors;
  let chosen = null; // index of a movie
  let drawn = []; // traces, all but the names and what smears

  function start() {
    data = window.EMBEDLENS;
    if (!data || !window.EmbedLensMovies || !window.Plotly) {
      say("The map could not be loaded: movies-data.js, movies.js or Plotly is missing.");
      return;
    }
    movies = data.movies;
    vectors = window.EmbedLensMovies.vectorsOf(data);
    for (const name of genres()) $("genre").append(new Option(name, name));
    $("kept").textContent = steadiness();
    for (const id of ["axes", "colour", "genre", "all", "smear"]) $(id).addEventListener("change", draw);
    $("clear").addEventListener("click", clear);
    window.EmbedLensMovies.connectSearch({ input: $("search"), list: $("options"), movies, say, choose,
      isChosen: (i) => i === chosen });
    addEventListener("hashchange", readHash);
    new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    draw();
    $("plot").on("plotly_relayout", nameLandmarks); // another zoom, or another width
    $("plot").on("plotly_click", (event) => choose(event.points[0].customdata));
    $("controls").disabled = false;
    readHash();
  }

  // Data -------------------------------------------------------------------------------------

  const genresOf = (i) => movies.genres[i].replaceAll("|", ", ") || "no genres known";
  const hasGenre = (i, name) => movies.genres[i].split("|").includes(name);
  const genres = () => [...new Set(movies.genres.flatMap((text) => text.split("|")))].filter(Boolean).sort();

  function steadiness() {
    const { n, kept, chance, agree } = data.runs;
    const share = (x) => `${(100 * x).toFixed(1)} %`;
    return `Of a movie's ten neighbours, another of ${n} runs has ${share(kept)} too; ten movies drawn by lot `
      + `would be ${share(chance)}. The places are steadier: those of two runs, aligned, correlate at `
      + `${agree.map((r, k) => `${r.toFixed(2)} on PC${k + 1}`).join(", ")}. `
      + `All for movies with more than ${SHOWN} ratings.`;
  }

  const shown = () => [...movies.id.keys()].filter((i) => $("all").checked || movies.n[i] > SHOWN);

  /* With `runs`: in how many of the runs the neighbour is among the ten nearest. */
  function nearest(of, among) {
    const { cosine } = window.EmbedLensMovies;
    const others = among.filter((i) => i !== of).map((i) => ({ i, cosine: cosine(vectors[of], vectors[i]) }));
    const digits = data.runs[$("all").checked ? "all" : "often"][of];
    return others.sort((a, b) => b.cosine - a.cosine).slice(0, NEIGHBOURS)
      .map((neighbour, k) => ({ ...neighbour, runs: Number(digits[k]) }));
  }

  // Drawing ----------------------------------------------------------------------------------

  const isLayout = () => $("axes").value === "near";
  const onAxes = (pc) => $("axes").value.split("-").map((name) => pc[AXES[name][0]]);
  const place = (i) => (isLayout() ? data.layout.near[i] : onAxes(data.layout.pc[i]));

  function axisTitles() {
    if (isLayout()) return ["", ""];
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

  function tracesByNumber(indices, values, title, line, look = {}) {
    const known = indices.filter((i) => values[i] !== null);
    const unknown = indices.filter((i) => values[i] === null);
    const bar = { title: { text: title }, orientation: "h", y: -0.12, yanchor: "top", thickness: 12 };
    const all = movies.id.map((_, i) => i).filter((i) => movies.n[i] > SHOWN).map((i) => values[i]);
    const marker = {
      size: 8, line, color: known.filter(place).map((i) => values[i]), colorscale: "Cividis", colorbar: bar,
      cmin: Math.min(...all), cmax: Math.max(...all), ...look,
    };
    const grey = { size: 8, color: GREY, symbol: "circle-open" };
    return [
      trace(known, { name: title, marker, showlegend: false }),
      trace(unknown, { name: "unknown", marker: grey, showlegend: unknown.length > 0 }),
    ];
  }

  /* The movies of a genre in colour and with a mark of their own, above all others in grey. */
  function tracesOfGenre(genre, indices, values, title, line) {
    const others = trace(indices.filter((i) => !hasGenre(i, genre)), {
      name: "others", showlegend: false, marker: { size: 5, color: GREY, symbol: "circle-open" },
    });
    const members = indices.filter((i) => hasGenre(i, genre));
    return [others, ...tracesByNumber(members, values, title, line, { symbol: HIGHLIGHT, size: 10 })];
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

  /* The places of the movies in all runs, each joined with the first. */
  function smears(indices, theme) {
    if (!$("smear").checked || isLayout()) return [];
    const lines = { x: [], y: [] }, ends = { x: [], y: [], text: [] };
    for (const i of indices) {
      data.runs.places.forEach((run, k) => {
        const [from, to] = [place(i), onAxes(run[i])];
        lines.x.push(from[0], to[0], null);
        lines.y.push(from[1], to[1], null);
        ends.x.push(to[0]);
        ends.y.push(to[1]);
        ends.text.push(`${movies.title[i]}, run ${k + 2}`);
      });
    }
    const common = { type: "scatter", showlegend: false, opacity: 1 };
    return [
      { ...common, ...lines, name: "between runs", mode: "lines", hoverinfo: "skip", line: { color: theme.text, width: 1 } },
      { ...common, ...ends, name: "other runs", mode: "markers", hovertemplate: "%{text}<extra></extra>",
        marker: { size: 8, symbol: "circle", color: theme.accent, line: { color: theme.text, width: 1 } } },
    ];
  }

  // Names of well-known movies ---------------------------------------------------------------

  /* "Matrix, The (1999)" as "The Matrix"; if long, up to a colon or a dash. */
  function shortTitle(i) {
    const bare = movies.title[i].replace(/ \(.*$/, "").replace(/^(.*), (The|A|An)$/, "$2 $1");
    return bare.length > 22 ? bare.replace(/(:| - | and the ).*$/, "") : bare;
  }

  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${LANDMARK_SIZE}px "Open Sans", verdana, arial, sans-serif`; // as Plotly writes
  const widthOf = (text) => pen.measureText(text).width;

  function boxOf(i, side, [x, y]) {
    const width = widthOf(shortTitle(i)), gap = 7, height = LANDMARK_SIZE * 1.3;
    const left = { left: x - gap - width, right: x + gap, center: x - width / 2 }[side.split(" ")[1]];
    const top = { top: y - gap - height, middle: y - height / 2, bottom: y + gap }[side.split(" ")[0]];
    return { left, top, right: left + width, bottom: top + height };
  }

  const SIDES = ["middle right", "middle left", "top center", "bottom center"];
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

  /* The most rated movies whose names have room: no name lies over another, over a marked dot or
     the edge. Names that cover few dots come first. */
  function landmarks() {
    const { xaxis, yaxis, _size } = $("plot")._fullLayout;
    const pixels = new Map(shown().filter(place).map((i) => {
      const [x, y] = place(i);
      return [i, [xaxis.d2p(x), yaxis.d2p(y)]];
    }));
    const candidates = [...pixels.keys()].sort((a, b) => movies.n[b] - movies.n[a]).slice(0, 200);
    const taken = [], found = new Map();
    const inside = (box) => box.left > 0 && box.right < _size.w && box.top > 0 && box.bottom < _size.h;
    const free = (box) => inside(box) && !taken.some((other) => overlap(box, other));
    const covers = (box) => [...pixels.values()].filter(([x, y]) =>
      x > box.left && x < box.right && y > box.top && y < box.bottom).length;
    for (const most of [COVERED, Infinity]) {
      for (const i of candidates) {
        if (found.size === LANDMARKS) break;
        const [x, y] = pixels.get(i);
        const dot = { left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 };
        const name = shortTitle(i);
        if (!free(dot) || [...found.keys()].some((other) => shortTitle(other) === name)) continue;
        const side = SIDES.find((each) => {
          const box = boxOf(i, each, [x, y]);
          return free(box) && covers(box) <= most;
        });
        if (!side) continue;
        taken.push(dot, boxOf(i, side, [x, y]));
        found.set(i, side);
      }
    }
    return [...found].map(([i, side]) => ({ i, side }));
  }

  function nameLandmarks() {
    const theme = themeColours();
    const found = chosen === null ? landmarks() : [];
    const names = trace(found.map(({ i }) => i), {
      name: "landmarks", mode: "markers+text", opacity: 1, showlegend: false,
      text: found.map(({ i }) => shortTitle(i)),
      hovertext: found.map(({ i }) => movies.title[i]),
      hovertemplate: "%{hovertext}<extra></extra>",
      textposition: found.map(({ side }) => side),
      textfont: { color: theme.text, size: LANDMARK_SIZE },
      marker: { size: 10, color: "rgba(0,0,0,0)", line: { color: theme.text, width: 2 } },
    });
    const smeared = chosen === null ? found.map(({ i }) => i) : [chosen];
    const layout = { ...$("plot").layout, height: HEIGHT }; // a change of width takes the height away
    Plotly.react($("plot"), [...drawn, ...smears(smeared, theme), names], layout, CONFIG);
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
    const genre = $("genre").value;
    const coloured = $("colour").value === "year" ? [movies.year, "Year"] : [movies.mean, "Mean rating (stars)"];
    const traces = genre ? tracesOfGenre(genre, indices, ...coloured, line)
      : tracesByNumber(indices, ...coloured, line);
    const [x, y] = axisTitles();
    const still = $("axes").value === "near"; // the coordinates mean nothing by themselves
    const placed = indices.filter(place).map(place);
    const axis = (title, k) => ({
      title: { text: title }, range: rangeOf(placed.map((at) => at[k])), gridcolor: theme.grid, zerolinecolor: theme.grid, showgrid: !still, showticklabels: !still, zeroline: !still,
    });
    const layout = {
      height: HEIGHT,
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
      xaxis: axis(x, 0),
      yaxis: axis(y, 1),
    };
    drawn = [...traces, ...highlights(theme)];
    Plotly.react($("plot"), drawn, layout, CONFIG);
    nameLandmarks();
    describe(indices, placed.length, genre);
    fillTable();
  }

  // All dots, and room around them.
  function rangeOf(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = 0.05 * (high - low);
    return [low - room, high + room];
  }

  function describe(indices, n, genre) {
    const marked = indices.filter((i) => place(i) && hasGenre(i, genre)).length;
    $("plot").setAttribute("aria-label", `Scatter plot of ${n} movies. The table below lists the neighbours of a chosen one.`);
    $("count").textContent = `${n} movies shown.`
      + (genre ? ` ${marked} of them have the genre ${genre}: the diamonds.` : "")
      + (n < indices.length ? " Movies with 20 ratings or fewer have no place in this layout." : "")
      + ($("smear").checked && isLayout() ? " The other runs have no place in it either." : "");
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

  function row(rank, { i, cosine, runs }) {
    const link = document.createElement("a");
    Object.assign(link, { href: `#m${movies.id[i]}`, textContent: movies.title[i] });
    const cells = [rank, link, cosine.toFixed(2), `${runs} of ${data.runs.n} runs`, movies.year[i] ?? "unknown",
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
