/* Number text and theme of the tables. */
(function () {
  "use strict";
  const dagfuncs = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});
  function digits(value, n) {
    if (value === 0) return "0";
    const decimals = Math.max(0, n - 1 - Math.floor(Math.log10(Math.abs(value)) + 1e-12));
    return value.toLocaleString("en", { minimumFractionDigits: Math.min(decimals, 9), maximumFractionDigits: Math.min(decimals, 9) });
  }
  function prefixed(value, unit, steps) {
    if (value === null || value === undefined || !isFinite(value)) return "–";
    if (value === 0) return "0 " + unit;
    const step = steps.find((s) => Math.abs(value) >= s[1] * 0.9995) || steps[steps.length - 1];
    return digits(value / step[1], 3) + " " + step[0] + unit;
  }
  const UP = [["E", 1e18], ["P", 1e15], ["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1]];
  const DOWN = [["", 1], ["m", 1e-3], ["µ", 1e-6], ["n", 1e-9]];
  dagfuncs.roofline_time = (v) => prefixed(v, "s", DOWN);
  dagfuncs.roofline_bytes = (v) => prefixed(v, "B", UP);
  dagfuncs.roofline_flop = (v) => prefixed(v, "", UP).trim();
  dagfuncs.roofline_si = (v) => prefixed(v, "", UP).trim();
  dagfuncs.roofline_count = (v) => (v === null || v === undefined ? "" : Number(v).toLocaleString("en"));
  dagfuncs.roofline_number = (v) => (v === null || v === undefined ? "–" : digits(v, 3));
  dagfuncs.roofline_share = (v) => (v === null || v === undefined ? "–" : v > 0 && v < 0.001 ? "<0.1 %" : (100 * v).toFixed(1) + " %");
  const LOOK = {
      fontFamily: "inherit", fontSize: 12.5, spacing: 5, wrapperBorderRadius: 4,
      backgroundColor: "var(--card)", foregroundColor: "var(--ink)", borderColor: "var(--line)",
      headerBackgroundColor: "var(--panel)", headerTextColor: "var(--muted)", accentColor: "var(--accent)",
      rowHoverColor: "var(--panel)", selectedRowBackgroundColor: "var(--picked)", browserColorScheme: "inherit",
  };
  dagfuncs.roofline_theme = (theme) => theme.withParams(LOOK).withParams(LOOK, "light").withParams(LOOK, "dark");
})();
