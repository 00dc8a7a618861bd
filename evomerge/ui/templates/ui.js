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
    for (const text of document.querySelectorAll(".prompt")) {
      const mark = text.querySelector("mark");  // the first word that was looked for
      if (mark) text.scrollTop += mark.getBoundingClientRect().top - text.getBoundingClientRect().top - 60;
    }
    follow();
  });

  // As the server sent it, before scripts changed it.
  let sent = [];
  document.addEventListener("readystatechange", () => {
    if (document.readyState === "interactive") sent = parts(document);
  });
  const parts = (page) => [...page.querySelector("main").children].map((part) => part.outerHTML);

  // While a run goes on the server says that something has changed; the page is then fetched and
  // the parts that differ are exchanged. What was typed, marked, sorted and scrolled stays.
  function follow() {
    const page = document.body.dataset;
    if (!page.events) return;
    let source = null, busy = false, wanted = false;

    const refresh = async () => {
      const answer = await fetch(location.href);
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      page.version = fresh.body.dataset.version || "";
      fresh.querySelectorAll("header [data-live]").forEach((part) => {
        document.getElementById(part.id)?.replaceWith(part);
      });
      exchange(fresh);
    };
    // A page that takes the server long is fetched less often: a run comes before its pictures.
    const soon = async () => {
      wanted = true;
      if (busy) return;
      busy = true;
      while (wanted) {
        wanted = false;
        const began = performance.now();
        await refresh().catch(() => {});
        const rest = Math.max(500, 3 * (performance.now() - began));
        await new Promise((next) => setTimeout(next, rest));
      }
      busy = false;
    };
    const exchange = (fresh) => {
      const main = document.querySelector("main"), now = parts(fresh);
      const names = (some) => [...some].map((part) => part.tagName + part.id).join();
      if (names(main.children) !== names(fresh.querySelector("main").children)) {
        main.replaceWith(fresh.querySelector("main"));
        tell();
      } else {
        const old = [...main.children];
        [...fresh.querySelector("main").children].forEach((part, place) => {
          if (now[place] !== sent[place] && !replace(old[place], part)) now[place] = "";
        });
      }
      sent = now;
    };
    const tell = () => document.dispatchEvent(new Event("evomerge-content"));
    const replace = (old, part) => {
      const typing = document.activeElement.matches("input:not([type=checkbox]), select");
      if (typing && old.contains(document.activeElement)) return false;
      const before = old.querySelector("th[aria-sort]");
      const marked = new Set([...old.querySelectorAll("input:checked")].map((each) => each.value));
      const [left, top] = [old.scrollLeft, old.scrollTop];
      old.replaceWith(part);
      tell();
      part.querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = marked.has(box.value); });
      if (before) {
        const head = part.querySelectorAll("th")[before.cellIndex];
        head.click();
        if (head.getAttribute("aria-sort") !== before.getAttribute("aria-sort")) head.click();
      }
      const table = part.querySelector("table[id]");
      if (table) document.querySelector(`input.filter[data-table="${table.id}"]`)?.dispatchEvent(new Event("input"));
      part.scrollTo(left, top);
      return true;
    };
    // A browser opens six connections to a server at most: only the tab in front keeps one.
    const connect = () => {
      if (document.hidden) { source?.close(); source = null; return; }
      if (source) return;
      source = new EventSource(page.events);
      source.onmessage = (event) => { if (event.data !== page.version) soon(); };
      source.onerror = () => root.classList.add("offline");
      source.onopen = () => root.classList.remove("offline");
    };
    document.addEventListener("visibilitychange", connect);
    connect();
  }
})();
