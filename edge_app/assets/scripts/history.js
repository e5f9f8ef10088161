// Every recorded part: a list by filters that stand in the address, and each part at its own address, /parts/ID.
import { $, PATHS, address, ask, element, lay, links, root, say, shape, t, truthOf } from "./screen.js";

const PAGE = 60;
const FIELDS = ["since", "until", "verdict", "word", "camera", "min_score", "max_score", "bundle"];
let parts = [], next = null, at = -1, part = null, turn = 0, anchor = 0;
const chosen = new Set();

/** The address carries the filters, so that a link or a reload shows the same. */
const wanted = () => {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries(FIELDS.filter((name) => given.get(name)).map((name) => [name, given.get(name)]));
};

const query = (more = {}) => {
  const values = { ...wanted(), ...more };
  // The field's time is this browser's; the box wants it with its zone.
  for (const name of ["since", "until"]) if (values[name]) values[name] = new Date(values[name]).toISOString();
  return new URLSearchParams(values).toString();
};

const trouble = (text) => { $("#trouble").hidden = !text; $("#trouble").textContent = text; };

const field = (name, input) => element("label", {}, element("span", {}, t(`by_${name}`)), Object.assign(input, { name }));
const choice = (values, words) => {
  const select = element("select");
  select.append(element("option", { value: "" }, t("any")), ...values.map((one, i) => element("option", { value: one }, words[i])));
  return select;
};

const filters = async () => {
  const bundles = (await ask("bundles")).bundles.map((one) => one.name);
  const verdicts = ["good", "anomalous", "cannot_judge"], words = ["right", "wrong", "none"];
  const score = { type: "number", min: 0, max: 1, step: 0.05 };
  const form = $("#filters");
  form.replaceChildren(
    field("since", element("input", { type: "datetime-local" })),
    field("until", element("input", { type: "datetime-local" })),
    field("verdict", choice(verdicts, verdicts.map((one) => t(`truth_${one}`)))),
    field("word", choice(words, words.map((one) => t(`word_${one}`)))),
    field("camera", element("input", { type: "text", maxLength: 100, size: 10 })),
    field("min_score", element("input", score)),
    field("max_score", element("input", score)),
    ...(bundles.length > 1 ? [field("bundle", choice(bundles, bundles))] : []),
    element("a", { id: "csv" }, t("as_csv")), element("a", { id: "zip", title: t("as_zip_why") }, t("as_zip")));
  for (const [name, value] of Object.entries(wanted())) if (form.elements[name]) form.elements[name].value = value;
  form.addEventListener("change", () => {
    const given = new URLSearchParams(location.search);
    for (const name of FIELDS) {
      const value = form.elements[name]?.value;
      if (value) given.set(name, value); else given.delete(name);
    }
    history.replaceState(null, "", `${root}/history?${given}`);
    list();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
};

const list = async () => {
  const mine = (turn += 1);
  for (const kind of ["csv", "zip"]) $(`#${kind}`).href = `${root}/v1/export/parts.${kind}?${query()}`;
  try {
    const missed = new URLSearchParams(location.search).get("missed");
    const found = missed ? await slipped(missed) : await ask(`parts?${query({ limit: PAGE })}`);
    if (mine !== turn) return;
    trouble(found.why ?? "");
    parts = found.parts;
    next = found.next;
    chosen.clear();
    many();
    $("#parts").replaceChildren(...parts.map(tile));
  } catch (error) {
    // What an earlier filter has found is not what was asked for.
    if (mine !== turn) return;
    parts = [];
    next = null;
    $("#parts").replaceChildren();
    trouble(error.message);
  }
  counted();
};

/** What passed in the last week, nobody has looked at, and looks like a part that is bad. */
const slipped = async (id) => {
  const [found, like] = await Promise.all([ask(`parts/${id}/missed`), ask(`parts/${id}`)]);
  return { parts: found.neighbours.map((one) => one.part), next: null, why: t("missed_title", { name: like.part.name }) };
};

/** A word for all that are chosen. */
const many = () => {
  for (const [i, item] of [...$("#parts").children].entries()) item.classList.toggle("chosen", chosen.has(parts[i]?.id));
  $("#many").hidden = !chosen.size || !$("#detail").hidden;
  if ($("#many").hidden) return;
  const defect = $("#many input") ?? element("input", { maxLength: 100, size: 14, placeholder: t("defect_name"), "aria-label": t("defect_name") });
  $("#many").replaceChildren(element("b", {}, t("chosen", { number: chosen.size })), ...["right", "wrong", ""].map((word) =>
    element("button", { textContent: t(`all_${word || "undo"}`), onclick: () => sayAll(word) })), defect,
  element("button", { textContent: t("choose_none"), onclick: () => { chosen.clear(); many(); } }));
};

const sayAll = async (word) => {
  const ids = [...chosen], defect = $("#many input").value.trim();
  let done = 0;
  try {
    for (const id of ids) {
      const told = await say(`parts/${id}/feedback`, { word, defect_type: word ? defect : "" });
      const i = parts.findIndex((one) => one.id === id);
      if (i >= 0) { parts[i] = told.part; $("#parts").children[i].replaceWith(tile(told.part, i)); }
      done += 1;
    }
    trouble("");
    $("#counts").textContent = t("said_many", { number: done });
  } catch (error) {
    trouble(t("said_some", { number: done, of: ids.length, why: error.message }));
  }
  many();
};

const choose = (index, range) => {
  const { id } = parts[index];
  if (range) for (let i = Math.min(anchor, index); i <= Math.max(anchor, index); i += 1) chosen.add(parts[i].id);
  else if (!chosen.delete(id)) chosen.add(id);
  anchor = index;
  many();
};

/** Arrows go from part to part, up and down by a row. */
const walk = (by, rows) => {
  const links = [...document.querySelectorAll("#parts a")], here = links.indexOf(document.activeElement);
  const wide = links.filter((one) => one.offsetTop === links[0]?.offsetTop).length;
  links[Math.min(Math.max(here < 0 ? 0 : here + by * (rows ? wide : 1), 0), links.length - 1)]?.focus();
};

const more = async () => {
  const mine = turn, found = await ask(`parts?${query({ limit: PAGE, cursor: next })}`).catch((error) => trouble(error.message));
  if (!found || mine !== turn) return;
  $("#parts").append(...found.parts.map((one, i) => tile(one, parts.length + i)));
  parts = [...parts, ...found.parts];
  next = found.next;
  counted();
};

const counted = () => {
  $("#counts").textContent = parts.length ? t(next ? "shown_more" : "shown", { number: parts.length }) : t("nothing_found");
  $("#more").hidden = !next;
};

const kindOf = (one) => (["good", "cannot_judge"].includes(one.truth) ? one.truth : "anomalous");
const when = (one) => (one.time ? new Date(one.time).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }) : "");
/** On a tile there is room for the time of today, or for the day. */
const soon = (one) => (new Date(one.time).toDateString() === new Date().toDateString() ? new Date(one.time).toLocaleTimeString()
  : new Date(one.time).toLocaleString([], { dateStyle: "short", timeStyle: "short" }));

