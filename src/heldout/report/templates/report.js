"use strict";
(function () {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const light = JSON.parse(document.getElementById("light").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  function recoloured(value) {
    if (Array.isArray(value)) return value.map(recoloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recoloured(item)]));
    return { "#3c4450": "#c3cad4", "#e6e8ec": "#2c333d", "#c8ccd2": "#3a424d", "#9aa2ad": "#5a6472",
             "#1c2129": "#eef1f5", "#5a6472": "#9aa4b1", "#2f6fb0": "#6fb1ee", "#e07b39": "#f0975a", "#8a93a0": "#a3adb9" }[value] || value;
  }
  // A cell's text stands on the cell, which is the same in the dark: only marks and their scales change.
  function adapted(spec, room) {
    const copy = structuredClone(spec);
    for (const layer of copy.layer || [copy]) {
      if (dark.matches && layer.mark.type !== "text") Object.assign(layer, recoloured({ mark: layer.mark, encoding: layer.encoding || {} }));
    }
    const named = copy.layer.filter((layer) => layer.encoding.yOffset);
    if (narrow.matches) named.forEach((layer) => { layer.encoding.y.axis.labelLimit = 110; });
    const free = room - (named.length ? (narrow.matches ? 150 : 290) : 90);
    if (copy.width > free) copy.width = Math.max(120, free);
    return copy;
  }
  function configured() {
    const config = structuredClone(dark.matches ? recoloured(light) : light);
    if (narrow.matches) {
      config.legend.orient = "top";
      config.axis.labelLimit = 90;
      config.axis.titleAnchor = "end";
    }
    return config;
  }
  function draw() {
    for (const [name, spec] of Object.entries(specs)) {
      const figure = document.getElementById("chart-" + name);
      const live = figure.querySelector(".live");
      vegaEmbed(live, adapted(spec, figure.clientWidth), { actions: false, ast: true, renderer: "svg", config: configured() })
        .then(() => figure.classList.add("drawn"))
        .catch((error) => console.error(error));
    }
  }
  draw();
  for (const query of [dark, narrow]) query.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => document.querySelectorAll("#data details").forEach((item) => { item.open = true; }));
})();
