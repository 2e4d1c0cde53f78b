"use strict";
// A page in a sandboxed frame has no storage; the switch then holds for the visit.
const stored = (act) => { try { return act(window.localStorage); } catch { return null; } };
const setTheme = (theme) => {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
};
const theme = stored((s) => s.getItem("tidegate-theme")) ?? "";
setTheme(theme);
document.addEventListener("DOMContentLoaded", () => {
  for (const choice of document.querySelectorAll("input[name=theme]")) {
    choice.checked = choice.value === theme;
    choice.addEventListener("change", () => {
      setTheme(choice.value);
      stored((s) => s.setItem("tidegate-theme", choice.value));
    });
  }
});
