/* The ops of a layer as a column of nodes with edges drawn beside them; a node is a button. */
(function () {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const STEP = 34, HEIGHT = 28, LEFT = 46;

  function element(tag, attributes, parent) {
    const node = tag === "button" || tag === "div" || tag === "span" ? document.createElement(tag) : document.createElementNS(NS, tag);
    for (const key of Object.keys(attributes)) node.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(node);
    return node;
  }
  function heat(share, top) {
    const strength = top > 0 ? Math.sqrt(share / top) : 0;
    return "color-mix(in srgb, var(--heat) " + Math.round(100 * strength) + "%, var(--panel))";
  }
  function group(box, data, colour, selected, top) {
    const frame = element("div", { class: "graph-group" }, box);
    const head = element("div", { class: "graph-head" }, frame);
    head.textContent = data.repeat > 1 ? "layers " + data.name + "  × " + data.repeat : data.name;
    const body = element("div", { class: "graph-body", style: "height:" + (data.nodes.length * STEP) + "px" }, frame);
    const svg = element("svg", { width: LEFT, height: data.nodes.length * STEP, "aria-hidden": "true" }, body);
    for (const [from, to] of data.edges) {
      const y0 = from * STEP + HEIGHT / 2, y1 = to * STEP + HEIGHT / 2, span = to - from;
      const path = span === 1
        ? "M" + (LEFT - 8) + " " + (from * STEP + HEIGHT) + " V" + (to * STEP)
        : "M" + (LEFT - 16) + " " + y0 + " C" + (LEFT - 16 - Math.min(26, 6 * span)) + " " + y0 + " " + (LEFT - 16 - Math.min(26, 6 * span)) + " " + y1 + " " + (LEFT - 16) + " " + y1;
      element("path", { d: path, class: "graph-edge" }, svg);
    }
    data.nodes.forEach((node, index) => {
      const button = element("button", { class: "graph-node" + (node.id === selected ? " on" : ""), type: "button", style: "top:" + index * STEP + "px", "data-op": node.id, title: node.bound + " bound, " + node.time + " each" }, body);
      const mark = element("span", { class: "graph-mark" }, button);
      mark.style.background = colour === "time" ? heat(node.share, top) : node.colour;
      element("span", { class: "graph-name" }, button).textContent = node.name;
      element("span", { class: "graph-time" }, button).textContent = node.time;
      const bar = element("span", { class: "graph-share" }, button);
      bar.style.width = Math.max(0.5, 100 * node.share) + "%";
      if (node.id === selected) button.setAttribute("aria-pressed", "true");
    });
  }
  window.rooflineGraph = {
    draw(box, data, colour, selected) {
      if (!box || !data) return;
      const keep = document.activeElement && document.activeElement.getAttribute("data-op");
      box.textContent = "";
      const top = Math.max(...data.groups.flatMap((g) => g.nodes.map((n) => n.share)), 0);
      for (const one of data.groups) if (one.nodes.length) group(box, one, colour, selected, top);
      if (keep) { const again = [...box.querySelectorAll("[data-op]")].find((b) => b.getAttribute("data-op") === keep); if (again) again.focus(); }
    },
  };
  document.addEventListener("click", (event) => {
    const node = event.target.closest && event.target.closest("[data-op]");
    if (node) window.dash_clientside.set_props("selected", { data: node.getAttribute("data-op") });
  });
})();
