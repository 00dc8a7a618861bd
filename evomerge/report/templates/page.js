"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector("button.theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  if (["light", "dark"].includes(location.hash.slice(1))) root.dataset.theme = location.hash.slice(1);
  button.hidden = false;
  button.addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort !== undefined ? cell.dataset.sort : cell.textContent.trim();
  };
  const compare = (a, b) => {
    const x = parseFloat(a), y = parseFloat(b);
    const numbers = !Number.isNaN(x) && !Number.isNaN(y);
    return numbers ? x - y : a.localeCompare(b, undefined, {numeric: true});
  };
  const tables = () => document.querySelectorAll("table.sortable:not([data-taken])").forEach((table) => {
    table.dataset.taken = "";
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      const sign = order === "ascending" ? 1 : -1;
      rows.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    }));
    const filter = document.querySelector(`input.filter[data-table="${table.id}"]`);
    if (!filter) return;
    filter.hidden = false;
    filter.oninput = () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    };
  });

  // Figures become interactive one after the other; without scripts they are the SVG.
  const views = new Map();
  let selected = "";
  const chip = document.createElement("div");
  chip.className = "chosen";
  chip.hidden = true;
  chip.innerHTML = "<span></span> <button type=button>clear</button>";
  document.body.append(chip);
  const select = (name) => {
    selected = name === selected ? "" : name;
    for (const view of views.values()) view.signal("selected", selected).runAsync();
    for (const row of document.querySelectorAll("tr[data-model]"))
      row.classList.toggle("selected", row.dataset.model === selected);
    chip.hidden = selected === "";
    chip.firstChild.textContent = selected;
  };
  chip.querySelector("button").addEventListener("click", () => select(selected));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected) select(selected);
  });
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-model]");
    if (row && !event.target.closest("a") && !String(getSelection())) select(row.dataset.model);
  });

  const fitted = (spec, room) => {
    spec.config.legend.gradientLength = Math.max(120, Math.min(360, room - 230));
    if (room < 560) {
      spec.config.legend.columns = 2;
      spec.config.axisTop = {labelAngle: -35};
    }
    if (spec.facet) {
      const least = Math.min(240, room - 70);
      spec.columns = Math.max(1, Math.min(spec.columns || 1, Math.floor(room / (least + 70))));
      spec.spec.width = Math.floor(room / spec.columns) - 62;
    } else {
      spec.width = "container";
      spec.autosize = {type: "fit-x", contains: "padding"};
    }
    return spec;
  };
  // A tooltip without what is not known of the model.
  const formatTooltip = (value, safe) => {
    const known = Object.entries(value).filter(([, v]) => !["", "NaN", "null", "undefined"].includes(String(v)));
    const rows = known.map(([k, v]) => `<tr><td class="key">${safe(k)}</td><td class="value">${safe(String(v))}</td></tr>`);
    return `<table>${rows.join("")}</table>`;
  };
  const embed = async (figure) => {
    const spec = JSON.parse(figure.querySelector(".spec").textContent);
    const place = figure.querySelector(".live");
    if (!figure.classList.contains("fixed")) fitted(spec, figure.clientWidth);
    const options = {actions: false, renderer: "svg", ast: true, tooltip: {theme: "custom", formatTooltip}};
    const {view} = await vegaEmbed(place, spec, options);
    views.set(figure, view);
    figure.classList.add("live-now");
    if (!figure.classList.contains("fixed")) view.resize();
    if (selected) view.signal("selected", selected);
    view.addEventListener("click", (_, item) => {
      const name = item && item.datum && item.datum.model;
      if (name) select(name);
      else if (selected) select(selected);
    });
    view.runAsync();
  };
  const figures = async () => {
    for (const figure of views.keys()) if (!figure.isConnected) views.delete(figure);
    for (const spec of document.querySelectorAll(".spec:not([data-taken])")) {
      spec.dataset.taken = "";
      await embed(spec.closest("figure")).catch((error) => console.error(error));
      await new Promise((next) => setTimeout(next));
    }
  };
  // A page whose content changes sends the event `evomerge-content` when something new is in it.
  const begin = () => { tables(); figures(); };
  document.addEventListener("evomerge-content", begin);
  begin();
})();
