/* Settings of the pages <-> the link: set=sweep-axis~prompt!plan-memory~20, only what differs from the start. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const FIRST = new URLSearchParams(window.location.search).get("set") || "";
  const text = (value) => (Array.isArray(value) ? value.join(",") : value === null || value === undefined ? "" : String(value));

  function read(one, found) {
    if (Array.isArray(one.start)) return found.split(",").filter(Boolean).slice(0, 12);
    if (one.property === "checked") return found === "true";
    if (typeof one.start === "number" || (one.start === null && found !== "")) return Number.isFinite(Number(found)) && found !== "" ? Number(found) : one.start;
    return found.slice(0, 80);
  }
  dc.settings = {
    restore(meta) {
      const given = {};
      for (const part of FIRST.slice(0, 2000).split("!")) {
        const [id, ...rest] = part.split("~");
        if (id && rest.length) given[id] = rest.join("~");
      }
      const axis = given["sweep-axis"];
      if (axis) dc.settings.axis = axis; /* its range is in the link too: see app.sweepRange */
      return meta.settings.map((one) => (one.id in given ? read(one, given[one.id]) : dc.no_update));
    },
    collect(...values) {
      const meta = values.pop();
      return meta.settings
        .map((one, i) => (text(values[i]) !== text(one.start) ? one.id + "~" + text(values[i]) : ""))
        .filter(Boolean)
        .join("!");
    },
  };
})();
