// Two faults of the theme and of the bibliography that a screen reader stumbles over.
document.addEventListener("DOMContentLoaded", () => {
  // The arrows that open a part of the contents have no name.
  document.querySelectorAll("nav details > summary").forEach((arrow) => {
    const page = arrow.closest("li").querySelector("a");
    arrow.setAttribute("aria-label", `Pages under ${page.textContent.trim()}`);
  });
  // A list whose children are entries of a bibliography, and so no items of a list.
  document.querySelectorAll(".citation-list[role=list]").forEach((list) => list.removeAttribute("role"));
});
