"use strict";
// Tables can be sorted by any column; without this script they stay in the study's order.
const numberIn = (text) => {
  const found = text.replaceAll("−", "-").match(/^[[<\s]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/);
  return found ? Number(found[1]) : null;
};
const order = (a, b) => {
  const [x, y] = [numberIn(a), numberIn(b)];
  if (x !== null && y !== null) return x - y;
  return a.localeCompare(b, "en", { numeric: true });
};
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) => {
        const missing = (text(a) === "–") - (text(b) === "–");
        return missing || (falling ? order(text(b), text(a)) : order(text(a), text(b)));
      });
      body.append(...rows);
    });
  });
}
// what is folded away is still printed
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    addEventListener("afterprint", () => (folded.open = false), { once: true });
  }
});
