// Makes the console's forms and links quicker. Nothing needs it: every page
// works without, and what it does is load the same pages and put their main
// part in the place of this one's.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
let loading = null;

// Puts the page at `url` in the place of this one, without losing the place in
// a field that is being typed in.
async function swap(url, options = {}) {
  loading?.abort();
  loading = new AbortController();
  if (!options.quiet) document.documentElement.classList.add("busy");
  try {
    const response = await fetch(url, { ...options, signal: loading.signal, headers: { Accept: "text/html" } });
    const text = await response.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const main = $("main", page);
    if (!main || !$("nav.side", page) || !$("nav.side")) {
      location.assign(response.url || url);
      return false;
    }
    const typed = document.activeElement?.id === "q" ? document.activeElement : null;
    const [value, at] = typed ? [typed.value, typed.selectionStart] : [null, 0];
    const focused = document.activeElement?.id;
    const opened = $$("details[open]").map((one) => $("summary", one)?.textContent);
    $("main").replaceChildren(...main.childNodes);
    $$("details").forEach((one) => { one.open = one.open || opened.includes($("summary", one)?.textContent); });
    for (const menu of ["nav.side", ".drawer nav"]) $(menu).replaceChildren(...$(menu, page).childNodes);
    $(".drawer").open = false;
    document.title = page.title;
    if (typed && $("#q")) {
      $("#q").value = value;
      $("#q").focus();
      $("#q").setSelectionRange(at, at);
    } else if (options.quiet && focused) {
      document.getElementById(focused)?.focus({ preventScroll: true });
    } else if (options.focus) {
      ($("#error") || $(".notice") || $("main")).focus?.();
    }
    begin();
    return response;
  } catch (error) {
    if (error.name === "AbortError") return false;
    // A server that is being restarted is asked again.
    if (options.quiet) again = setTimeout(refresh, 2000);
    else location.assign(url);
    return false;
  } finally {
    document.documentElement.classList.remove("busy");
  }
}

// The filter line shows what it finds while one types.
let wait = 0;
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-live]");
  if (!form || event.target.matches("[data-choose]")) return;
  clearTimeout(wait);
  wait = setTimeout(async () => {
    const url = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
    if (await swap(url)) history.replaceState(null, "", url);
  }, 120);
});

// Lines that are pasted stay apart in a field of one line.
document.addEventListener("paste", (event) => {
  const text = event.clipboardData?.getData("text/plain").trim() ?? "";
  const line = event.target;
  if (!line.matches?.("input[type=search]") || !/[\r\n\t]/.test(text)) return;
  event.preventDefault();
  line.setRangeText(text.replace(/\s*[\r\n\t]+\s*/g, ", "), line.selectionStart, line.selectionEnd, "end");
  line.dispatchEvent(new Event("input", { bubbles: true }));
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "get" || !form.matches("[data-live]")) return;
  event.preventDefault();
  clearTimeout(wait);
  const url = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
  if (await swap(url)) history.pushState(null, "", url);
});

// Asks before what cannot be taken back.
document.addEventListener("submit", (event) => {
  const text = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (text && !window.confirm(text)) event.preventDefault();
});

// A second click on a button does nothing. The browser reads the button's own
// value after this event, so it goes out of use a moment later; a page that comes
// back from the browser's memory has its buttons back.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  const buttons = [...event.target.elements].filter((one) => one.matches("button:not([type=button])"));
  setTimeout(() => buttons.forEach((one) => { one.disabled = true; }));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) $$("form button:disabled").forEach((one) => { one.disabled = false; });
});

// Tabs, pages and sorted columns change only the main part.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("nav.tabs a, nav.pages a, thead a");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const url = link.getAttribute("href");
  if (await swap(url)) {
    history.pushState(null, "", url);
    if (link.closest("nav.pages")) scrollTo(0, 0);
  }
});
addEventListener("popstate", () => swap(location.href));

