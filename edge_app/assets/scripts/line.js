// The operator's screen. What is shown: a part that was opened, else the flagged part that nobody has looked at for
// longest, else the newest one. A flagged part stays until somebody has looked; a verdict on a later one never hides it.
import { follow, toggle, isOpen } from "./drawer.js";
import { banner, beside, chips as nameable, forget, like as near, words as label } from "./near.js";
import { $, address, ask, element, lay, links, plain, root, say, shape, t } from "./screen.js";
import { alike, onBox, outlined, tiles, whole } from "./stage.js";

const HOLD_MS = 2000;  // The box answers at the latest after this; after twice as long it is gone.
let state = null, live = false, opened = null, held = null, drawn = "", last = null;

const flagged = (part) => part.verdict !== "good";
const keyOf = (part) => part && `${part.source} ${part.time} ${part.id}`;

const newestOf = (sources) =>
  sources.map((one) => one.newest).filter(Boolean).sort((a, b) => (a.time < b.time ? 1 : -1))[0] ?? null;

/** What stands on the screen, and how it got there. */
const shown = () => {
  if (opened) return { part: opened, how: "opened" };
  const waiting = state.waiting;
  if (waiting.length) {
    held = waiting.find((one) => one.number === held)?.number ?? waiting[0].number;
    return { part: waiting.find((one) => one.number === held), how: "held" };
  }
  held = null;
  return { part: newestOf(state.sources), how: "live" };
};

const draw = () => {
  if (!state) { banner("none", "offline", null); return words(null, ""); }
  const { part, how } = shown();
  const source = state.sources.find((one) => one.name === part?.source) ?? state.sources[0];
  if (!live) banner("none", "offline", part, t("box_gone"));
  else if (!part) banner("none", source.state === "away" ? "away" : "nothing", null, source.trouble || t("nothing_yet"));
  // Of a part in work the old verdict says nothing; a part that is held or opened is another matter.
  else if (how === "live" && source.in_work) banner("none", "judging", null, t("is_judged"));
  else if (how === "live" && source.state === "away") banner("none", "away", part, source.trouble);
  else banner(part.verdict, part.verdict, part, note(part, how));
  document.body.classList.toggle("stale", !live);
  stage(part);
  words(part, how);
  sources();
  strip(part);
  if (how === "live") tiles(state.sources, open); else $("#tiles").hidden = true;
  if (isOpen()) follow(part, bundleOf(part));
  const warnings = state.sources.filter((one) => one.warning).map((one) => `${one.name}: ${one.warning}`);
  const trouble = [state.trouble, ...warnings].filter(Boolean).join("  ");
  $("#trouble").hidden = !trouble;
  $("#trouble").textContent = trouble;
};

const bundleOf = (part) => state?.sources.find((one) => one.name === part?.source)?.bundle;

const note = (part, how) => {
  if (part.verdict === "cannot_judge") return plain(part.reason);
  if (how === "opened") return t("opened");
  if (how === "live") return t("live");
  return t("to_look_at", { at: state.waiting.indexOf(part) + 1, number: state.waiting.length });
};

/** The picture, and around it what belongs to this part alone. */
const stage = async (part) => {
  if (keyOf(part) === drawn) return;
  drawn = keyOf(part);
  forget();
  const still = () => keyOf(part) === drawn;
  whole();
  await lay(part, still);
  if (!part?.id || part.verdict === "cannot_judge") return;
  for (let tries = 0; tries < 5 && still(); tries += 1) {
    // It may be judged and not yet recorded.
    const found = await alike(part, null);
    if (found && still()) return like(found);
    await new Promise((done) => setTimeout(done, 300));
  }
};

/** Earlier parts like the one that is shown; then it is known what a defect may be called. */
const like = (found, ofBox = false) => { near(found, current().part, ofBox); chips(); };

const words = (part, how) => {
  const may = Boolean(live && part && part.recorded && how !== "live" && part.verdict !== "cannot_judge");
  label(part, may);
  $("#look span").textContent = t("look");
  $("#look").disabled = !(live && how === "held");
  $("#undo").disabled = !(live && last);
  const first = t("click_first"), told = $("#toast").textContent;
  if (!told || told === first) toast(how === "live" && part ? first : "");
  chips();
};

