"use strict";
// Sorting, filters and values at the pointer; without this script the page shows everything.
const numberIn = (text) => {
  const found = text.replaceAll("−", "-").match(/^[[<\s]*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)/);
  return found ? Number(found[1]) : null;
};
const keyOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
};
const order = (a, b) => {
  const [x, y] = [numberIn(a), numberIn(b)];
  if (x !== null && y !== null) return x - y;
  return a.localeCompare(b, "en", { numeric: true });
};
const sortRows = (body, column, falling) => {
  const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
  rows.sort((one, other) => {
    const [a, b] = [keyOf(one, column), keyOf(other, column)];
    const missing = (a === "–" || a === "") - (b === "–" || b === "");
    return missing || (falling ? order(b, a) : order(a, b));
  });
  body.append(...rows);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    // beside the text, which print repeats on each page: a button's own text it would not
    const button = document.createElement("button");
    button.ariaLabel = `sort by ${head.textContent.trim()}`;
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      for (const body of table.tBodies) sortRows(body, column, falling);
    });
  });
}

const filters = document.querySelector(".filters");
if (filters) {
  const grid = document.querySelector(".grid");
  const [verdict, group, text] = ["verdict", "group", "text"].map((n) => filters.elements[n]);
  const update = () => {
    const words = text.value.trim().toLowerCase();
    let [shown, all] = [0, 0];
    for (const body of grid.tBodies) {
      let rowsShown = 0;
      for (const row of body.rows) {
        if (row.classList.contains("group")) continue;
        const cells = [...row.cells].slice(1);
        const fits = (cell) => !verdict.value || cell.dataset.kind === verdict.value;
        for (const cell of cells) cell.classList.toggle("faded", !fits(cell));
        const visible =
          cells.some(fits) &&
          (!group.value || body.dataset.group === group.value) &&
          row.cells[0].textContent.toLowerCase().includes(words);
        row.hidden = !visible;
        rowsShown += visible;
        all += 1;
      }
      body.hidden = !rowsShown;
      shown += rowsShown;
    }
    filters.querySelector("output").value = `${shown} of ${all} metrics`;
  };
  filters.hidden = false;
  filters.addEventListener("input", update);
  filters.addEventListener("submit", (event) => event.preventDefault());
  update();
}

// values at the pointer, at once and in the page's style; without a script the browser's own
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
for (const title of document.querySelectorAll("svg .values title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
for (const titled of document.querySelectorAll("td[title]")) {
  titled.dataset.tip = titled.title;
  titled.removeAttribute("title");
}
addEventListener("pointerover", (event) => {
  const found = event.target.closest?.("[data-tip]");
  tip.hidden = !found;
  if (!found) return;
  tip.textContent = found.dataset.tip;
  const [at, size] = [found.getBoundingClientRect(), tip.getBoundingClientRect()];
  const above = at.top - size.height - 6;
  tip.style.top = `${above > 4 ? above : at.bottom + 6}px`;
  tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - size.width - 4))}px`;
});
addEventListener("pointercancel", () => (tip.hidden = true)); // a touch that scrolls

// what is folded away is still printed
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    addEventListener("afterprint", () => (folded.open = false), { once: true });
  }
});