const tile = (one, index) => {
  const word = one.word ? ` ${t(`word_${one.word}`)}` : "";
  const link = element("a", { href: `${root}/parts/${one.id}`, className: kindOf(one), title: `${one.name}${word}` },
    element("img", { src: one.picture, alt: "", loading: "lazy" }),
    element("span", { className: "caption" }, shape(kindOf(one)), element("b", {}, truthOf(one.truth)), element("i", {}, word && "✎")),
    element("small", {}, `${one.camera} ${one.time ? soon(one) : ""}`.trim()));
  link.addEventListener("click", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.shiftKey) { choose(index, event.shiftKey); return; }
    history.pushState({ list: location.search }, "", link.href);
    at = index;
    detail(one.id);
  });
  return element("li", {}, link);
};

const detail = async (id) => {
  const mine = (turn += 1);
  for (const css of ["#filters", "#parts", "#more", "#many", "#parts-hint"]) $(css).hidden = true;
  $("#detail").hidden = false;
  part = null;
  paint({ verdict: "none", name: "", reason: "" }, "judging");
  lay(null);
  try {
    const found = await ask(`parts/${id}`);
    if (mine !== turn) return;
    trouble("");
    told(found);
    lay(part, () => mine === turn);
  } catch (error) {
    if (mine !== turn) return;
    paint({ verdict: "none", name: "" }, "no_such_part");
    trouble(error.message);
  }
};

const paint = (one, word) => {
  $("#banner").dataset.verdict = one.verdict;
  $("#shape path").setAttribute("d", PATHS[one.verdict]);
  $("#word").textContent = t(word);
  $("#part").textContent = `${one.camera ?? ""} ${one.name}`.trim();
  // Whoever has overruled it sees so at a glance, not the verdict alone.
  const told = one.word ? `${t(`told_${one.word}`, { what: truthOf(one.truth) })}   ` : "";
  $("#said").textContent = one.time ? told + when(one) : "";
  for (const name of ["agree", "overrule"]) {
    $(`#${name} span`).textContent = one.verdict === "none" ? "" : t(`${name}_${one.verdict}`);
    $(`#${name}`).disabled = !["good", "anomalous"].includes(one.verdict);
    $(`#${name}`).setAttribute("aria-pressed", one.word === (name === "agree" ? "right" : "wrong"));
  }
  $("#undo span").textContent = t("undo");
  $("#undo").disabled = !one.word;
};

