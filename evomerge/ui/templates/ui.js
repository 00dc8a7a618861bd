"use strict";
// Loaded in the head, so that a chosen theme is there before anything is drawn.
(() => {
  const root = document.documentElement;
  const chosen = localStorage.getItem("evomerge-theme");
  if (chosen) root.dataset.theme = chosen;

  addEventListener("DOMContentLoaded", () => {
    document.querySelector("button.theme").addEventListener("click", () => {
      setTimeout(() => localStorage.setItem("evomerge-theme", root.dataset.theme));
    });
    for (const select of document.querySelectorAll("form[data-submit] select")) {
      select.addEventListener("change", () => select.form.requestSubmit());
    }
    follow();
  });

  // While a run goes on the server says that something has changed; the page is then fetched and
  // the parts marked as live are exchanged. What was typed, marked, sorted and scrolled stays.
  function follow() {
    const page = document.body.dataset;
    if (!page.events) return;
    let source = null, busy = false, again = false;

    const refresh = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try {
        const answer = await fetch(location.href);
        if (!answer.ok) return;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        page.version = fresh.body.dataset.version || "";
        if (!fresh.body.dataset.events) { source?.close(); delete page.events; }
        const parts = [...fresh.querySelectorAll("[data-live]")];
        if (parts.some((part) => !document.getElementById(part.id))) { location.reload(); return; }
        parts.forEach(exchange);
        document.dispatchEvent(new Event("refreshed"));
      } finally {
        busy = false;
        if (again) { again = false; setTimeout(refresh, 500); }
      }
    };
    const exchange = (part) => {
      const old = document.getElementById(part.id);
      if (old.innerHTML === part.innerHTML) return;
      const marked = new Set([...old.querySelectorAll("input:checked")].map((each) => each.value));
      if (old.tBodies) {
        old.tBodies[0].replaceChildren(...part.tBodies[0].rows);
        const sorted = old.querySelector("th[aria-sort]");  // the other way round, and back
        sorted?.click();
        sorted?.click();
        document.querySelector(`input.filter[data-table="${old.id}"]`)?.dispatchEvent(new Event("input"));
      } else {
        old.className = part.className;
        old.replaceChildren(...part.childNodes);
      }
      for (const box of old.querySelectorAll("input[type=checkbox]")) box.checked = marked.has(box.value);
    };
    // A browser opens six connections to a server at most: only the tab in front keeps one.
    const connect = () => {
      if (document.hidden || !page.events) { source?.close(); source = null; return; }
      if (source) return;
      source = new EventSource(page.events);
      source.onmessage = (event) => { if (event.data !== page.version) refresh(); };
      source.onerror = () => root.classList.add("offline");
      source.onopen = () => root.classList.remove("offline");
    };
    document.addEventListener("visibilitychange", connect);
    connect();
  }
})();
