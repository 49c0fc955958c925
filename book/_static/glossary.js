// A term's entry beside its link, for mouse, keyboard and finger. Without this script the browser
// shows the same text as the link's title.
document.addEventListener("DOMContentLoaded", () => {
  const links = document.querySelectorAll("a.reference[title] > .std-term");
  if (!links.length) return;
  const note = document.createElement("div");
  note.id = "rnb-note";
  note.setAttribute("role", "tooltip");
  note.hidden = true;
  document.body.append(note);

  const hide = () => { note.hidden = true; };
  const show = (link) => {
    note.textContent = link.dataset.entry;
    note.hidden = false;
    const box = link.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - note.offsetWidth - 12);
    const below = box.bottom + 6;
    const fits = below + note.offsetHeight < window.innerHeight;
    note.style.left = `${Math.max(12, left) + window.scrollX}px`;
    note.style.top = `${(fits ? below : box.top - note.offsetHeight - 6) + window.scrollY}px`;
  };

  links.forEach((word) => {
    const link = word.parentElement;
    link.dataset.entry = link.title;
    link.removeAttribute("title");
    link.setAttribute("aria-describedby", note.id);
    link.classList.add("rnb-term");
    link.addEventListener("mouseenter", () => show(link));
    link.addEventListener("focus", () => show(link));
    link.addEventListener("mouseleave", hide);
    link.addEventListener("blur", hide);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
});