const told = (found) => {
  part = found.part;
  paint(part, part.verdict);
  $("#permanent").href = `${root}/parts/${part.id}`;
  $("#permanent").textContent = t("permanent");
  const number = (value) => (value === null ? "" : value.toPrecision(4));
  const facts = [["truth", truthOf(part.truth)], ["score", `${number(part.raw_score)} (${number(part.normalized_score)})`],
    ["bundle", part.bundle], ["camera", part.camera], ["defect", part.word_defect_type || part.defect_type]];
  $("#facts").replaceChildren(...facts.filter(([, value]) => value).map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, t(`fact_${name}`)), element("td", {}, value))));
  $("#said-title").textContent = found.words.length ? t("what_was_said") : t("nothing_said");
  $("#history").replaceChildren(...found.words.map((one) => element("li", {},
    [new Date(one.time).toLocaleString(), one.who, t(`word_${one.word || "none"}`), one.defect_type, one.note].filter(Boolean).join(", "))));
};

const give = async (word) => {
  if (!part) return;
  const defect = $("#defect input");
  try {
    told(await say(`parts/${part.id}/feedback`, { word, defect_type: word ? defect.value.trim() : "" }));
    $("#toast").textContent = t(`said_${word || "none"}`, { name: part.name });
    if (word === "wrong" && part.verdict === "good") missed(part);
    defect.value = "";
  } catch (error) {
    $("#toast").textContent = t("not_said", { why: error.message });
  }
};

const missed = async (bad) => {
  const found = await ask(`parts/${bad.id}/missed`).catch(() => null);
  if (found?.neighbours.length && part?.id === bad.id)
    $("#toast").replaceChildren(element("a", { href: `${root}/history?missed=${bad.id}` }, t("missed", { number: found.neighbours.length })));
};

const back = () => {
  const list = history.state?.list;
  history.pushState(null, "", `${root}/history${list ?? ""}`);
  show();
};

const step = (by) => {
  if ($("#detail").hidden || !parts[at + by]) return;
  at += by;
  history.replaceState(history.state, "", `${root}/parts/${parts[at].id}`);
  detail(parts[at].id);
};

/** What the address says: a part, or the list. */
const show = () => {
  const id = location.pathname.match(/\/parts\/([^/]+)$/)?.[1];
  if (id) return detail(id);
  for (const css of ["#filters", "#parts", "#parts-hint"]) $(css).hidden = false;
  $("#detail").hidden = true;
  return list();
};

const keys = {
  j: () => $("#agree").disabled || give("right"), k: () => $("#overrule").disabled || give("wrong"), z: () => $("#undo").disabled || give(""),
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), Escape: back, h: () => document.body.classList.toggle("no-heat"),
};
const here = () => [...document.querySelectorAll("#parts a")].indexOf(document.activeElement);
const listKeys = {
  x: () => here() >= 0 && choose(here(), false), a: () => { for (const one of parts) chosen.add(one.id); many(); }, Escape: () => { chosen.clear(); many(); },
  j: () => chosen.size && sayAll("right"), k: () => chosen.size && sayAll("wrong"), z: () => chosen.size && sayAll(""),
  ArrowLeft: () => walk(-1), ArrowRight: () => walk(1), ArrowUp: () => walk(-1, true), ArrowDown: () => walk(1, true),
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, dialog") || event.ctrlKey || event.metaKey || event.altKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const now = $("#detail").hidden ? listKeys : keys;
  if (typing || !now[key]) return;
  event.preventDefault();
  now[key]();
});
$("#agree").onclick = () => give("right");
$("#overrule").onclick = () => give("wrong");
$("#undo").onclick = () => give("");
$("#back").onclick = back;
$("#back").textContent = t("to_the_list");
$("#more").onclick = more;
$("#more").textContent = t("more");
$("#defect").append(element("span", {}, t("defect_name")), element("input", { maxLength: 100, size: 12 }));
window.addEventListener("popstate", show);

$("#parts-hint").textContent = t("history_hint");
links("history");
await filters().catch((error) => trouble(error.message));
show();
