"use strict";
(function () {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const light = JSON.parse(document.getElementById("light").textContent);
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  function recoloured(value) {
    if (Array.isArray(value)) return value.map(recoloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recoloured(item)]));
    return { "#3c4450": "#c3cad4", "#e6e8ec": "#2c333d", "#c8ccd2": "#3a424d", "#9aa2ad": "#5a6472",
             "#1c2129": "#eef1f5", "#5a6472": "#9aa4b1" }[value] || value;
  }
  function fitted(spec, room) {
    const copy = structuredClone(spec);
    const margin = copy.encoding || (copy.layer || []).some((l) => l.encoding && l.encoding.yOffset) ? 230 : 110;
    if (typeof copy.width === "number" && copy.width > room - margin) copy.width = Math.max(120, room - margin);
    return copy;
  }
  function draw() {
    const config = query.matches ? recoloured(light) : light;
    for (const [name, spec] of Object.entries(specs)) {
      const figure = document.getElementById("chart-" + name);
      const live = figure.querySelector(".live");
      const made = fitted(spec, figure.clientWidth);
      vegaEmbed(live, made, { actions: false, renderer: "svg", config: config })
        .then(() => figure.classList.add("drawn"))
        .catch((error) => console.error(error));
    }
  }
  draw();
  query.addEventListener("change", draw);
})();