// Selecting rows: the box above them all, and from one to another with Shift.
// What is selected is kept for this tab while its pages and its order change,
// until a job that was made of it has run.
let last = null;
const boxes = () => $$("input[type=checkbox][name=n]");
const KEPT = "selected";
const line = (form) => form.elements.q.value.split(/\s+/).filter((word) => word && !word.startsWith("sort:")).join(" ");
const listed = (form) => `${form.action} ${line(form)}`;
function kept(form) {
  try {
    const { of, numbers } = JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
    return new Set(of === listed(form) ? numbers : []);
  } catch {
    return new Set();
  }
}
// Ticks what was selected before, or notes what is ticked now.
function restore(form) {
  const numbers = kept(form);
  boxes().forEach((box) => { box.checked = box.checked || numbers.has(box.value); });
}
function keep(form) {
  const numbers = kept(form);
  boxes().forEach((box) => (box.checked ? numbers.add(box.value) : numbers.delete(box.value)));
  sessionStorage.setItem(KEPT, JSON.stringify({ of: listed(form), numbers: [...numbers] }));
  return numbers;
}
function count() {
  const form = $("form[data-select]");
  const place = form && $("[data-selected]", form);
  if (!place) return;
  const total = keep(form).size;
  const selected = boxes().filter((box) => box.checked).length;
  const all = $("input[name=all]", form)?.checked;
  const elsewhere = total - selected;
  place.textContent = all || !total ? "" : elsewhere ? `${total} selected, ${elsewhere} of them on other pages` : `${total} selected`;
  $("[data-clear]", form).hidden = all || !total;
  const head = $("[data-all]", form);
  if (head) {
    head.checked = selected > 0 && selected === boxes().length;
    head.indeterminate = selected > 0 && selected < boxes().length;
  }
}
document.addEventListener("click", (event) => {
  const box = event.target;
  if (box.matches?.("[data-all]")) boxes().forEach((one) => { one.checked = box.checked; });
  if (box.matches?.("input[name=n]")) {
    const all = boxes();
    if (event.shiftKey && last && all.includes(last)) {
      const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
      all.slice(from, to + 1).forEach((one) => { one.checked = box.checked; });
    }
    last = box;
  }
  count();
});

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-clear]")) return;
  sessionStorage.removeItem(KEPT);
  boxes().forEach((box) => { box.checked = false; });
  count();
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("[data-select]") || $("input[name=all]", form)?.checked) return;
  const here = new Set(boxes().map((box) => box.value));
  const elsewhere = [...keep(form)].filter((number) => !here.has(number));
  $$("[data-elsewhere]", form).forEach((one) => one.remove());
  form.append(...elsewhere.map((value) => Object.assign(document.createElement("input"), { type: "hidden", name: "n", value })));
  $$("input[type=hidden][name=n]", form).forEach((one) => { one.dataset.elsewhere = ""; });
});

// A renewal on a day is chosen by typing the day.
document.addEventListener("input", (event) => {
  const day = event.target;
  const choice = day.name === "expires_at" && day.value && $("input[name=renew_by][value=day]", day.form);
  if (choice) choice.checked = true;
});

// Keys of the table: nothing while one types, and none with a modifier.
let at = -1;
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input:not([type=checkbox]), select, textarea");
  // The line still says what the list shows: Escape leaves it, and does not empty it.
  if (event.key === "Escape" && typing?.id === "q") {
    event.preventDefault();
    typing.blur();
  }
  if (typing || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "/" && ($("#q") || $("#find"))) {
    event.preventDefault();
    ($("#q") || $("#find")).select();
    return;
  }
  if (event.key === "?" && $("details.help")) {
    $("details.help").open = !$("details.help").open;
    $("details.help summary").focus();
    return;
  }
  const rows = $$("table.rows tbody tr");
  if (!rows.length) return;
  if (event.key === "j" || event.key === "k") {
    rows[at]?.classList.remove("at");
    at = Math.min(rows.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)));
    rows[at].classList.add("at");
    rows[at].scrollIntoView({ block: "nearest" });
    $("th a", rows[at])?.focus();
  } else if (event.key === "x" && rows[at]) {
    $("input[name=n]", rows[at])?.click();
  } else if (event.key === "e" && rows[at]) {
    $("th a", rows[at])?.click();
  }
});

