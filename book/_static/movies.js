/* What the pages to play with share: the vectors in movies-data.js, the search for a title, and a
   link to copy. */
"use strict";

window.EmbedLensMovies = (() => {
  const OFFERED = 8;

  const bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  /* One vector per movie; `data` is window.EMBEDLENS. */
  function vectorsOf({ vectors, dim, movies }) {
    const bytes = bytesOf(vectors);
    const view = new DataView(bytes.buffer);
    const numbers = Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
    return movies.id.map((_, row) => numbers.subarray(row * dim, (row + 1) * dim));
  }

  function dot(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
    return sum;
  }

  const cosine = (a, b) => dot(a, b) / Math.max(Math.sqrt(dot(a, a) * dot(b, b)), 1e-12);

  /* Without case, accents and punctuation. */
  function plain(text) {
    const bare = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    return bare.replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  }

  /* From a text to the rows whose title holds the start of every word typed, the most rated first. */
  function searchIn(movies) {
    const titles = movies.title.map((title) => ` ${plain(title)}`);
    return (text) => {
      const typed = plain(text).split(" ").filter(Boolean);
      if (!typed.length) return [];
      return [...titles.keys()]
        .filter((row) => typed.every((word) => titles[row].includes(` ${word}`)))
        .sort((a, b) => movies.n[b] - movies.n[a] || a - b);
    };
  }

  function element(tag, settings = {}, ...children) {
    const { dataset = {}, attributes = {}, ...properties } = settings;
    const made = Object.assign(document.createElement(tag), properties);
    Object.assign(made.dataset, dataset);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /* Copy the address in `link`, and say in `told` how it went. */
  async function copyLink(link, told) {
    link.select();
    try {
      await navigator.clipboard.writeText(link.value);
      told.textContent = "Copied";
    } catch {
      told.textContent = "The link is marked: copy it with Ctrl+C";
    }
  }

  /* The search box: a combobox with a list, as the ARIA practices describe it. `say(text)` tells
     how many movies are found, and of a movie that is taken again that it is chosen already, by
     `isChosen(row)`; `choose(row)` is called with the movie that is taken. */
  function connectSearch({ input, list, movies, say, choose, isChosen }) {
    const search = searchIn(movies);
    let options = [];
    let active = -1;
    let told = false;

    function tell(text) {
      if (text || told) say(text);
      told = text !== "";
    }

    function show(rows) {
      options = rows.slice(0, OFFERED);
      active = -1;
      list.replaceChildren(...options.map((row, place) => {
        const attributes = { role: "option", "aria-selected": "false" };
        const settings = { id: `${list.id}-${place}`, textContent: movies.title[row], attributes };
        const option = element("li", settings);
        option.addEventListener("mousedown", (event) => event.preventDefault()); // keep the focus
        option.addEventListener("click", () => take(place));
        return option;
      }));
      list.hidden = !options.length;
      input.setAttribute("aria-expanded", String(options.length > 0));
      input.removeAttribute("aria-activedescendant");
    }

    function close() {
      show([]);
      tell("");
    }

    function suggest() {
      const found = search(input.value);
      const typed = input.value.trim();
      show(found);
      if (!typed) return tell("");
      if (!found.length) return tell(`No movie found for “${typed}”.`);
      const some = found.length > OFFERED ? `, the ${OFFERED} most rated are listed` : "";
      tell(`${found.length === 1 ? "1 movie" : `${found.length} movies`} found${some}.`);
    }

    function activate(place) {
      active = (place + options.length) % options.length;
      [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === active)));
      list.children[active].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", list.children[active].id);
    }

    function take(place) {
      const row = options[place];
      const again = isChosen(row);
      close();
      choose(row);
      if (again) say(`${movies.title[row]} is already chosen.`);
    }

    const keys = {
      ArrowDown: () => activate(active + 1),
      ArrowUp: () => activate(active < 0 ? -1 : active - 1),
      Enter: () => take(Math.max(active, 0)),
    };

    function escape() {
      if (!options.length) input.value = "";
      close();
    }

    input.addEventListener("input", suggest);
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" && !keys[event.key]) return;
      event.preventDefault();
      if (event.key === "Escape") return escape();
      if (!options.length) suggest();
      if (options.length) keys[event.key]();
    });
  }

  return { bytesOf, vectorsOf, dot, cosine, searchIn, element, copyLink, connectSearch };
})();