const chips = () => nameable(state ? shown().part : null, reject);

const sources = () => {
  const { counts } = state;
  const unjudged = counts.cannot_judge ? `, ${t("unjudged", { number: counts.cannot_judge })}` : "";
  $("#counts").textContent = t("counts", counts);
  $("#counts").title = t("today") + unjudged;
  const drifted = state.sources.find((one) => one.drift), alarm = drifted?.drift;
  $("#drift").hidden = false;
  if ($("#drift").dataset.of !== (drifted?.bundle ?? "")) {
    $("#drift").dataset.of = drifted?.bundle ?? "";
    $("#drift").replaceChildren(t(alarm ? "drift" : "drift_ok"), ...(alarm
      ? [element("a", { href: `${root}/teach?bundle=${encodeURIComponent(drifted.bundle)}&take=50` }, t("teach_drift"))] : []));
  }
  $("#drift").title = alarm ?? "";
  $("#drift").classList.toggle("alarm", Boolean(alarm));
  const tiles = [...state.outputs.map(output), ...state.sources.map(source)];
  // What is away comes first, wherever the room ends.
  tiles.sort((one, other) => (other.dataset.state === "away") - (one.dataset.state === "away"));
  $("#sources").replaceChildren(...tiles);
};

const source = (one) => {
  const verdict = one.in_work || one.state === "away" || !live ? "none" : one.newest?.verdict ?? "none";
  const tile = element("li", { className: verdict, title: one.trouble || one.bundle }, shape(verdict),
    element("b", {}, one.name), element("span", {}, t(`state_${one.state}`)));
  tile.dataset.state = one.state;
  return tile;
};

/** Who takes the verdicts. */
const output = (one) => {
  const away = one.state === "away";
  const tile = element("li", { className: away ? "cannot_judge" : "output", title: one.trouble }, element("b", {}, `→ ${one.name}`));
  if (away) tile.append(element("span", {}, t("output_away", { number: one.waiting })));
  tile.dataset.state = one.state;
  return tile;
};

/** Flagged parts that nobody has looked at, then the newest ones. */
const strip = (current) => {
  const left = state.waiting.slice(0, 15), numbers = new Set(left.map((one) => one.number));
  const parts = [...left, ...state.newest.filter((one) => !numbers.has(one.number))].slice(0, 30);
  const now = parts.map((one) => [one.number, one.word, numbers.has(one.number), keyOf(one) === keyOf(current)].join());
  if ($("#strip").dataset.now === now.join(";")) return;
  $("#strip").dataset.now = now.join(";");
  $("#strip").replaceChildren(...parts.map((one) => {
    const picture = one.recorded
      ? element("img", { src: address(one.id, "picture"), alt: "", loading: "lazy" })
      : element("i", {}, t("no_picture"));
    const label = `${one.name}: ${t(one.verdict)}`;
    const button = element("button", { title: label, "aria-label": label, onclick: () => open(one) }, picture, shape(one.verdict));
    if (keyOf(one) === keyOf(current)) button.setAttribute("aria-current", "true");
    if (one.word === "wrong") button.classList.add("overruled");
    const item = element("li", { className: `${one.verdict}${numbers.has(one.number) ? " waiting" : ""}` }, button);
    item.dataset.number = one.number;
    return item;
  }));
};

const open = (part) => {
  if (part && state.waiting.some((one) => one.number === part.number)) { held = part.number; part = null; }
  opened = part;
  toast("");
  draw();
};

const toast = (text) => { $("#toast").textContent = text; };

const give = async (part, word, defect = "") => {
  try {
    await say(`parts/${part.id}/feedback`, { word, defect_type: defect });
  } catch (error) {
    return toast(t("not_said", { why: error.message }));
  }
  if (word === "wrong" && part.verdict === "good") slipped(part);
  last = word ? { part } : null;
  opened = null;
  $("#toast").replaceChildren(t(`said_${word || "none"}`, { name: part.name }) + (defect ? `: ${defect}. ` : ". "),
    element("a", { href: `${root}/parts/${part.id}` }, t("in_history")));
  await refresh("");
};

