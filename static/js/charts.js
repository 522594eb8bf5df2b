// Draws every [data-plot]. A figure is {"data": [...], "layout": {...}, "lastgood": {...}} in Plotly's terms, without colours: those are
// taken from the page, so that a figure fits light and dark. What we add to Plotly's terms:
//   trace.meta.tone     accent, ok, warn, bad, muted or 1 to 6 (a palette safe for colour blindness)
//   lastgood.markers    [{"x", "label", "kind": "deployment" | "incident" | "rollback" | "alert"}]   a line across the chart with its name
//   lastgood.bands      [{"x0", "x1", "label"}]   which version answered when
//   lastgood.limits     [{"y", "label"}]          a limit as a line with its name
//   lastgood.direct     true: name the traces at their right end instead of in a legend
//   lastgood.panels     ["name", ...]             a panel for each, all on one scale; trace.meta.panel is the number of the trace's
// A part of a page with data-zoom (an address) and data-query is asked for anew where somebody drags over one of its charts.
(() => {
  // light-dark() has to be resolved by the browser, because Plotly cannot read it.
  const probe = document.createElement("i");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color; };
  const PALETTE = {
    light: ["#1f5fb8", "#b35900", "#00796b", "#8e3a80", "#5c6b1e", "#6b4a2f"],
    dark: ["#84b4f7", "#f2a65a", "#4fc3b0", "#e08fd0", "#bccb6a", "#d0a98a"],
  };
  const theme = () => (document.documentElement.dataset.bsTheme === "dark" ? "dark" : "light");
  const NAMES = { accent: "--accent", ok: "--ok", warn: "--warn", bad: "--bad", muted: "--muted" };
  // In forced colours there is one colour to draw with: lines differ by their dashes, bars by their hatching.
  const forced = matchMedia("(forced-colors: active)");
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"], HATCHES = ["", "/", "x", "-", ".", "+"];
  const placeOf = (tone, index) => ((Number(tone) || index + 1) - 1) % 6;
  const toneColour = (tone, index) => (forced.matches ? colour("--text") : NAMES[tone] ? colour(NAMES[tone]) : PALETTE[theme()][placeOf(tone, index)]);
  const shadeOf = (marker) => colour({ incident: "--bad", alert: "--warn" }[marker.kind] || "--text");
  const note = (label, given) => ({ text: label, showarrow: false, font: { size: 11, color: colour("--muted") }, ...given });
  const DASH = { deployment: "solid", rollback: "solid", incident: "dot", alert: "dash" };

  // What Plotly takes for a time has no offset: it is UTC.
  const moment = (text) => new Date(`${String(text).replace(" ", "T").slice(0, 19)}Z`);
  const HALF_HOUR = 1_800_000;

  // Around a single time Plotly would show a millisecond.
  function roomAround(data, axis) {
    const times = new Set(data.flatMap((trace) => trace.x || []));
    if (axis.type !== "date" || times.size !== 1 || axis.range) return;
    const at = +moment([...times][0]);
    if (!Number.isNaN(at)) axis.range = [at - HALF_HOUR, at + HALF_HOUR];
  }

  const PANEL = 130;
  const columnsFor = (width, count) => Math.min(width < 480 ? 1 : width < 900 ? 2 : 3, count);

  // Panels have axes of their own that move together; their names stand above them.
  function panelled(data, base, names, width) {
    const across = columnsFor(width, names.length), down = Math.ceil(names.length / across);
    const layout = { ...base, annotations: [] };
    const cell = { w: 1 / across, h: 1 / down };
    names.forEach((name, index) => {
      const [column, row] = [index % across, Math.floor(index / across)], number = index ? index + 1 : "";
      const right = (column + 1) * cell.w - (column < across - 1 ? 0.06 / across : 0), top = 1 - row * cell.h - 0.16 * cell.h;
      layout[`xaxis${number}`] = { ...base.xaxis, domain: [column * cell.w + 0.02 / across, right], anchor: `y${number}`, nticks: 3, showticklabels: row === down - 1 || index + across >= names.length, ...(index && { matches: "x" }) };
      layout[`yaxis${number}`] = { ...base.yaxis, domain: [1 - (row + 1) * cell.h + 0.08 * cell.h, top], anchor: `x${number}`, nticks: 3, title: undefined, showticklabels: column === 0, ...(index && { matches: "y" }) };
      layout.annotations.push({ text: name, showarrow: false, x: column * cell.w + 0.02 / across, xref: "paper", y: top, yref: "paper", xanchor: "left", yanchor: "bottom" });
    });
    data.forEach((trace) => {
      const number = trace.meta?.panel ? trace.meta.panel + 1 : "";
      Object.assign(trace, { xaxis: `x${number}`, yaxis: `y${number}`, showlegend: false });
    });
    return layout;
  }

  function themed(figure, size, width) {
    const narrow = width < 480;
    const data = structuredClone(figure.data || []);
    const extra = figure.lastgood || {};
    const text = colour("--text"), muted = colour("--muted"), line = colour("--line"), surface = colour("--surface");
    data.forEach((trace, index) => {
      const shade = toneColour(trace.meta?.tone, index);
      if (trace.type === "heatmap") {
        Object.assign(trace, { colorscale: [[0, surface], [1, colour("--bad")]], showscale: false, hoverongaps: false, ...trace });
        return;
      }
      trace.connectgaps ??= false;
      if (trace.error_x) trace.error_x = { color: text, thickness: 1.5, width: 4, ...trace.error_x };
      if (trace.type === "bar" || trace.type === "histogram") trace.marker = { color: shade, line: { width: 0 }, ...trace.marker, ...(forced.matches && { color: shade, pattern: { shape: HATCHES[placeOf(trace.meta?.tone, index)] } }) };
      else {
        trace.line = { color: shade, width: 1.75, ...(forced.matches && { dash: DASHES[placeOf(trace.meta?.tone, index)] }), ...trace.line };
        trace.marker = { color: shade, size: 5, ...trace.marker };
        if (trace.fill) trace.fillcolor ??= shade.startsWith("#") ? `${shade}26` : shade.replace("rgb(", "rgba(").replace(")", ", 0.15)");
      }
    });
    const base = extra.panels ? panelled(data, figure.layout || {}, extra.panels, width) : figure.layout || {};
    const axis = (given) => ({
      gridcolor: forced.matches ? line.replace("rgb(", "rgba(").replace(")", ", 0.3)") : line, zerolinecolor: line, linecolor: line, tickcolor: line, automargin: true, tickangle: 0, ...given,
      title: { font: { size: 12, color: muted }, standoff: 8, ...(typeof given?.title === "string" ? { text: given.title } : given?.title) },
      tickfont: { size: 12, color: muted }, hoverformat: given?.hoverformat,
    });
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, height: size,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      margin: { l: 48, r: extra.direct ? 96 : 16, t: extra.markers?.length || extra.bands?.length ? 28 : 8, b: 36 },
      hovermode: "x unified", hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: text, size: 12 } },
      showlegend: !extra.direct && data.filter((trace) => trace.showlegend !== false).length > 1,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: muted } },
      bargap: 0.15, ...base, shapes: [...(base.shapes || [])], annotations: [...(base.annotations || [])],
    };
    for (const key of Object.keys(layout)) if (/^[xy]axis\d*$/.test(key)) layout[key] = axis(layout[key]);
    layout.xaxis ??= axis({});
    layout.yaxis ??= axis({});
    if (narrow) layout.xaxis.nticks ??= 4;
    roomAround(data, layout.xaxis);
    for (const [index, band] of (extra.bands || []).entries()) {
      if (index % 2) layout.shapes.push({ type: "rect", xref: "x", yref: "paper", x0: band.x0, x1: band.x1, y0: 0, y1: 1, fillcolor: muted, opacity: 0.1, line: { width: 0 }, layer: "below" });
    }
    const xaxes = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)).map((key) => key.replace("axis", ""));
    for (const marker of extra.markers || []) {
      const shade = shadeOf(marker);
      if (extra.panels) {
        for (const axis of xaxes) layout.shapes.push({ type: "line", xref: axis, yref: `${axis.replace("x", "y")} domain`, x0: marker.x, x1: marker.x, y0: 0, y1: 1, line: { color: shade, width: 1, dash: DASH[marker.kind] || "solid" } });
        continue;
      }
      layout.shapes.push({ type: "line", xref: "x", yref: "paper", x0: marker.x, x1: marker.x, y0: 0, y1: 1, line: { color: shade, width: 1.25, dash: DASH[marker.kind] || "solid" } });
    }
    for (const limit of extra.limits || []) {
      layout.shapes.push({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: limit.y, y1: limit.y, line: { color: colour("--bad"), width: 1, dash: "dash" } });
      // At the right end stand the names of the lines.
      layout.annotations.push(note(limit.label, { x: extra.direct ? 0 : 1, xref: "paper", y: limit.y, yref: "y", xanchor: extra.direct ? "left" : "right", yanchor: extra.direct ? "top" : "bottom", bgcolor: surface, font: { size: 11, color: colour("--bad") } }));
    }
    if (extra.direct) {
      data.forEach((trace) => {
        const last = (trace.y || []).findLastIndex((value) => value != null);
        if (last < 0 || !trace.name) return;
        layout.annotations.push(note(trace.name, { x: trace.x[last], xref: "x", y: trace.y[last], yref: trace.yaxis || "y", xanchor: "left", xshift: 6, font: { size: 11, color: trace.line?.color || muted } }));
      });
    }
    return { data, layout };
  }

  // Names of bands and markers stand in rows above the plot, each at its beginning where others leave it room. A band without
  // room has no name there; a marker without room is counted by the name before it ("+2") and named where the pointer rests.
  const ROW = 14, ROWS = 3, COUNT = 26;
  const pen = document.createElement("canvas").getContext("2d");

  async function nameMarkers(plot, extra) {
    const markers = extra.panels ? [] : extra.markers || [], bands = extra.bands || [];
    if (!markers.length && !bands.length) return;
    const { xaxis, _size: size } = plot._fullLayout, right = size.w + size.r, narrow = plot.clientWidth < 480, taken = [], notes = [];
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const put = (row, text, at, given) => {
      const x = xaxis.d2p(at), wide = pen.measureText(text).width + COUNT, left = x + wide > right ? x - wide : x;
      taken[row] ||= [];
      if (taken[row].some(([from, to]) => left < to && left + wide > from)) return false;
      taken[row].push([left, left + wide]);
      notes.push(note(text, { name: "event", x: at, xref: "x", y: 1, yref: "paper", yanchor: "bottom", yshift: row * ROW, xanchor: left < x ? "right" : "left", xshift: left < x ? -3 : 3, ...given }));
      return true;
    };
    for (const band of bands) put(0, narrow ? band.label.replace(/^version /, "v") : band.label, band.x0);
    const first = bands.length ? 1 : 0;
    let before = null;
    for (const marker of markers) {
      const text = narrow && marker.label.length > 24 ? `${marker.label.slice(0, 23)}…` : marker.label, whole = `${marker.x.slice(0, 19).replace("T", " ")} UTC: ${marker.label}`;
      const rows = [...Array(ROWS).keys()].map((row) => row + first);
      if (rows.some((row) => put(row, text, marker.x, { font: { size: 11, color: shadeOf(marker) }, hovertext: whole }))) before = { note: notes.at(-1), text, left: 0 };
      else if (before) Object.assign(before.note, { text: `${before.text} +${before.left += 1}`, hovertext: `${before.note.hovertext}<br>${whole}` });
    }
    const others = (plot.layout.annotations || []).filter((one) => one.name !== "event");
    await globalThis.Plotly.relayout(plot, { annotations: [...others, ...notes], "margin.t": 8 + taken.length * ROW });
  }

  const CONFIG = { displayModeBar: false, responsive: true, displaylogo: false };

  function shareHover(plot) {
    plot.on("plotly_hover", (event) => {
      if (plot.dataset.echo || !event.points[0]) return;
      const at = event.points[0].x;
      for (const other of document.querySelectorAll(`[data-plot][data-group="${CSS.escape(plot.dataset.group)}"]`)) {
        if (other === plot || !other.data || other.layout?.xaxis?.type !== plot.layout.xaxis.type) continue;
        other.dataset.echo = "1";
        try { globalThis.Plotly.Fx.hover(other, { xval: other._fullLayout.xaxis.d2c(at) }); } finally { delete other.dataset.echo; }
      }
    });
    plot.on("plotly_unhover", () => {
      for (const other of document.querySelectorAll(`[data-plot][data-group="${CSS.escape(plot.dataset.group)}"]`)) if (other !== plot && other.data) globalThis.Plotly.Fx.unhover(other);
    });
  }

  // Dragging over a chart asks for that span; the address names it, so that a copied link shows the same.
  function zoomed(plot) {
    const part = plot.closest("[data-zoom]");
    if (!part) return;
    const show = (change) => {
      const query = new URLSearchParams(part.dataset.query);
      for (const name of ["hours", "since", "until"]) query.delete(name);
      for (const [name, value] of Object.entries(change)) query.set(name, value);
      const outer = new URLSearchParams(location.search);
      for (const name of ["hours", "since", "until", ...query.keys()]) outer.delete(name);
      for (const [name, value] of query) outer.set(name, value);
      history.pushState(null, "", `${location.pathname}${outer.size ? `?${outer}` : ""}${location.hash}`);
      globalThis.htmx.ajax("GET", `${part.dataset.zoom}?${query}`, { target: part, swap: "outerHTML" });
    };
    plot.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0], change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1]];
      if (plot.layout.xaxis?.type !== "date" || from === undefined || to === undefined) return;
      const [since, until] = [moment(from), moment(to)];
      if (Number.isNaN(+since) || Number.isNaN(+until)) return;
      if (until - since < 60000) until.setTime(+since + 60000);
      show({ since: since.toISOString().slice(0, 19), until: until.toISOString().slice(0, 19) });
    });
    plot.on("plotly_doubleclick", () => { show({}); return false; });
  }

  // Plotly's own way to a picture writes styles into markup, which the page's policy forbids; its layers as they stand will do.
  function offerPicture(plot) {
    const button = plot.closest("figure")?.querySelector("[data-png]");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const { width, height } = plot.getBoundingClientRect();
      const drawing = new Image();
      const layers = [...plot.querySelectorAll(".main-svg")].map((layer) => new XMLSerializer().serializeToString(layer)).join("");
      const whole = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${layers}</svg>`;
      drawing.src = `data:image/svg+xml,${encodeURIComponent(whole)}`;
      await drawing.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [width * 2, height * 2];
      const pen = canvas.getContext("2d");
      pen.fillStyle = colour("--surface");
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(drawing, 0, 0, canvas.width, canvas.height);
      const link = document.createElement("a");
      link.download = `${plot.closest("figure").id}.png`;
      link.href = canvas.toDataURL("image/png");
      link.click();
    });
  }

  const figures = new WeakMap();

  // What was fetched once is drawn again from memory, as before printing, which waits for no answer.
  async function figureOf(plot, fresh) {
    if (fresh || !figures.has(plot)) figures.set(plot, await asked(plot));
    return JSON.parse(figures.get(plot));
  }

  async function asked(plot) {
    const inline = document.getElementById(plot.dataset.plot);
    if (inline) return inline.textContent;
    if (!plot.dataset.src) return "null";
    const answer = await fetch(plot.dataset.src, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(`the server answered with ${answer.status}`);
    return answer.text();
  }

  async function draw(plot, fresh = false) {
    try {
      const figure = await figureOf(plot, fresh);
      if (!figure) return;
      const first = !plot.data;
      const panels = figure.lastgood?.panels;
      if (panels) plot.style.height = `${Math.ceil(panels.length / columnsFor(plot.clientWidth, panels.length)) * PANEL + 48}px`;
      const { data, layout } = themed(figure, plot.clientHeight || 240, plot.clientWidth);
      if (first) plot.querySelector(".plot-wait")?.remove();
      await globalThis.Plotly.react(plot, data, layout, CONFIG);
      await nameMarkers(plot, figure.lastgood || {});
      plot.dataset.drawn = "1";
      if (first) {
        shareHover(plot);
        zoomed(plot);
        offerPicture(plot);
      }
    } catch (error) {
      const wait = plot.querySelector(".plot-wait");
      if (wait) wait.textContent = globalThis.lastgood.say("This chart could not be drawn: %(why)s. Its numbers are in the table below.", { why: error.message });
    }
  }
  const drawAll = (root = document, fresh = false) => root.querySelectorAll("[data-plot]").forEach((plot) => draw(plot, fresh));
  const settle = (root) => { if (root.querySelector?.("[data-plot]")) drawAll(root); };

  drawAll();
  document.addEventListener("theme", () => drawAll());
  forced.addEventListener("change", () => drawAll());
  document.addEventListener("htmx:afterSettle", (event) => settle(event.detail.elt));
  document.addEventListener("charts:refresh", () => drawAll(document, true));
  globalThis.addEventListener("popstate", () => { if (document.querySelector("[data-zoom]")) location.reload(); });
  // Paper is white: charts are printed in the colours of the light page.
  let before = "";
  globalThis.addEventListener("beforeprint", () => {
    before = theme();
    document.documentElement.dataset.bsTheme = "light";
    drawAll();
  });
  globalThis.addEventListener("afterprint", () => {
    document.documentElement.dataset.bsTheme = before;
    drawAll();
  });

  // Charts that have not come into view are asked for, and drawn, before the page is printed.
  const LONGEST_WAIT = 60_000;
  const undrawn = () => document.querySelector("[hx-trigger*='print-all'], [data-plot]:not([data-drawn])");
  async function printWithAll(button) {
    button.disabled = true;
    document.body.dispatchEvent(new Event("print-all"));
    const until = Date.now() + LONGEST_WAIT;
    while (undrawn() && Date.now() < until) await new Promise((done) => { setTimeout(done, 100); });
    button.disabled = false;
    globalThis.print();
  }
  const offerPrint = (root = document) => root.querySelectorAll("[data-print-all]").forEach((button) => { button.hidden = false; });
  offerPrint();
  document.addEventListener("htmx:afterSettle", () => offerPrint());
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-print-all]");
    if (button) printWithAll(button);
  });
})();
