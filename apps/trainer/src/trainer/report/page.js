// Redraw plots on other axes, show the values under the pointer, and show or hide runs.
// The page is complete without this script. Values and axes come from the JSON beside each drawing.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const state = { x: "steps", y: null, raw: !document.body.dataset.several, hidden: new Set() };
  let plots = [];
  const collect = () => {
    plots = [...document.querySelectorAll("figure[data-plot]")].map((figure) => ({
      figure,
      svg: figure.querySelector("svg"),
      data: JSON.parse(figure.querySelector("script").textContent),
      tip: figure.querySelector(".tip"),
    }));
    for (const plot of plots) {
      plot.svg.addEventListener("pointermove", (event) => point(plot, event));
      plot.svg.addEventListener("pointerdown", (event) => point(plot, event));
      plot.svg.addEventListener("pointerleave", () => hide(plot));
    }
    redrawAll();
  };

  const place = ([low, high, start, end], value, isLog) => {
    const share = isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    return start + share * (end - start);
  };
  const scaleOf = (plot) => {
    const wanted = state.y ?? plot.data.scale;
    return plot.data.y[wanted] ? wanted : "linear";
  };
  const pointsOf = (plot, series) => {
    const scale = scaleOf(plot), isLog = scale === "log";
    return series.values.map((value, i) => [
      place(plot.data.x[state.x], series[state.x][i], false),
      isLog && value <= 0 ? NaN : place(plot.data.y[scale], value, isLog),
    ]).filter((point) => !Number.isNaN(point[1]));
  };
  const isShown = (series) => !state.hidden.has(series.run) && (state.raw || series.style !== "raw");

  const redraw = (plot) => {
    const scale = scaleOf(plot);
    for (const ticks of plot.svg.querySelectorAll(".ticks")) {
      const isOn = ticks.dataset.axis === state.x || ticks.dataset.axis === scale;
      ticks.setAttribute("visibility", isOn ? "visible" : "hidden");
    }
    const target = plot.svg.querySelector("line.target");
    if (target) {
      const y = place(plot.data.y[scale], plot.data.target, scale === "log");
      target.setAttribute("y1", y);
      target.setAttribute("y2", y);
      plot.svg.querySelector(".target-label").setAttribute("y", y - 6);
    }
    for (const group of plot.svg.querySelectorAll("[data-series]")) {
      const series = plot.data.series[group.dataset.series];
      group.setAttribute("visibility", isShown(series) ? "visible" : "hidden");
      const points = pointsOf(plot, series);
      const line = group.querySelector("polyline");
      if (line) line.setAttribute("points", points.map((p) => p[0].toFixed(1) + "," + p[1].toFixed(1)).join(" "));
      group.querySelectorAll("circle").forEach((dot, i) => {
        dot.setAttribute("visibility", points[i] && isShown(series) ? "visible" : "hidden");
        if (points[i]) { dot.setAttribute("cx", points[i][0]); dot.setAttribute("cy", points[i][1]); }
      });
    }
  };
  const redrawAll = () => plots.forEach(redraw);

  const time = (s) => s < 180 ? s.toFixed(1) + " s" : s < 7200 ? (s / 60).toFixed(1) + " min" : (s / 3600).toFixed(2) + " h";
  const number = (v) => {
    const size = Math.abs(v);
    if (size >= 1000) return Math.round(v).toLocaleString("en");
    return size && size < 0.01 ? v.toExponential(2) : v.toPrecision(5);
  };
  const hide = (plot) => {
    plot.tip.hidden = true;
    plot.svg.querySelector(".cross")?.remove();
  };
  const point = (plot, event) => {
    const box = plot.svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * plot.svg.viewBox.baseVal.width;
    const lines = [];
    let where = null;
    for (const series of plot.data.series) {
      if (!isShown(series) || series.style === "raw") continue;
      const axis = plot.data.x[state.x];
      let best = 0;
      series[state.x].forEach((value, i) => {
        if (Math.abs(place(axis, value) - at) < Math.abs(place(axis, series[state.x][best]) - at)) best = i;
      });
      lines.push([series, best]);
      const x = place(axis, series[state.x][best]);
      if (where === null || Math.abs(x - at) < Math.abs(where.x - at)) where = { x, series, best };
    }
    if (!where) return hide(plot);
    let cross = plot.svg.querySelector(".cross");
    if (!cross) {
      cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
      cross.setAttribute("class", "cross");
      plot.svg.append(cross);
    }
    const [, , bottom, top] = plot.data.y.linear;
    for (const [name, value] of [["x1", where.x], ["x2", where.x], ["y1", bottom], ["y2", top]]) cross.setAttribute(name, value);
    plot.tip.replaceChildren();
    const head = document.createElement("div");
    head.className = "soft";
    const s = where.series, i = where.best;
    head.textContent = `step ${s.steps[i].toLocaleString("en")}, ${s.tokens[i].toLocaleString("en")} tokens, ${time(s.seconds[i])}`;
    plot.tip.append(head);
    for (const [series, best] of lines) {
      const row = document.createElement("div"), chip = document.createElement("span");
      chip.className = `chip run-${series.colour}`;
      row.append(chip, `${series.label}: ${number(series.values[best])}`);
      plot.tip.append(row);
    }
    plot.tip.hidden = false;
    const frame = plot.figure.getBoundingClientRect();
    const left = event.clientX - frame.left, width = plot.tip.offsetWidth;
    plot.tip.style.left = Math.max(4, left + 16 + width > frame.width ? left - width - 16 : left + 16) + "px";
    plot.tip.style.top = Math.max(4, event.clientY - frame.top - plot.tip.offsetHeight - 12) + "px";
  };
  const controls = document.querySelector(".controls");
  controls?.addEventListener("change", (event) => {
    const { name, value, checked } = event.target;
    if (name === "x") state.x = value;
    if (name === "y") state.y = value === "auto" ? null : value;
    if (name === "raw") state.raw = checked;
    if (name === "run") checked ? state.hidden.delete(+value) : state.hidden.add(+value);
    plots.forEach(hide);
    redrawAll();
  });
  const raw = controls?.querySelector("[name=raw]");
  if (raw) raw.checked = state.raw;
  collect();

  // A page served by `watch` reloads itself and keeps the reader's choices.
  const refresh = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const old = [...document.querySelectorAll("[data-live]")], parts = [...fresh.querySelectorAll("[data-live]")];
      if (answer.ok && old.length === parts.length) old.forEach((part, i) => part.replaceWith(parts[i]));
      document.body.classList.toggle("stale", !answer.ok);
    } catch {
      document.body.classList.add("stale");
    }
    collect();
  };
  const every = Number(document.body.dataset.refresh);
  if (every) setInterval(refresh, 1000 * every);
})();
