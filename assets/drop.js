/* A dropped checkpoint: the head of the file goes to the server, never the file. */
(function () {
  "use strict";
  const dc = (window.dash_clientside = window.dash_clientside || {});
  const LIMIT = 16 * 1048576;
  const isCheckpoint = (file) => file && /\.(safetensors|gguf)$/i.test(file.name);
  const note = (text) => dc.set_props("upload-note", { children: text });

  /* Bytes that hold the header: a .safetensors file says how many, a .gguf file does not. */
  async function headOf(file) {
    let end = LIMIT;
    if (/\.safetensors$/i.test(file.name) && file.size >= 8) {
      const view = new DataView(await file.slice(0, 8).arrayBuffer());
      end = 8 + Number(view.getBigUint64(0, true));
    }
    return file.slice(0, Math.min(end, LIMIT, file.size));
  }
  async function send(file) {
    note("Reading the header of " + file.name + " …");
    const state = new URLSearchParams(window.location.search);
    const query = new URLSearchParams({ name: file.name, size: file.size, model: state.get("model") || "llama-2-13b" });
    try {
      const answer = await fetch("/header?" + query, { method: "POST", body: await headOf(file), headers: { "Content-Type": "application/octet-stream" } });
      const text = await answer.text();
      if (answer.ok) dc.set_props("header", { data: JSON.parse(text) });
      else note(text.trim());
    } catch (error) {
      note(file.name + ": the file could not be read or sent (" + error.message + ")");
    }
  }
  /* Before the upload control sees it: that one would read the whole file. */
  function take(event) {
    const at = event.target.closest && event.target.closest("#upload, .upload");
    if (!at || !(at.id === "upload" || at.querySelector("#upload") || at.closest("#upload"))) return;
    const files = event.dataTransfer ? event.dataTransfer.files : event.target.files;
    if (!files || !isCheckpoint(files[0])) return;
    event.preventDefault();
    event.stopPropagation();
    send(files[0]);
    if (event.target.value !== undefined) event.target.value = "";
  }
  document.addEventListener("drop", take, true);
  document.addEventListener("change", take, true);

  dc.drop = {
    /* The server's answer becomes the model. */
    keep(found, files, models) {
      if (!found) return [dc.no_update, dc.no_update, dc.no_update, dc.no_update];
      const label = { value: found.key, label: found.label };
      const others = (models || []).filter((m) => (m.value || m) !== found.key);
      return [Object.assign({}, files, { [found.key]: found.content }), found.key, [label, ...others], found.note];
    },
  };
})();
