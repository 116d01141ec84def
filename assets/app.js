/* Browser side of the dashboard: state <-> address, theme, keys, selection. No request leaves the server it came from. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const NO = () => dc.no_update;
  const NUMERIC = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i;

  function value(text) {
    if (text === "true") return true;
    if (text === "false") return false;
    return NUMERIC.test(text) ? Number(text) : text;
  }
  function parse(query) {
    const flat = {};
    for (const [key, text] of new URLSearchParams(query)) flat[key] = value(text);
    return flat;
  }
  function encode(flat) {
    return Object.keys(flat)
      .map((k) => k + "=" + encodeURIComponent(flat[k]).replace(/%2F/g, "/").replace(/%3A/g, ":").replace(/%2B/g, "+").replace(/%40/g, "@").replace(/\+/g, "%2B"))
      .join("&");
  }
  function sameState(a, b) {
    return JSON.stringify(a) === JSON.stringify(b);
  }
  function flatten(state) {
    const flat = {};
    for (const [key, item] of Object.entries(state || {})) {
      if (item && typeof item === "object") Object.assign(flat, flatten(item));
      else flat[key] = item;
    }
    return flat;
  }

  const app = {
    /* Address -> controls, once at load. Without a query the layout's own first view stays. */
    boot(meta) {
      const fields = meta.fields;
      const params = new URLSearchParams(window.location.search);
      const pins = params.getAll("pin").slice(0, 12).map(parse);
      const base = params.get("base");
      const theme = app.firstTheme();
      const compact = window.innerWidth < 640;
      if (compact) document.getElementById("aside-details").removeAttribute("open");
      let flat = {};
      if (params.get("s")) {
        try { flat = flatten(JSON.parse(params.get("s"))); } catch (e) { flat = { model: "?" }; }
      }
      for (const [key, text] of params) if (!["s", "pin", "base", "set"].includes(key)) flat[key] = value(text);
      const tail = [base ? parse(base) : null, pins, theme, compact];
      if (!Object.keys(flat).length) return [...fields.map(NO), {}, ...tail];
      const extra = {};
      for (const key of Object.keys(flat)) if (!fields.includes(key)) extra[key] = flat[key];
      return [...fields.map((f) => (f in flat ? flat[f] : meta.defaults[f])), extra, ...tail];
    },

    /* Controls -> state: what differs from the defaults, and the fields that the phase has. */
    collect(...args) {
      const now = args.pop();
      const meta = args.pop();
      const extra = args.pop() || {};
      const all = {};
      meta.fields.forEach((f, i) => (all[f] = args[i]));
      const used = { prefill: ["batch", "prompt", "cached"], decode: ["batch", "context"], generate: ["batch", "prompt", "output"] };
      const lengths = used[all.phase] || [];
      const flat = {};
      for (const f of meta.fields) {
        if (meta.lengths.includes(f) && !lengths.includes(f)) continue;
        const v = all[f] === undefined ? null : all[f];
        if (f === "compression" && (v === "" || v === null)) continue;
        if (["model", "hardware", "phase"].includes(f) || v !== meta.defaults[f]) flat[f] = v === null ? "" : v;
      }
      Object.assign(flat, extra);
      const name = "panel phase-" + all.phase;
      return [now && sameState(now, flat) ? dc.no_update : flat, name];
    },

    /* State -> address, one way. */
    address(flat, base, pins, path, settings) {
      if (!flat) return dc.no_update;
      const parts = [encode(flat)];
      if (base) parts.push("base=" + encodeURIComponent(encode(base)));
      for (const pin of pins || []) parts.push("pin=" + encodeURIComponent(encode(pin)));
      if (settings) parts.push("set=" + encodeURIComponent(settings).replace(/%2C/g, ",").replace(/%21/g, "!"));
      const query = parts.join("&");
      history.replaceState(history.state, "", window.location.pathname + "?" + query);
      const here = encode(flat);
      const theme = document.documentElement.getAttribute("data-mantine-color-scheme") || "light";
      for (const [id, file] of [["link-csv", "data.csv"], ["link-json", "data.json"], ["link-html", "chart.html"]]) {
        const link = document.getElementById(id);
        if (link) link.setAttribute("href", "/" + file + "?" + here + (id === "link-html" ? "&theme=" + theme : ""));
      }
      return String(query.length);
    },

    /* State -> the page that is shown, and no other: what is hidden asks the server for nothing. */
    route(flat, base, pins, theme, compact, path) {
      const names = Object.values(app.metaData.pages);
      const here = app.pageOf(path);
      return names.map((name) => (flat && name === here ? { flat, base: base || null, pins: pins || [], theme, compact } : dc.no_update));
    },
    pageOf(path) {
      return (app.metaData && app.metaData.pages[path]) || "analyze";
    },
    showPage(path) {
      const page = app.pageOf(path);
      for (const link of document.querySelectorAll(".nav-link")) {
        const on = link.id === "nav-" + page;
        link.classList.toggle("on", on);
        if (on) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      if (app.pageShown && app.pageShown !== page) setTimeout(() => window.dispatchEvent(new Event("resize")), 30);
      app.pageShown = page;
      return "main show-" + page;
    },

    firstTheme() {
      const params = new URLSearchParams(window.location.search);
      const asked = params.get("theme");
      let kept = null;
      try { kept = localStorage.getItem("roofline-theme"); } catch (e) { /* private window */ }
      if (asked === "dark" || asked === "light") return asked;
      if (kept) return kept;
      return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    },
    applyTheme(theme) {
      document.documentElement.setAttribute("data-mantine-color-scheme", theme);
      document.body.setAttribute("data-ag-theme-mode", theme);
      return theme;
    },
    toggleTheme(n, theme) {
      const next = theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("roofline-theme", next); } catch (e) { /* private window */ }
      return next;
    },
    toggleBaseline(n, flat, base) {
      return base ? null : flat;
    },
    labelBaseline(base) {
      return base ? "Drop baseline" : "Pin baseline";
    },
    addPin(n, flat, pins) {
      const kept = (pins || []).filter((p) => !sameState(p, flat));
      return [...kept, flat].slice(-12);
    },
    opened() {
      return true;
    },
    resetScales() {
      return [1, 1];
    },

    /* Complaints beside their controls; what belongs to none goes into the banner. */
    fanErrors(errors, ...rest) {
      const fields = app.meta().fields.filter((f) => f !== "phase");
      const left = Object.assign({}, errors);
      const out = fields.map((f) => { const e = left[f]; delete left[f]; return e ? e.replace(/^\w+: /, "") : false; });
      const main = document.getElementById("main");
      if (main) main.classList.toggle("stale", Object.keys(errors || {}).length > 0);
      const hidden = fields.find((f) => (errors || {})[f]);
      const box = hidden && document.getElementById(hidden);
      if (box) for (let d = box.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
      return [...out, Object.values(left).join(" ")];
    },
    meta() {
      return app.metaData;
    },

    /* Chart or table -> selected op. */
    select(click, rows) {
      const by = dc.callback_context.triggered[0] ? dc.callback_context.triggered[0].prop_id : "";
      if (by.startsWith("roofline")) {
        const point = click && click.points[0];
        return point && point.customdata ? point.customdata[0] : dc.no_update;
      }
      return rows && rows.length ? rows[0].phase + "/" + rows[0].layers + "/" + rows[0].name : dc.no_update;
    },
    /* Selected op -> ring in the chart, row in the table. */
    mark(id) {
      setTimeout(() => app.ring(id), 0);
      app.selectRow(id);
      return dc.no_update;
    },
    ring(id) {
      const plot = document.querySelector("#roofline .js-plotly-plot");
      if (!plot || !plot.data || !window.Plotly) return;
      const last = plot.data.length - 1;
      if (last < 0 || !plot.data[last] || plot.data[last].name !== "selected") return; // not drawn yet
      let x = null, y = null, size = 24;
      for (const trace of plot.data) {
        if (!trace.customdata || trace.name === "baseline") continue;
        const i = trace.customdata.findIndex((c) => c[0] === id);
        if (i >= 0) {
          x = trace.x[i]; y = trace.y[i];
          size = Math.max(4.5, 64 * Math.sqrt(trace.marker.size[i])) + 12;
        }
      }
      if (plot.data[last].x[0] === x && plot.data[last].y[0] === y) return;
      window.Plotly.restyle(plot, { x: [[x]], y: [[y]], "marker.size": size }, [last]);
    },
    selectRow(id) {
      if (!window.dash_ag_grid || !id) return;
      try {
        const api = window.dash_ag_grid.getApi("ops");
        const node = api && api.getRowNode(id);
        if (node && !node.isSelected()) node.setSelected(true, true);
      } catch (e) { /* the table is not there yet */ }
    },
    filterTable(text, options) {
      return Object.assign({}, options, { quickFilterText: text || "" });
    },
    /* A figure in the table -> its explanation. */
    askCell(cell) {
      const plain = ["name", "phase", "layers", "bound", "math", "notes"];
      if (!cell || plain.includes(cell.colId)) return dc.no_update;
      return { key: cell.rowId, at: Date.now() };
    },
    askAgain(flat, opened, question) {
      return opened && question ? Object.assign({}, question, { at: Date.now() }) : dc.no_update;
    },
    /* Painted rules live in the state as text: ops@layers~role=format;… */
    paint(nPaint, nUndo, nClear, target, layers, w, a, kv, selected, extra) {
      const by = dc.callback_context.triggered[0].prop_id.split(".")[0];
      const now = (extra && extra.paint) || "";
      app.paintPast = app.paintPast || [];
      if (by === "paint-undo") {
        if (!app.paintPast.length) { app.toast("Nothing to undo"); return dc.no_update; }
        return app.withPaint(extra, app.paintPast.pop());
      }
      if (by === "paint-clear") {
        if (!now) return dc.no_update;
        app.paintPast.push(now);
        return app.withPaint(extra, "");
      }
      const ops = target === "selected" ? (selected || "").split("/").pop() : target;
      if (!ops) { app.toast("Select an op first: in the chart, the graph or the table"); return dc.no_update; }
      const roles = [["w", w], ["a", a]].filter((r) => r[1]).map((r) => "~" + r[0] + "=" + r[1]).join("");
      if (!roles && !kv) { app.toast("Choose a format"); return dc.no_update; }
      const where = layers && layers.trim() !== "all" ? "@" + layers.trim() : "";
      app.paintPast.push(now);
      const rules = [now, roles ? ops + where + roles : "", kv ? "*" + where + "~kv=" + kv : ""]; /* a cache is shared by the ops that write and read it */
      return app.withPaint(extra, rules.filter(Boolean).join(";"));
    },
    withPaint(extra, text) {
      const next = Object.assign({}, extra);
      if (text) next.paint = text; else delete next.paint;
      return next;
    },
    showPaint(extra) {
      const box = document.getElementById("paint-rules");
      if (!box) return dc.no_update;
      box.textContent = "";
      for (const rule of ((extra && extra.paint) || "").split(";").filter(Boolean)) {
        const chip = document.createElement("span");
        chip.className = "chip";
        chip.textContent = rule.replace(/~/g, "  ").replace("@linear", "all linear");
        box.appendChild(chip);
      }
      return dc.no_update;
    },
    /* A click in the map sets batch and length. */
    jump(click) {
      const point = click && click.points[0];
      if (!point || point.x === undefined) return [dc.no_update, dc.no_update, dc.no_update];
      const length = Math.round(point.x);
      return [Math.max(1, Math.round(point.y)), Math.max(1, length), length];
    },
    sweepRange(axis) {
      if (dc.settings.axis === axis) { dc.settings.axis = null; return [dc.no_update, dc.no_update]; }
      return axis === "batch" ? [1, 1024] : axis === "output" ? [2, 4096] : [64, 131072];
    },
    clearPins() {
      return [];
    },
    chooseDevice(click, rows) {
      const by = dc.callback_context.triggered[0] ? dc.callback_context.triggered[0].prop_id : "";
      if (by.startsWith("device-map")) {
        const point = click && click.points[0];
        return point && point.customdata ? point.customdata[0] : dc.no_update;
      }
      return rows && rows.length ? rows[0].id : dc.no_update;
    },
    chooseModel(rows) {
      return rows && rows.length ? rows[0].id : dc.no_update;
    },
    drawGraph(data, colour, selected) {
      if (window.rooflineGraph) window.rooflineGraph.draw(document.getElementById("graph"), data, colour, selected);
      return dc.no_update;
    },
  };
  const boot = app.boot;
  app.boot = (meta) => { app.metaData = meta; return boot(meta); };
  dc.app = app;

  /* A chart whose data changed while its first drawing was under way can keep the old picture: draw it again. */
  function heal() {
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
      if (!plot.offsetParent || !window.Plotly || !plot.data || !plot.data.length) continue;
      const behind = !plot.calcdata || plot.calcdata.length !== plot.data.length;
      const bare = plot.data.some((t) => t.customdata && t.x && t.x.length && t.type === "scatter") && !plot.querySelector("path.point");
      if (behind || bare) window.Plotly.redraw(plot);
    }
  }
  setInterval(heal, 1000);

  /* Keys. */
  function step(field, factor) {
    const input = document.getElementById(field);
    if (!input || input.offsetParent === null) return;
    const now = Number(input.value.replace(/,/g, "")) || 1;
    dc.set_props(field, { value: Math.max(1, Math.round(now * factor)) });
  }
  function lengthField() {
    const phase = (document.getElementById("panel").className.match(/phase-(\w+)/) || [])[1];
    return phase === "decode" ? "context" : "prompt";
  }
  const PAGE_KEYS = "1234567";
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("input, textarea, select, [contenteditable]");
    if (typing && !(event.target.type === "radio" || event.target.type === "checkbox")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const click = (id) => { const b = document.getElementById(id); if (b) b.click(); };
    const actions = {
      "[": () => step("batch", 0.5), "]": () => step("batch", 2),
      "{": () => step(lengthField(), 0.5), "}": () => step(lengthField(), 2),
      b: () => click("baseline-toggle"), t: () => click("theme-toggle"), "?": () => click("help-open"),
      c: () => app.copyText(window.location.href),
      "/": () => { const s = document.getElementById("table-search"); if (s) { s.scrollIntoView({ block: "center" }); s.focus(); } },
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
    else if (PAGE_KEYS.includes(event.key)) {
      const link = document.querySelectorAll(".nav-link")[PAGE_KEYS.indexOf(event.key)];
      if (link) link.click();
    }
  });

  document.addEventListener("click", (event) => {
    const at = event.target.closest ? event.target : event.target.parentElement;
    const figure = at && at.closest("[data-explain]");
    if (figure) dc.set_props("question", { data: { key: figure.getAttribute("data-explain"), at: Date.now() } });
    const save = at && at.closest("[data-export]");
    if (save && window.dash_ag_grid) {
      const name = save.getAttribute("data-export");
      window.dash_ag_grid.getApi(name).exportDataAsCsv({ fileName: "roofline-" + name + ".csv" });
    }
    const copy = at && at.closest("[data-copy]");
    if (copy) {
      const what = copy.getAttribute("data-copy");
      app.copyText(what === "link" ? window.location.href : document.getElementById("copy-" + what).textContent);
    }
  });
  new MutationObserver(() => {
    const link = document.getElementById("copy-link");
    for (const input of document.querySelectorAll(".upload input[type=file]:not([aria-label])")) input.setAttribute("aria-label", "Choose a file");
    if (link && link.textContent !== window.location.href) link.textContent = window.location.href;
  }).observe(document.body, { childList: true, subtree: true });

  app.copyText = function (text) {
    const done = () => app.toast("Copied");
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text).then(done, () => app.toast("Not allowed to copy"));
    const area = document.createElement("textarea");
    area.value = text;
    document.body.appendChild(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
    return null;
  };
  app.toast = function (text) {
    let box = document.getElementById("toast");
    if (!box) {
      box = document.createElement("div");
      box.id = "toast";
      box.setAttribute("role", "status");
      document.body.appendChild(box);
    }
    box.textContent = text;
    box.className = "on";
    clearTimeout(app.toastTimer);
    app.toastTimer = setTimeout(() => (box.className = ""), 1600);
  };
})();
