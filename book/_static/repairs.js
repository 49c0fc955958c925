// Faults of the theme and of the bibliography that a screen reader, or a printer, stumbles over.
document.addEventListener("DOMContentLoaded", () => {
  // The arrows that open a part of the contents have no name.
  document.querySelectorAll("nav details > summary").forEach((arrow) => {
    const page = arrow.closest("li").querySelector("a");
    arrow.setAttribute("aria-label", `Pages under ${page.textContent.trim()}`);
  });
  // A list whose children are entries of a bibliography, and so no items of a list.
  document.querySelectorAll(".citation-list[role=list]").forEach((list) => list.removeAttribute("role"));
  // The column of contents is outside all landmarks.
  const contents = document.querySelector(".bd-sidebar-primary");
  if (contents) {
    contents.setAttribute("role", "region");
    contents.setAttribute("aria-label", "Contents and settings");
  }
});

// Paper is white: a dark page is printed in the light theme.
(() => {
  const root = document.documentElement;
  let before = "";
  const toPaper = () => {
    if (root.dataset.theme !== "dark") return;
    before = "dark";
    root.dataset.theme = "light";
  };
  const back = () => {
    if (before) root.dataset.theme = before;
    before = "";
  };
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", back);
  matchMedia("print").addEventListener("change", (event) => event.matches ? toPaper() : back());
})();
