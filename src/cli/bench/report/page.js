"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("data").textContent);
  const DASHES = ["", "7 4", "2 4", "10 4 2 4"];
  const COLOURS = 8;
  const shown = runs.map(() => true);
  const settings = { scale: "log", moment: "p99" };

  const colour = (i) => `var(--c${i % COLOURS})`;
  const dash = (i) => DASHES[Math.floor(i / COLOURS) % DASHES.length];
  const grouped = (n) => Math.round(n).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const short = (n) => {
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (n >= size) return +(n / size).toPrecision(3) + unit;
    }
    return String(+n.toPrecision(3));
  };
  const time = (us) => {
    if (us >= 1e6) return +(us / 1e6).toPrecision(3) + " s";
    if (us >= 1e3) return +(us / 1e3).toPrecision(3) + " ms";
    return +us.toPrecision(3) + " µs";
  };

  // Everything from the data goes into the page as text, never as markup.
  const el = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "style") node.style.cssText = value; else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };
  // The namespace by example, so that no address at all stands in this page.
  const example = document.createElement("template");
  example.innerHTML = "<svg></svg>";
  const NAMESPACE = example.content.firstChild.namespaceURI;
  const svg = (name, attributes = {}, ...children) => {
    const node = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const swatch = (i) => el("span", { class: "swatch", style: `background:${colour(i)}` });
  const row = (cell, ...cells) => el("tr", {}, ...cells.map((content) =>
    content instanceof Node ? content : el(cell, {}, String(content))));

  // ---- tables
  const faults = (run) => Object.values(run.errors).reduce((sum, n) => sum + n, 0) + run.wrong;
  const load = (run) => `${run.options.connections} × ${run.options.outstanding}`;

  function runsTable() {
    const table = document.getElementById("runs-table");
    table.append(row("th", "run", "workload", "conn. × outst.", "rate", "per second", "of the first", "p50", "p90", "p99", "p99.9",
      "p99.99", "max", "errors"));
    // A best is told only among runs of the same work at the same rate.
    const alike = runs.length > 1 && new Set(runs.map((run) => `${run.workload} ${run.options.rate}`)).size === 1;
    const best = (value, least) => {
      const values = runs.map(value);
      const found = least ? Math.min(...values) : Math.max(...values);
      return (i) => alike && values[i] === found;
    };
    const bests = { per_second: best((run) => run.per_second, false) };
    for (const key of ["p50", "p90", "p99", "p999", "p9999", "max"]) bests[key] = best((run) => run.latency_us[key], true);
    runs.forEach((run, i) => {
      const figure = (key, text) => el("td", bests[key](i) ? { class: "best" } : {}, text);
      const bad = faults(run);
      const words = Object.entries(run.errors).map(([name, n]) => `${name}: ${grouped(n)}`);
      if (run.wrong) words.push(`wrong answers: ${grouped(run.wrong)}`);
      if (run.unsent) words.push(`never made: ${grouped(run.unsent)}`);
      table.append(row("td",
        el("td", { class: "name", title: `${run.name} · ${run.servers.join(", ")}` }, swatch(i), run.name),
        run.workload, load(run), run.options.rate ? short(run.options.rate) + "/s" : "closed loop",
        figure("per_second", grouped(run.per_second)),
        i === 0 ? "–" : (run.per_second / runs[0].per_second).toFixed(2) + " ×",
        ...["p50", "p90", "p99", "p999", "p9999", "max"].map((key) => figure(key, time(run.latency_us[key]))),
        el("td", { class: bad || run.unsent ? "bad" : "", title: words.join("\n") },
          bad ? grouped(bad) : run.unsent ? "rate not kept" : "0")));
    });
  }

  function operationsTable() {
    if (!runs.some((run) => Object.keys(run.by_operation).length > 1)) return;
    const table = document.getElementById("operations-table");
    document.getElementById("operations").hidden = false;
    table.append(row("th", "run", "operation", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"));
    runs.forEach((run, i) => {
      for (const [name, fields] of Object.entries(run.by_operation)) {
        table.append(row("td", el("td", { class: "name" }, swatch(i), run.name), name, grouped(fields.operations),
          ...["mean", "p50", "p90", "p99", "p999", "p9999", "max"].map((key) => time(fields[key]))));
      }
    });
  }

  function stagesTable() {
    const table = document.getElementById("stages-table");
    runs.forEach((run, i) => {
      for (const [server, told] of Object.entries(run.server_stages || {})) {
        for (const [stage, after] of Object.entries(told.after || {})) {
          if (typeof after !== "object") continue;
          if (!table.hasChildNodes()) {
            table.append(row("th", "run", "server", "stage", "in the run", "mean", "p50", "p99", "p99.9", "max"));
          }
          const before = (told.before && told.before[stage]) || { cnt: 0, avg: 0 };
          const count = (after.cnt || 0) - (before.cnt || 0);
          const sum = (after.avg || 0) * (after.cnt || 0) - (before.avg || 0) * (before.cnt || 0);
          table.append(row("td", el("td", { class: "name" }, swatch(i), run.name), server, stage, grouped(count),
            count > 0 ? time(sum / count) : "–", ...["p50", "p99", "p999", "max"].map((key) => time(after[key] || 0))));
        }
      }
    });
    document.getElementById("stages").hidden = !table.hasChildNodes();
  }

  function optionsTable() {
    const table = document.getElementById("options-table");
    const text = (value) => (value === null || value === undefined ? "–" : String(value));
    const about = {
      workload: (run) => run.workload, servers: (run) => run.servers.join(", "),
      started: (run) => new Date(run.started * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC",
      seconds: (run) => run.seconds.toFixed(2), operations: (run) => grouped(run.operations),
      "this tool's share of a core": (run) => (run.generator_cores || 0).toFixed(2),
    };
    table.append(row("th", "", ...runs.map((run, i) => el("th", {}, swatch(i), run.name))));
    for (const [name, value] of Object.entries(about)) table.append(row("td", name, ...runs.map((run) => text(value(run)))));
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.options)))].sort();
    for (const name of names) {
      const values = runs.map((run) => text(run.options[name]));
      const differs = values.some((value) => value !== values[0]);
      table.append(row("td", name, ...values.map((value) => el("td", differs ? { class: "differs" } : {}, value))));
    }
  }

  // ---- plots
  const WIDTH = 1100, HEIGHT = 340, LEFT = 70, RIGHT = 16, TOP = 10, BOTTOM = 44;

  // Round numbers that part [0, most] into about `parts`.
  function roundTicks(most, parts) {
    const raw = most / parts, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * size).find((n) => n >= raw);
    const ticks = [];
    for (let at = 0; at <= most * 1.0001; at += step) ticks.push(at);
    return ticks;
  }

  function logTicks(least, most) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
      for (const n of Math.log10(most / least) < 3 ? [1, 2, 5] : [1]) ticks.push(n * 10 ** power);
    }
    return ticks.filter((tick) => tick >= least * 0.999 && tick <= most * 1.001);
  }

  function linear(least, most) {
    return (value) => (value - least) / (most - least || 1);
  }
  function logarithmic(least, most) {
    const from = Math.log10(least), to = Math.log10(most);
    return (value) => (Math.log10(Math.max(value, least)) - from) / (to - from || 1);
  }

  // One plot: `series` are { run, points: [[x, y], ...] }; axes tell where values are, between 0 and 1, and their ticks.
  function plot(id, title, series, x, y, describe) {
    const figure = document.getElementById(id);
    const wide = WIDTH - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
    const px = (value) => LEFT + x.at(value) * wide, py = (value) => TOP + (1 - y.at(value)) * high;
    const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
    for (const tick of y.ticks) {
      const at = py(tick);
      root.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at }),
        svg("text", { x: LEFT - 8, y: at + 4, "text-anchor": "end" }, y.format(tick)));
    }
    for (const tick of x.ticks) {
      const at = px(tick);
      root.append(svg("line", { class: "grid", x1: at, x2: at, y1: TOP, y2: TOP + high }),
        svg("text", { x: at, y: TOP + high + 18, "text-anchor": "middle" }, x.format(tick)));
    }
    root.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: TOP + high, y2: TOP + high }),
      svg("text", { x: LEFT + wide / 2, y: HEIGHT - 6, "text-anchor": "middle" }, x.title));
    for (const { run, points } of series) {
      const path = points.map(([vx, vy], i) => `${i ? "L" : "M"}${px(vx).toFixed(1)} ${py(vy).toFixed(1)}`).join("");
      root.append(svg("path", {
        class: "series", d: path, stroke: colour(run), "stroke-dasharray": dash(run), "data-run": runs[run].name,
        "data-points": points.length,
      }));
    }
    const cursor = svg("line", { class: "cursor", y1: TOP, y2: TOP + high, visibility: "hidden" });
    root.append(cursor);
    figure.replaceChildren(root);

    const tip = document.getElementById("tip");
    root.addEventListener("pointermove", (event) => {
      const box = root.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * WIDTH;
      const near = series.map(({ run, points }) => ({
        run, point: points.reduce((best, point) => Math.abs(px(point[0]) - at) < Math.abs(px(best[0]) - at) ? point : best),
      }));
      if (!near.length || at < LEFT - 10 || at > WIDTH - RIGHT + 10) return leave();
      const nearest = near.reduce((best, one) => Math.abs(px(one.point[0]) - at) < Math.abs(px(best.point[0]) - at) ? one : best);
      cursor.setAttribute("x1", px(nearest.point[0]));
      cursor.setAttribute("x2", px(nearest.point[0]));
      cursor.setAttribute("visibility", "visible");
      tip.replaceChildren(el("b", {}, describe(nearest.point[0])), ...near.map(({ run, point }) =>
        el("div", {}, el("span", {}, swatch(run), runs[run].name), el("span", {}, y.exact(point[1])))));
      tip.hidden = false;
      const left = event.clientX + 18 + tip.offsetWidth > innerWidth ? event.clientX - 18 - tip.offsetWidth : event.clientX + 18;
      tip.style.left = Math.max(4, left) + "px";
      tip.style.top = Math.max(4, Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 4)) + "px";
    });
    const leave = () => { cursor.setAttribute("visibility", "hidden"); tip.hidden = true; };
    root.addEventListener("pointerleave", leave);
  }

  const visible = () => runs.map((run, i) => ({ run: i, of: run })).filter(({ run }) => shown[run]);

  function timeAxis(values, scale) {
    const positive = values.filter((value) => value > 0);
    const most = Math.max(...positive, 1) * (scale === "log" ? 1.15 : 1.05);
    if (scale === "log") {
      const least = Math.max(Math.min(...positive, most / 10) / 1.3, 0.1);
      return { at: logarithmic(least, most), ticks: logTicks(least, most), format: time, exact: time };
    }
    return { at: linear(0, most), ticks: roundTicks(most, 6), format: time, exact: time };
  }

  function percentiles() {
    // The axis of HdrHistogram's plotter: every nine more is as wide as the one before.
    const series = visible().map(({ run, of }) => ({
      run,
      points: of.percentiles.filter(([percentile]) => percentile < 100).map(([percentile, value]) => [1 / (1 - percentile / 100), value]),
    })).filter(({ points }) => points.length);
    const most = Math.max(10, ...series.flatMap(({ points }) => points.map(([nines]) => nines)));
    const ticks = [1, 2, 4];
    for (let nines = 10; nines <= most * 1.001; nines *= 10) ticks.push(nines);
    const name = (nines) => +(100 * (1 - 1 / nines)).toFixed(Math.max(0, Math.ceil(Math.log10(nines)) - 1)) + "%";
    plot("percentiles", "Latency by percentile", series,
      { at: logarithmic(1, most), ticks, format: name, title: "percentile (logarithmic in what remains)" },
      timeAxis(series.flatMap(({ points }) => points.map(([, value]) => value)), settings.scale),
      (nines) => +(100 * (1 - 1 / nines)).toPrecision(8) + "%");
  }

  function overTime(id, title, value, axis) {
    const series = visible().map(({ run, of }) => ({ run, points: of.timeline.map((moment) => [moment[0] + 1, value(moment)]) }))
      .filter(({ points }) => points.length);
    const seconds = series.flatMap(({ points }) => points.map(([second]) => second));
    const most = Math.max(2, ...seconds);
    const whole = roundTicks(most - 1, 10).map((tick) => tick + 1).filter((tick) => Number.isInteger(tick) && tick <= most);
    plot(id, title, series, { at: linear(1, most), ticks: whole, format: String, title: "second" },
      axis(series.flatMap(({ points }) => points.map(([, y]) => y))), (second) => `second ${second}`);
  }

  function throughputAxis(values) {
    const most = Math.max(1, ...values) * 1.08;
    return { at: linear(0, most), ticks: roundTicks(most, 5), format: (n) => short(n), exact: (n) => grouped(n) + " /s" };
  }

  function draw() {
    percentiles();
    overTime("throughput", "Operations in each second", (moment) => moment[1], throughputAxis);
    const column = { p50: 2, p99: 3, max: 4 }[settings.moment];
    overTime("latency", `${settings.moment} of each second`, (moment) => moment[column], (values) => timeAxis(values, "log"));
  }

  // ---- controls
  const legend = document.getElementById("legend");
  runs.forEach((run, i) => {
    const button = el("button", { type: "button", "aria-pressed": "true" }, swatch(i), run.name);
    button.addEventListener("click", () => {
      shown[i] = !shown[i];
      button.setAttribute("aria-pressed", shown[i]);
      draw();
    });
    legend.append(button);
  });
  for (const group of document.querySelectorAll(".switch")) {
    const key = group.dataset.key;
    const mark = () => { for (const button of group.children) button.setAttribute("aria-pressed", button.value === settings[key]); };
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      settings[key] = button.value;
      mark();
      draw();
    });
    mark();
  }

  const servers = new Set(runs.flatMap((run) => run.servers));
  document.getElementById("about").textContent =
    `${runs.length} run${runs.length === 1 ? "" : "s"} · ${[...servers].slice(0, 6).join(", ")}${servers.size > 6 ? " …" : ""}`;
  runsTable();
  operationsTable();
  stagesTable();
  optionsTable();
  draw();
})();