/** A part that passed and is bad: others of the last week that look like it. */
const slipped = async (part) => {
  const found = await ask(`parts/${part.id}/missed`).catch(() => null);
  if (!found?.neighbours.length) return;
  $("#toast").replaceChildren(element("a", { href: `${root}/history?missed=${part.id}` }, t("missed", { number: found.neighbours.length })));
};

/** Reject rate over the last hours: a bar for each span, as high as the share that was rejected. */
let counted = -1, ratedAt = 0;
const rate = async () => {
  ratedAt = Date.now();
  counted = state?.counts.seen ?? -1;
  const found = await ask("line/rate").catch(() => null);
  if (!found) return;
  const seen = found.spans.reduce((sum, one) => sum + one.seen, 0), rejected = found.spans.reduce((sum, one) => sum + one.rejected, 0);
  const most = Math.max(0.05, ...found.spans.map((one) => one.rejected / one.seen)), end = Date.now(), all = 48;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${all} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const one of found.spans) {
    const place = all - 1 - Math.floor((end - new Date(one.begin)) / 60000 / found.minutes), share = one.rejected / one.seen / most;
    for (const [kind, y, height] of [["bed", 39, 1], ["share", 40 - 40 * share, 40 * share]]) {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [key, value] of Object.entries({ x: place, y, height, width: 0.85, class: kind })) bar.setAttribute(key, value);
      svg.append(bar);
    }
  }
  const text = seen ? t("rate", { percent: (100 * rejected / seen).toFixed(1), hours: found.minutes * all / 60 }) : t("rate_none");
  $("#rate").replaceChildren(svg, element("figcaption", { title: t("rate_most", { percent: Math.round(100 * most) }) }, text));
};

const current = () => (state ? shown() : {});
const agree = (defect = "") => { if (!$("#agree").disabled) give(current().part, "right", defect); };
const overrule = (defect = "") => { if (!$("#overrule").disabled) give(current().part, "wrong", defect); };
// A defect by name says that the part is bad, whatever the verdict was.
const reject = (defect) => (current().part?.verdict === "good" ? overrule(defect) : agree(defect));
const undo = () => { if (last) give(last.part, ""); };
const look = async () => {
  if ($("#look").disabled) return;
  const { part } = current();
  try {
    await say(`line/${part.number}/seen`);
    toast(t("said_seen", { name: part.name }));
  } catch (error) {
    toast(t("not_said", { why: error.message }));
  }
  await refresh("");
};

const step = (by) => {
  const items = [...document.querySelectorAll("#strip li")];
  const at = items.findIndex((one) => one.querySelector("[aria-current]"));
  const item = items[Math.max(0, Math.min(items.length - 1, at + by))];
  if (item) item.querySelector("button").click();
};

const keys = {
  j: () => agree(), k: () => overrule(), z: undo, Enter: look, Escape: () => (isOpen() ? toggle(null) : open(null)),
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), h: () => document.body.classList.toggle("no-heat"),
  e: () => { const { part } = current(); toggle(isOpen() ? null : part, bundleOf(part)); }, b: outlined, c: beside,
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, dialog") || event.ctrlKey || event.metaKey || event.altKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (typing || !keys[key] || (key === "Enter" && event.target.closest("button:not(#look)"))) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) keys[key]();
});
$("#agree").onclick = () => agree();
$("#overrule").onclick = () => overrule();
$("#look").onclick = look;
$("#undo").onclick = undo;

const refresh = async (after) => {
  const found = await ask(`line${after ? `?after=${encodeURIComponent(after)}` : ""}`, { signal: AbortSignal.timeout(2 * HOLD_MS) });
  state = found;
  live = true;
  if (state.counts.seen !== counted && Date.now() - ratedAt > 5000) rate();
  if (opened) opened = [...state.newest, ...state.waiting].find((one) => one.number === opened.number) ?? opened;
  draw();
};

onBox(async (shares) => {
  const { part } = current(), still = keyOf(part);
  if (!part?.recorded) return;
  $("#like h2").textContent = t("searching");
  const found = await alike(part, shares);
  if (found && keyOf(current().part) === still) like(found, Boolean(shares));
});
links("line");
draw();
rate();
setInterval(rate, 30000);
for (;;) {
  try {
    await refresh(live ? state?.version : "");
  } catch (error) {
    live = false;
    draw();
    await new Promise((done) => setTimeout(done, 500));
  }
}
