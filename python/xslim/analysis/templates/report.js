"use strict";
// Every report on the page that no script has taken up yet; a notebook may show several.
document.querySelectorAll(".xslim-report[data-new]").forEach((root) => {
  delete root.dataset.new;
  const data = JSON.parse(root.querySelector("script.data").textContent);

  function element(name, attributes, text) {
    const space = "http://www.w3.org/2000/svg";
    const node = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(4))));
  const say = (key, values) => data.texts[key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  // The histogram of a tensor: grey inside the range of int8, red where values are clipped.
  function histogram([counts, [low, high], [first, last]]) {
    const width = 620, height = 170, base = 140;
    const start = Math.min(low, first), end = Math.max(high, last, start + 1e-12);
    const x = (value) => 10 + ((value - start) / (end - start)) * (width - 20);
    const top = Math.log1p(Math.max(1, ...counts));
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": say("histogram", {}) });
    svg.append(element("rect", { class: "chosen", x: x(first), y: 6, width: Math.max(1, x(last) - x(first)), height: base - 6 }));
    const step = (high - low) / counts.length;
    counts.forEach((count, index) => {
      if (!count) return;
      const left = low + index * step, tall = ((base - 12) * Math.log1p(count)) / top;
      const middle = left + step / 2, inside = middle >= first && middle <= last;
      const bar = element("rect", { class: inside ? "inside" : "outside", x: x(left), y: base - tall, width: Math.max(1, x(left + step) - x(left) - 1), height: tall });
      bar.append(element("title", {}, say("bin", { low: short(left), high: short(left + step), count })));
      svg.append(bar);
    });
    const label = (value, anchor, y) => svg.append(element("text", { class: "tick", x: x(value), y, "text-anchor": anchor }, short(value)));
    label(low, x(low) > width / 2 ? "end" : "start", base + 21);
    label(high, x(high) < width / 2 ? "start" : "end", base + 21);
    return svg;
  }

  const detailOf = (row) => (row.nextElementSibling?.classList.contains("detail") ? row.nextElementSibling : null);

  function close(row) {
    detailOf(row)?.remove();
    row.setAttribute("aria-expanded", "false");
    row.removeAttribute("aria-controls");
  }

  function open(row) {
    if (detailOf(row)) return;
    const tensor = data.tensors[Number(row.dataset.row)];
    const detail = document.createElement("tr"), cell = document.createElement("td"), figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const cells = [...row.cells].map((item) => item.textContent.trim());
    caption.textContent = say("caption", {
      name: cells[1], low: short(tensor[1][0]), high: short(tensor[1][1]),
      first: short(tensor[2][0]), last: short(tensor[2][1]), clipped: cells[6], mse: cells[5],
    });
    cell.colSpan = row.cells.length;
    figure.append(histogram(tensor), caption);
    if (tensor[3].length) {
      const peaks = tensor[3], sorted = [...peaks].sort((a, b) => a - b), largest = sorted[sorted.length - 1];
      caption.textContent += ` ${say("channels", { number: peaks.indexOf(largest), largest: short(largest), median: short(sorted[sorted.length >> 1]) })}`;
    }
    cell.append(figure);
    detail.className = "detail";
    detail.id = `${row.id}-detail`;
    detail.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    detail.append(cell);
    row.after(detail);
    row.setAttribute("aria-expanded", "true");
    row.setAttribute("aria-controls", detail.id);
  }

  const toggle = (row) => (detailOf(row) ? close(row) : open(row));
  const opening = () => [...root.querySelectorAll(".opens")].filter((row) => !row.hidden);

  // One row of the table takes part in the order of Tab; arrow keys move it.
  function focus(row) {
    if (!row) return;
    root.querySelectorAll(".opens[tabindex='0']").forEach((other) => { other.tabIndex = -1; });
    row.tabIndex = 0;
    row.focus();
  }

  const MOVES = {
    ArrowDown: (rows, at) => rows[at + 1], ArrowUp: (rows, at) => rows[at - 1],
    Home: (rows) => rows[0], End: (rows) => rows[rows.length - 1],
  };

  root.querySelectorAll(".opens").forEach((row) => {
    row.addEventListener("click", () => toggle(row));
    row.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "Enter" || event.key === " ") toggle(row);
      else if (event.key === "ArrowRight") open(row);
      else if (event.key === "ArrowLeft") close(row);
      else if (MOVES[event.key]) { const rows = opening(); focus(MOVES[event.key](rows, rows.indexOf(row))); }
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  });

  // A link from a chart shows the row even where the search hides it, and opens it.
  root.querySelectorAll("a[href^='#']").forEach((link) => {
    link.addEventListener("click", () => {
      const row = document.getElementById(link.getAttribute("href").slice(1));
      if (!row?.classList.contains("opens")) return;
      row.hidden = false;
      open(row);
      focus(row);
    });
  });

  function key(row, column) {
    const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
    const number = Number(/^-?inf$/.test(text) ? text.replace("inf", "Infinity") : text);
    return Number.isNaN(number) ? text : number;
  }

  root.querySelectorAll(".sortable th button").forEach((button) => {
    button.addEventListener("click", () => {
      const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
      const column = head.cellIndex, sorted = head.getAttribute("aria-sort");
      const descending = sorted ? sorted === "ascending" : head.dataset.first === "descending";
      table.querySelectorAll(".opens").forEach(close);
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1));
      body.append(...rows.map(([, row]) => row));
    });
  });

  root.querySelectorAll(".search").forEach((field) => {
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      const table = document.getElementById(field.dataset.table);
      table.querySelectorAll(".opens").forEach(close);
      table.querySelectorAll("tbody tr").forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
      const rows = opening();
      if (table.querySelector(".opens") && !rows.some((row) => row.tabIndex === 0)) rows.slice(0, 1).forEach((row) => { row.tabIndex = 0; });
    });
  });

  root.querySelectorAll(".switch button").forEach((button) => {
    button.addEventListener("click", () => {
      const section = button.closest(".graph");
      section.querySelectorAll(".switch button").forEach((other) => {
        section.classList.toggle(other.dataset.by, other === button);
        other.setAttribute("aria-pressed", String(other === button));
      });
    });
  });

  root.querySelectorAll(".copy").forEach((button) => {
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(button.nextElementSibling.textContent).then(() => { button.textContent = say("copied", {}); });
    });
  });
});
