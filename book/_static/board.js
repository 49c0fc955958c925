// Choose rows of the scoreboard by paper and verdict. Without this script every row is shown.
document.addEventListener("DOMContentLoaded", () => {
  const board = document.querySelector(".rnb-board");
  const rows = board ? [...board.querySelectorAll("tbody tr")] : [];
  if (!rows.length) return;

  const facts = new Map(rows.map((row) => {
    const badge = row.querySelector(".rnb-badge").textContent.trim();
    return [row, {
      paper: row.cells[0].textContent.trim().split(" ")[0],
      verdict: /^\d+ of \d+ parts? holds?$/.test(badge) ? "holds in part" : badge,
    }];
  }));

  const form = document.createElement("form");
  form.className = "rnb-filter";
  const told = document.createElement("p");
  told.setAttribute("role", "status");

  const choose = (name, title) => {
    const counts = new Map();
    facts.forEach((fact) => counts.set(fact[name], (counts.get(fact[name]) || 0) + 1));
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.add(new Option(`all (${rows.length})`, ""));
    counts.forEach((count, value) => select.add(new Option(`${value} (${count})`, value)));
    select.name = name;
    label.append(`${title} `, select);
    form.append(label);
    return select;
  };
  const selects = [choose("paper", "Paper"), choose("verdict", "Verdict")];

  const apply = () => {
    let shown = 0;
    facts.forEach((fact, row) => {
      row.hidden = selects.some((select) => select.value && fact[select.name] !== select.value);
      shown += row.hidden ? 0 : 1;
    });
    told.textContent = `${shown} of ${rows.length} claims shown`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(told);
  board.before(form);
  apply();
});
