/* Drag a roof of the roofline: the slope changes the bandwidth, a used flat roof the compute peaks. Keyboard: the
   Resources fields of the panel do the same. */
(function () {
  "use strict";
  const REACH = 9, PAUSE = 45;
  let drag = null, last = 0;

  function plotOf(event) {
    const box = event.target.closest && event.target.closest("#roofline");
    return box ? box.querySelector(".js-plotly-plot") : null;
  }
  function place(plot, event) {
    const area = plot.querySelector(".nsewdrag");
    if (!area || !plot._fullLayout) return null;
    const rect = area.getBoundingClientRect();
    const x = event.clientX - rect.left, y = event.clientY - rect.top;
    if (x < 0 || y < 0 || x > rect.width || y > rect.height) return null;
    const lx = plot._fullLayout.xaxis, ly = plot._fullLayout.yaxis;
    return { y, logX: lx.p2l(x), logY: ly.p2l(y), toPixel: (v) => ly.l2p(v) };
  }
  function roofAt(plot, event) {
    const at = place(plot, event);
    if (!at) return null;
    if (plot._hoverdata && plot._hoverdata.length) return null;
    for (const trace of plot.data) {
      const meta = trace.meta;
      if (!meta || !meta.roof) continue;
      const x0 = Math.log10(trace.x[0]), x1 = Math.log10(trace.x[1]);
      if (at.logX < x0 || at.logX > x1) continue;
      const slope = meta.roof === "memory";
      const line = slope ? Math.log10(trace.y[0] / trace.x[0]) + at.logX : Math.log10(trace.y[0]);
      if (Math.abs(at.toPixel(line) - at.y) > REACH) continue;
      const field = slope ? "bandwidth_scale" : "compute_scale";
      const input = document.getElementById(field);
      const scale = input ? Number(input.value.replace(/,/g, "")) || 1 : 1;
      const value = slope ? trace.y[0] / trace.x[0] : trace.y[0];
      return { plot, field, slope, base: value / scale };
    }
    return null;
  }
  function move(event) {
    if (!drag) {
      const plot = plotOf(event);
      if (plot) plot.classList.toggle("over-roof", event.buttons === 0 && roofAt(plot, event) !== null);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const now = performance.now();
    if (now - last < PAUSE) return;
    const at = place(drag.plot, event);
    if (!at) return;
    last = now;
    const value = Math.pow(10, drag.slope ? at.logY - at.logX : at.logY);
    const scale = Math.min(1000, Math.max(0.001, Number((value / drag.base).toPrecision(3))));
    window.dash_clientside.set_props(drag.field, { value: scale });
    window.dash_clientside.app.toast((drag.slope ? "bandwidth × " : "compute × ") + scale);
  }
  function down(event) {
    const plot = plotOf(event);
    if (!plot || event.button !== 0) return;
    drag = roofAt(plot, event);
    if (!drag) return;
    event.preventDefault();
    event.stopPropagation();
    document.body.classList.add("dragging-roof");
  }
  function up() {
    drag = null;
    document.body.classList.remove("dragging-roof");
  }
  document.addEventListener("pointermove", move, true);
  document.addEventListener("pointerdown", down, true);
  document.addEventListener("mousedown", (event) => { if (drag) { event.preventDefault(); event.stopPropagation(); } }, true);
  document.addEventListener("pointerup", up, true);
  document.addEventListener("pointercancel", up, true);
})();
