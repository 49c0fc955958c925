// One switch for all folds of a page, and links that open the fold they lead into.
(() => {
  "use strict";
  const KEY = "robustnb-unfolded";

  const openAround = (id) => {
    const target = id && document.getElementById(decodeURIComponent(id));
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS") at.open = true;
    }
    if (target) target.scrollIntoView();
  };

  document.addEventListener("DOMContentLoaded", () => {
    const folds = [...document.querySelectorAll("details.rnb-fold")];
    const title = document.querySelector("article.bd-article h1");
    if (folds.length && title) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "rnb-unfold";
      const show = (all) => {
        button.setAttribute("aria-pressed", String(all));
        button.textContent = all ? "Fold the details" : `Show all details (${folds.length})`;
      };
      const set = (all) => {
        folds.forEach((fold) => { fold.open = all; });
        show(all);
        try { sessionStorage.setItem(KEY, all ? "1" : ""); } catch (error) { /* not from disk */ }
      };
      button.addEventListener("click", () => set(button.getAttribute("aria-pressed") !== "true"));
      title.before(button);
      let stored = "";
      try { stored = sessionStorage.getItem(KEY) || ""; } catch (error) { /* not from disk */ }
      stored ? set(true) : show(false);
    }
    openAround(location.hash.slice(1));
  });
  window.addEventListener("hashchange", () => openAround(location.hash.slice(1)));
})();
