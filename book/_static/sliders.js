/* A picture with a slider, as src/embedlens/book/sliders.py writes it: each of them ends with a tag
   of this script, which names it. */
"use strict";

(() => {
  const own = document.currentScript;
  const { name } = own.dataset;
  const { figure, steps } = JSON.parse(document.getElementById(`${name}-data`).textContent);
  const range = document.getElementById(`${name}-range`);

  function set() {
    const step = steps[range.value];
    document.getElementById(`${name}-set`).textContent = step.label;
    range.setAttribute("aria-valuetext", step.label);
    return step.y;
  }

  function draw() {
    const y = set();
    const lines = figure.data.map((line, i) => ({ ...line, y: y[i] }));
    Plotly.newPlot(name, lines, figure.layout, figure.config);
    range.addEventListener("input", () => Plotly.restyle(name, { y: set() }));
  }

  if (window.Plotly) return draw();
  let script = document.getElementById("plotly-script");
  if (!script) {
    const src = new URL("plotly/plotly-basic.min.js", own.src);
    script = Object.assign(document.createElement("script"), { id: "plotly-script", src });
    document.head.append(script);
  }
  script.addEventListener("load", draw);
})();