// A number that is copied is in E.164, however it is written.
document.addEventListener("copy", (event) => {
  const text = String(getSelection()).trim();
  const node = getSelection().anchorNode?.parentElement?.closest("[data-copy]");
  if (node && text && node.textContent.trim() === text) {
    event.preventDefault();
    event.clipboardData.setData("text/plain", node.dataset.copy);
  }
});
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-clip]");
  if (!button) return;
  event.preventDefault();
  await navigator.clipboard.writeText(button.dataset.clip);
  say("copied");
});
function say(text) {
  $(".toast")?.remove();
  const toast = Object.assign(document.createElement("p"), { className: "toast", textContent: text });
  toast.setAttribute("role", "status");
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2000);
}

// Finding: what is typed is searched for, and what is found is gone through with
// the arrow keys. Choosers and Ctrl-K have one list of options at a time.
{
  const dialog = () => $("#finder");
  const options = Object.assign(document.createElement("ul"), { id: "options", className: "options", hidden: true });
  options.setAttribute("role", "listbox");
  options.setAttribute("aria-label", "Suggestions");
  let field = null;
  let asked = 0;
  let delay = 0;
  let finding = null;
  let chosen = -1;
  let pending = false;
  let entered = false;

  function close() {
    asked += 1;
    [pending, entered, chosen] = [false, false, -1];
    options.hidden = true;
    field?.setAttribute("aria-expanded", "false");
    field?.removeAttribute("aria-activedescendant");
  }

  function attach(input) {
    if (field !== input) close();
    field = input;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-expanded", String(!options.hidden));
    input.setAttribute("aria-controls", "options");
    (input.closest("dialog, main, header") || document.body).append(options);
  }

  function place() {
    if (field.closest("dialog")) {
      options.removeAttribute("style");
      return;
    }
    const box = field.getBoundingClientRect();
    const base = (options.offsetParent || document.body).getBoundingClientRect();
    Object.assign(options.style, { left: `${box.left - base.left}px`, top: `${box.bottom - base.top + 2}px`, minWidth: `${box.width}px` });
  }

  function address() {
    const query = new URLSearchParams({ q: field.value.trim(), part: "1" });
    if (field.dataset.choose) {
      query.set("kind", field.dataset.choose);
      const owner = field.form?.elements.account_auth_id;
      if (owner && owner !== field && owner.value) query.set("account", owner.value);
      // What a field had from the start says nothing about what is looked for.
      if (field.value === field.defaultValue && !pending) query.set("q", "");
    }
    return `${dialog().dataset.search}?${query}`;
  }

  async function find() {
    if (!dialog()) return;
    const turn = (asked += 1);
    const url = address();
    pending = true;
    finding?.abort();
    finding = new AbortController();
    try {
      const response = await fetch(url, { signal: finding.signal, headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (turn !== asked || !field?.isConnected) return;
      fill(page);
    } catch {
      // Without suggestions, the field is a text field.
    }
    if (turn !== asked) return;
    pending = false;
    if (entered) {
      entered = false;
      if (chosen >= 0) pick(options.children[chosen]);
      else if (!field.closest("dialog")) field.form?.requestSubmit();
    }
  }

  function fill(page) {
    const found = $$("a[data-value]", page).map((link, at) => {
      const option = document.createElement("li");
      option.setAttribute("role", "option");
      option.id = `option-${at}`;
      Object.assign(option.dataset, { value: link.dataset.value, href: link.getAttribute("href") });
      option.append(...link.childNodes);
      const kind = link.closest("ul").previousElementSibling?.textContent;
      if (kind) option.append(Object.assign(document.createElement("span"), { className: "kind", textContent: kind }));
      return option;
    });
    options.replaceChildren(...found);
    // What is named as it stands needs no suggestion.
    const named = field.value && field.dataset.choose && $("a[data-exact]", page);
    if (named) found.length = 0;
    options.hidden = !found.length;
    field.setAttribute("aria-expanded", String(!options.hidden));
    if (!options.hidden) place();
    const first = field.closest("dialog") || (field.dataset.choose && field.value.trim() && field.value !== field.defaultValue);
    mark(found.length && first ? 0 : -1);
  }

  function mark(at) {
    chosen = at;
    [...options.children].forEach((one, place) => one.setAttribute("aria-selected", String(place === at)));
    if (at < 0) field.removeAttribute("aria-activedescendant");
    else {
      field.setAttribute("aria-activedescendant", options.children[at].id);
      options.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function pick(option) {
    const input = field;
    close();
    if (!input.dataset.choose) {
      dialog().close();
      location.assign(option.dataset.href);
      return;
    }
    input.value = option.dataset.value;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    if (input.form?.method === "get") input.form.requestSubmit();
  }

  const finds = (target) => target.matches?.("input[data-choose], #finder input, input[data-find]");
  document.addEventListener("click", (event) => {
    if (finds(event.target)) {
      attach(event.target);
      if (options.hidden) find();
    } else if (!event.target.closest?.("#options")) close();
  });
  document.addEventListener("input", (event) => {
    if (!finds(event.target)) return;
    attach(event.target);
    pending = true;
    clearTimeout(delay);
    delay = setTimeout(find, 80);
  });
  document.addEventListener("focusout", (event) => { if (event.target === field) close(); });
  options.addEventListener("mousedown", (event) => event.preventDefault());
  options.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) pick(option);
  });
  document.addEventListener("keydown", (event) => {
    if (!finds(event.target)) return;
    attach(event.target);
    const count = options.hidden ? 0 : options.children.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!count) find();
      else mark((chosen + (event.key === "ArrowDown" ? 1 : -1) + count) % count);
    } else if (event.key === "Enter" && (pending || (count && chosen >= 0))) {
      // What was typed last is searched for first.
      event.preventDefault();
      if (pending) entered = true;
      else pick(options.children[chosen]);
    } else if (event.key === "Enter" && event.target.closest("dialog")) event.preventDefault();
    else if (event.key === "Escape" && count && !event.target.closest("dialog")) {
      event.preventDefault();
      close();
    }
  });

  // Ctrl-K opens the search.
  function search() {
    if (!dialog()) return false;
    if (!dialog().open) dialog().showModal();
    const input = $("input", dialog());
    input.value = "";
    input.focus();
    attach(input);
    find();
    return true;
  }
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    if (search()) event.preventDefault();
  });
  document.addEventListener("click", (event) => { if (event.target === dialog()) dialog().close(); });
}

