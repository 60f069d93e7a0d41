// The search of the manual's files: every word must stand in a section; a word of
// the heading counts as ten of the text. Sections are in SECTIONS, which the page has.
const field = document.getElementById("q");
const list = document.getElementById("found");
const count = (text, word) => text.split(word).length - 1;
const score = (section, words) => {
  const each = words.map((word) => 10 * count(section.heading.toLowerCase(), word) + count(section.text.toLowerCase(), word));
  return each.every((one) => one > 0) ? each.reduce((sum, one) => sum + one, 0) : 0;
};
const show = () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = words.length === 0 ? [] : SECTIONS.map((section) => [score(section, words), section]).filter(([points]) => points > 0);
  found.sort((a, b) => b[0] - a[0]);
  list.replaceChildren(...found.slice(0, 30).flatMap(([, section]) => {
    const [term, about, link] = ["dt", "dd", "a"].map((name) => document.createElement(name));
    [link.href, link.textContent] = [section.link, `${section.title}: ${section.heading}`];
    const at = Math.max(0, section.text.toLowerCase().indexOf(words[0]) - 80);
    about.textContent = section.text.slice(at, at + 240);
    term.append(link);
    return [term, about];
  }));
  document.getElementById("count").textContent = words.length === 0 ? "" : `${found.length} results`;
};
field.addEventListener("input", show);
field.value = decodeURIComponent(location.hash.slice(1));
show();
