/* The two-minute tour of a first visit: six steps beside the controls they are about; closed once, it stays closed. */
(function () {
  "use strict";
  const KEY = "roofline-tour";
  const STEPS = [
    ["#figures", "The answer", "Time to the first token, time per token, memory, energy. Click any figure: its formula with the numbers put in."],
    [".card-roofline", "The roofline", "Each point is a kernel of one layer: how much arithmetic it does per byte, and how fast it can go. Under the slope memory binds, under the flat roof arithmetic does. Drag a roof to change the chip."],
    ["#compression", "Change the precision", "Try w4a16-g128+kv8. What the memory binds gets faster; what arithmetic binds does not."],
    ["#baseline-toggle", "Pin a baseline", "Pin (b), then change the compression: arrows show what each op gains. [ and ] halve and double the batch."],
    [".nav", "More questions", "Compare settings, sweep to where a gain ends, plan under budgets, and see how far predictions are from measurements."],
    ["#copy-open", "Take it with you", "The address is the whole state: share the link, or copy it as command, Python or JSON. This tour is under “?”."],
  ];
  let at = 0;
  let box = null;
  let back = null;

  function remembered() {
    try { return localStorage.getItem(KEY); } catch (e) { return "closed"; }
  }
  function close() {
    try { localStorage.setItem(KEY, "closed"); } catch (e) { /* private window */ }
    mark(null);
    if (box) box.remove();
    box = null;
    if (back && back.focus) back.focus();
  }
  function mark(node) {
    for (const one of document.querySelectorAll(".tour-target")) one.classList.remove("tour-target");
    if (node) node.classList.add("tour-target");
  }
  function target(step) {
    const node = document.querySelector(step[0]);
    return node && node.offsetParent !== null ? node : null;
  }
  function button(text, act, main) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.className = "tool" + (main ? " primary" : "");
    made.addEventListener("click", act);
    return made;
  }
  function show(index, focus) {
    at = Math.max(0, Math.min(STEPS.length - 1, index));
    const [, title, text] = STEPS[at];
    const node = target(STEPS[at]);
    mark(node);
    if (node) node.scrollIntoView({ block: "nearest" });
    box.querySelector("h2").textContent = title;
    box.querySelector("p").textContent = text;
    box.querySelector(".tour-count").textContent = (at + 1) + " of " + STEPS.length;
    const row = box.querySelector(".tour-buttons");
    row.textContent = "";
    const last = at === STEPS.length - 1;
    if (at > 0) row.append(button("Back", () => show(at - 1, true)));
    const next = button(last ? "Done" : "Next", () => (last ? close() : show(at + 1, true)), true);
    row.append(next);
    if (!last) row.append(button("Close the tour", close));
    if (focus) next.focus();
  }
  function start(focus) {
    if (box) return;
    back = document.activeElement;
    box = document.createElement("section");
    box.id = "tour";
    box.setAttribute("aria-label", "Tour");
    box.innerHTML = '<div aria-live="polite"><h2></h2><p></p></div><div class="tour-foot"><span class="tour-count"></span><span class="tour-buttons"></span></div>';
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(at + 1, true);
      else if (event.key === "ArrowLeft") show(at - 1, true);
    });
    const app = document.querySelector(".app");
    app.insertBefore(box, app.firstChild);
    show(0, focus);
  }
  document.addEventListener("keydown", (event) => {
    if (box && event.key === "Escape") close();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#tour-start")) {
      window.dash_clientside.set_props("help", { opened: false });
      setTimeout(() => start(true), 250);
    }
  });
  /* Only who comes without a link and has not closed it: a shared link shows what was shared. */
  if (!remembered() && !window.location.search && window.location.pathname.length <= 1) {
    const wait = setInterval(() => {
      const line = document.getElementById("headline");
      if (!line || !line.textContent) return;
      clearInterval(wait);
      start(false);
    }, 200);
  }
})();
