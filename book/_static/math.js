// A copied formula is its TeX: the annotation that stands in every <math>.
(() => {
  const formulaAt = (node) =>
    (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest("math");

  const tex = (math) => {
    const source = math.querySelector("annotation").textContent.trim();
    return math.getAttribute("display") === "block" ? `\n$$\n${source}\n$$\n` : `$${source}$`;
  };

  document.addEventListener("copy", (event) => {
    const selection = document.getSelection();
    if (!event.clipboardData || !selection.rangeCount || selection.isCollapsed) return;
    const range = selection.getRangeAt(0).cloneRange();
    const [first, last] = [formulaAt(range.startContainer), formulaAt(range.endContainer)];
    if (first) range.setStartBefore(first);
    if (last) range.setEndAfter(last);
    const copied = range.cloneContents();
    const formulas = copied.querySelectorAll("math");
    if (!formulas.length) return;
    const html = document.createElement("div");
    html.append(copied.cloneNode(true));
    for (const math of formulas) math.replaceWith(tex(math));
    // Only what is on the page breaks its lines as it does on the page.
    const sheet = document.createElement("div");
    sheet.style.cssText = "position: fixed; left: -100vw; width: 60em; white-space: pre-line;";
    sheet.append(copied);
    document.body.append(sheet);
    event.clipboardData.setData("text/plain", sheet.innerText.trim());
    event.clipboardData.setData("text/html", html.innerHTML);
    sheet.remove();
    event.preventDefault();
  });

  // What scrolls must be reached by the keyboard.
  const reach = () => {
    for (const box of document.querySelectorAll("div.math > .rnb-formula")) {
      const isWide = box.scrollWidth > box.clientWidth + 1;
      box.classList.toggle("rnb-wide", isWide);
      if (isWide) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  window.addEventListener("load", reach);
  window.addEventListener("resize", reach);
})();