// What is going on is looked at again until it has ended.
let again = 0;
// What somebody is typing is not taken from under their hands.
const typing = () => $("main :is(input:not([type=checkbox]):not([type=hidden]), select, textarea):focus");
// A page that says why a form was refused is looked at again as it is now.
function now() {
  const url = new URL(location.href);
  url.searchParams.delete("said");
  return url.href;
}
const refresh = () => (typing() ? begin() : swap(now(), { quiet: true }));
// A reader whose times are in UTC is offered the zone of their browser, once.
function offerZone() {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = document.body.dataset.zone;
  if (known !== "UTC" || !zone || zone === "UTC" || zone === "Etc/UTC" || localStorage.getItem("zone") || $("#zone-offer")) return;
  const form = Object.assign(document.createElement("form"), { id: "zone-offer", method: "post", action: "/console/me", className: "notice" });
  form.append(Object.assign(document.createElement("p"), { textContent: `Times are shown in UTC. Your browser is in ${zone}.` }));
  form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "zone", value: zone }));
  const actions = Object.assign(document.createElement("span"), { className: "actions" });
  actions.append(Object.assign(document.createElement("button"), { className: "main", textContent: `Show times in ${zone}` }));
  const keep = Object.assign(document.createElement("button"), { type: "button", textContent: "Keep UTC" });
  keep.addEventListener("click", () => { localStorage.setItem("zone", "UTC"); form.remove(); });
  actions.append(keep);
  form.append(actions);
  $("main").prepend(form);
}

function begin() {
  offerZone();
  at = -1;
  const form = $("form[data-select]");
  if (form) restore(form);
  if ($("[data-done]")) sessionStorage.removeItem(KEPT);
  count();
  clearTimeout(again);
  const tab = $("nav.tabs [aria-current]");
  if (tab) tab.closest("ul").scrollLeft = tab.offsetLeft - tab.closest("ul").offsetLeft - 16;
  const live = $("[data-refresh]");
  if (live) again = setTimeout(refresh, Number(live.dataset.refresh) || 1000);
}
begin();
