// Results of the search: each gets the section that fits the words best, and an excerpt of it.
// The text comes with `sections.js`, so that nothing is fetched and the search works from a disk.
(() => {
  const query = new URLSearchParams(location.search).get("q") || "";
  const words = query.toLowerCase().split(/[^\p{L}\p{N}_]+/u).filter(Boolean);
  const sections = window.robustnbSections || {};
  const AROUND = 120; // characters before and after the first word that is found

  // "networks" also finds "network", as Sphinx's own index does.
  const stems = words.map((word) => word.replace(/(ies|es|s|ing|ed)$/u, "") || word);

  const score = ([, title, text]) => {
    const [head, body] = [title.toLowerCase(), text.toLowerCase()];
    return stems.reduce((sum, stem) => sum + (head.includes(stem) ? 5 : 0)
      + Math.min(3, body.split(stem).length - 1) + (body.includes(stem) ? 2 : 0), 0);
  };

  const excerpt = (text) => {
    const found = stems.map((stem) => text.toLowerCase().indexOf(stem)).filter((at) => at >= 0);
    const middle = found.length ? Math.min(...found) : 0;
    const [start, end] = [Math.max(0, middle - AROUND), Math.min(text.length, middle + 2 * AROUND)];
    return (start ? "… " : "") + text.slice(start, end).trim() + (end < text.length ? " …" : "");
  };

  const marked = (text) => {
    const line = document.createElement("p");
    line.className = "context";
    const pattern = stems.map((stem) => stem.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    text.split(new RegExp(`((?:${pattern})[\\p{L}\\p{N}]*)`, "giu")).forEach((piece, k) => {
      if (!piece) return;
      const node = k % 2 ? document.createElement("mark") : document.createTextNode(piece);
      if (k % 2) node.textContent = piece;
      line.append(node);
    });
    return line;
  };

  const complete = (item) => {
    const link = item.querySelector("a");
    if (!link || item.dataset.done || !stems.length) return;
    item.dataset.done = "yes";
    const [page, anchor] = (link.getAttribute("href") || "").split("#");
    const of = sections[page.replace(/\.html.*$/, "")];
    if (!of || !of.length) return;
    const known = anchor && of.find(([name]) => name === anchor);
    const best = known || of.reduce((a, b) => (score(b) > score(a) ? b : a));
    if (!score(best)) return;
    if (!anchor && best[0]) link.setAttribute("href", `${page}#${best[0]}`);
    if (best !== of[0] && !link.textContent.includes(best[1])) {
      const where = document.createElement("span");
      where.textContent = ` › ${best[1]}`;
      link.append(where);
    }
    item.append(marked(excerpt(best[2])));
  };

  const results = document.getElementById("search-results");
  if (!results) return;
  const completeAll = () => results.querySelectorAll("ul.search > li").forEach(complete);
  new MutationObserver(completeAll).observe(results, { childList: true, subtree: true });
  completeAll();
})();
