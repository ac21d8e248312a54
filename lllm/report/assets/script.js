// Draws the figures of a report: unpacks the plotting library that the page carries, paints the figures in the colours
// of the theme, and redraws them when a switch, the theme or the medium (paper) changes.
"use strict";
(async () => {
  const root = document.documentElement;
  const told = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 600px)");
  const PAPER_WIDTH = 660; // pixels between the margins of a printed page
  let printing = false;

  const chosen = Object.fromEntries(
    told.figures.map((f) => [f.key, Object.fromEntries(f.switches.map((s) => [s.key, s.options[0].key]))]),
  );

  async function unpacked(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // "var(--name)" anywhere in a figure is the colour of that name.
  function painted(value, colours) {
    if (typeof value === "string") {
      return value.startsWith("var(--") ? colours[value.slice(6, -1)] : value;
    }
    if (Array.isArray(value)) {
      return value.map((inner) => painted(inner, colours));
    }
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner, colours)]));
    }
    return value;
  }

  function merged(below, above) {
    const result = { ...below };
    for (const [key, value] of Object.entries(above)) {
      const nested = value !== null && typeof value === "object" && !Array.isArray(value);
      result[key] = nested ? merged(result[key] || {}, value) : value;
    }
    return result;
  }

  // A legend above a figure takes no height from it.
  function legendHeight(traces, width) {
    const names = new Set(traces.filter((t) => t.showlegend !== false && t.name).map((t) => t.name));
    const longest = Math.max(0, ...[...names].map((name) => name.length));
    const inLine = Math.max(1, Math.floor((width - 60) / (55 + 7 * longest)));
    return Math.max(0, Math.ceil(names.size / inLine) - 1) * 26;
  }

  function shown(figure, width) {
    const choice = chosen[figure.key];
    let traces = figure.data.filter((trace) =>
      Object.entries((trace.meta && trace.meta.when) || {}).every(([key, option]) => !(key in choice) || choice[key] === option),
    );
    let layout = merged(told.layout, figure.layout);
    for (const { key, options } of figure.switches) {
      layout = merged(layout, options.find((option) => option.key === choice[key]).layout);
    }
    if (narrow.matches && !printing) {
      layout = merged(layout, told.narrow);
      if (traces.some((trace) => String(trace.mode).endsWith("+text"))) {
        traces = traces.map((trace) => ({ ...trace, mode: trace.mode.replace("+text", "") }));
        layout.showlegend = true;
      }
    }
    if (layout.showlegend !== false) {
      layout.height += legendHeight(traces, printing ? PAPER_WIDTH : width);
    }
    if (printing) {
      layout = merged(layout, { width: PAPER_WIDTH, autosize: false });
    }
    return { traces, layout };
  }

  const group = (trace) => trace.legendgroup || trace.name;

  function draw(figure) {
    const place = document.getElementById(`figure-${figure.key}`);
    const colours = told.palettes[dark.matches && !printing ? "dark" : "light"];
    const hidden = new Set((place.data || []).filter((t) => t.visible === "legendonly").map(group));
    const { traces, layout } = shown(figure, place.clientWidth);
    place.style.height = `${layout.height}px`;
    const data = painted(traces, colours).map((t) => (hidden.has(group(t)) ? { ...t, visible: "legendonly" } : t));
    return Plotly.react(place, data, painted(layout, colours), told.config);
  }

  const drawAll = () => Promise.all(told.figures.map(draw));

  function press(button) {
    const { figure, key, option } = button.dataset;
    chosen[figure][key] = option;
    for (const other of button.parentElement.querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    draw(told.figures.find((f) => f.key === figure));
  }

  function onPaper(now) {
    printing = now;
    drawAll();
  }

  try {
    const script = document.createElement("script");
    script.textContent = await unpacked("plotly");
    document.head.append(script);
    await drawAll();
    for (const button of document.querySelectorAll(".switches button")) {
      button.addEventListener("click", () => press(button));
    }
    dark.addEventListener("change", drawAll);
    narrow.addEventListener("change", drawAll);
    addEventListener("beforeprint", () => onPaper(true));
    addEventListener("afterprint", () => onPaper(false));
    root.dataset.figures = "drawn";
  } catch (error) {
    root.dataset.figures = "failed";
    for (const place of document.querySelectorAll(".plot")) {
      place.textContent = "This browser cannot draw the figure; its numbers are in the tables.";
    }
    console.error(error);
  }
})();
