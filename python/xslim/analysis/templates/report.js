"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

function element(name, attributes, text) {
  const space = "http://www.w3.org/2000/svg";
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));

// The histogram of a tensor: grey inside the range of int8, red where values are clipped.
function histogram([counts, [low, high], [first, last]]) {
  const width = 620, height = 170, base = 140;
  const start = Math.min(low, first), end = Math.max(high, last, start + 1e-12);
  const x = (value) => 10 + ((value - start) / (end - start)) * (width - 20);
  const top = Math.log1p(Math.max(1, ...counts));
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Histogram of the float values" });
  svg.append(element("rect", { class: "chosen", x: x(first), y: 6, width: Math.max(1, x(last) - x(first)), height: base - 6 }));
  const step = (high - low) / counts.length;
  counts.forEach((count, index) => {
    if (!count) return;
    const left = low + index * step, tall = ((base - 12) * Math.log1p(count)) / top;
    const middle = left + step / 2, inside = middle >= first && middle <= last;
    const bar = element("rect", { class: inside ? "inside" : "outside", x: x(left), y: base - tall, width: Math.max(1, x(left + step) - x(left) - 1), height: tall });
    bar.append(element("title", {}, `${short(left)} to ${short(left + step)}: ${count}`));
    svg.append(bar);
  });
  const label = (value, anchor, y) => svg.append(element("text", { class: "tick", x: x(value), y, "text-anchor": anchor }, short(value)));
  label(low, x(low) > width / 2 ? "end" : "start", base + 21);
  label(high, x(high) < width / 2 ? "start" : "end", base + 21);
  return svg;
}

function open(row) {
  const next = row.nextElementSibling;
  if (next && next.classList.contains("detail")) { next.remove(); return; }
  const tensor = data.tensors[Number(row.dataset.row)];
  const detail = document.createElement("tr"), cell = document.createElement("td"), figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const cells = [...row.cells].map((item) => item.textContent.trim());
  caption.textContent = `${cells[1]}: float values ${short(tensor[1][0])} to ${short(tensor[1][1])}, int8 covers ${short(tensor[2][0])} to ${short(tensor[2][1])} (shaded); clipped ${cells[6]}, MSE ${cells[5]}. Heights are logarithmic.`;
  cell.colSpan = row.cells.length;
  figure.append(histogram(tensor), caption);
  if (tensor[3].length) {
    const peaks = tensor[3], sorted = [...peaks].sort((a, b) => a - b), largest = sorted[sorted.length - 1];
    caption.textContent += ` Largest channel: number ${peaks.indexOf(largest)} with ${short(largest)}; the median channel reaches ${short(sorted[sorted.length >> 1])}.`;
  }
  cell.append(figure);
  detail.className = "detail";
  detail.append(cell);
  row.after(detail);
}

document.querySelectorAll(".opens").forEach((row) => {
  row.addEventListener("click", () => open(row));
  row.addEventListener("keydown", (event) => { if (event.key === "Enter") open(row); });
});

function key(row, column) {
  const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
  const number = Number(/^-?inf$/.test(text) ? text.replace("inf", "Infinity") : text);
  return Number.isNaN(number) ? text : number;
}

document.querySelectorAll(".sortable th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
    const column = head.cellIndex, descending = head.getAttribute("aria-sort") !== "descending";
    table.querySelectorAll(".detail").forEach((row) => row.remove());
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  });
});

document.querySelectorAll(".search").forEach((field) => {
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    document.querySelectorAll(`#${field.dataset.table} tbody tr`).forEach((row) => {
      if (row.classList.contains("detail")) { row.remove(); return; }
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  });
});

document.querySelectorAll(".copy").forEach((button) => {
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(button.nextElementSibling.textContent).then(() => { button.textContent = "Copied"; });
  });
});
