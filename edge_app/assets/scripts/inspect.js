// One picture at a time: dropped anywhere, pasted, chosen, from a webcam or the samples. Each is judged and recorded; the
// strip below holds what came. From the moment that a picture arrives, no earlier verdict stands.
import { follow, histogram, isOpen, toggle } from "./drawer.js";
import { banner, beside, chips as nameable, clear, forget, like as near, words as label } from "./near.js";
import { $, address, ask, element, lay, links, plain, root, say, shape, sized, t } from "./screen.js";
import { alike, onBox, outlined, whole } from "./stage.js";

const MOST_BYTES = 200 * 2 ** 20, KEPT = 30, LOOK_MS = 3000;
let bundles = [], items = [], at = -1, drawn = null, last = null, live = true, working = false, trying = false;
let mode = "blend", stream = null;

const name = () => new URLSearchParams(location.search).get("bundle") ?? bundles[0]?.name;
const bundle = () => bundles.find((one) => one.name === name());
const current = () => items[at] ?? null;
const toast = (text) => { $("#toast").replaceChildren(text); };

/** A picture has come: it is judged as soon as those before it are. */
const take = (files, told = {}) => {
  if (!files.length || !bundle()) return;
  stopCamera();
  for (const file of files) {
    const why = file.size > MOST_BYTES ? t("too_large", { size: Math.round(file.size / 2 ** 20), most: MOST_BYTES / 2 ** 20 }) : "";
    items.push({ name: file.name || "pasted.png", file, url: URL.createObjectURL(file), bundle: name(), state: why ? "refused" : "waiting", why, ...told });
  }
  for (const gone of items.splice(0, Math.max(0, items.length - KEPT))) URL.revokeObjectURL(gone.url);
  at = items.length - files.length;
  trying = false;
  toast(files.length > 1 ? t("queued", { number: files.length }) : "");
  draw();
  work();
};

/** Judge what waits, one after the other; while the box is away it waits on. */
const work = async () => {
  if (working) return;
  working = true;
  for (let one; live && (one = items.find((it) => it.state === "waiting"));) {
    one.state = "judging";
    draw();
    await judge(one);
    draw();
  }
  working = false;
};

const judge = async (one) => {
  const query = new URLSearchParams({ bundle: one.bundle, name: one.name, record: true, counts: false });
  const sent = { method: "POST", body: one.file, headers: { "Content-Type": "application/octet-stream" } };
  try {
    const [found] = (await ask(`inspect?${query}`, sent)).inspections;
    one.part = { ...found, id: found.part_id ?? "", source: "", time: new Date().toISOString(), reason: found.reasons[0] ?? "",
      recorded: Boolean(found.part_id), word: "", truth: found.verdict };
    one.state = "judged";
    // It may have been here before, with a word on it. The verdict does not wait for that.
    if (found.part_id) ask(`parts/${found.part_id}`).then((known) => { if (known.part.word && !one.part.word) { told(one, known); draw(); } }, () => {});
  } catch (error) {
    // Without a status the box is away, with 503 it is busy: the picture waits.
    if (!error.status) live = false;
    if (error.status === 503) await new Promise((done) => setTimeout(done, 1000));
    one.state = error.status && ![401, 503].includes(error.status) ? "refused" : "waiting";
    one.why = error.message;
  }
};

const told = (one, found) => { if (found) Object.assign(one.part, { word: found.part.word, truth: found.part.truth }); };

const draw = () => {
  const one = current(), part = one?.part ?? null, is = one && { source: "", name: one.name, time: Date.now() };
  if (!live) banner("none", "offline", is, t("box_gone"));
  else if (!bundle()) banner("none", "nothing", null, bundles.length ? t("no_such_bundle", { name: name() }) : "");
  else if (!one) banner("none", "nothing", null, t("drop_first"));
  else if (one.state === "refused") banner("none", "refused", is, one.why);
  else if (one.state !== "judged") banner("none", "judging", is, t("is_judged"));
  else banner(part.verdict, part.verdict, part, said(part));
  document.body.classList.toggle("stale", !live);
  document.body.classList.toggle("judging", Boolean(one && ["waiting", "judging"].includes(one.state)));
  spread(one);
  stage(one);
  label(part, Boolean(live && part?.recorded && part.verdict !== "cannot_judge"));
  $("#undo").disabled = !(live && last);
  nameable(part, reject);
  strip();
  first();
  if (isOpen() && part) follow(part, one.bundle);
  const trouble = [part?.store_problem && t("not_recorded", { why: part.store_problem }), part?.warning].filter(Boolean).join("  ");
  $("#trouble").hidden = !trouble;
  $("#trouble").textContent = trouble;
};

const said = (part) => (part.verdict === "cannot_judge" ? plain(part.reason)
  : part.word ? t(`said_${part.word}`, { name: "" }).replace(/^: /, "") : part.recorded ? t("recorded") : "");

/** The part's score among those of good parts, which stand behind it. */
const spread = async (one) => {
  const part = one?.part;
  if (!part || part.verdict === "cannot_judge") { $("#gauge").classList.remove("spread"); return; }
  const card = await (one.card ??= ask(`bundles/${encodeURIComponent(one.bundle)}`).catch(() => null));
  if (one !== current()) return;
  $("#gauge").classList.remove("spread");
  if (!card) return;
  const good = card.scores.good.reduce((sum, count) => sum + count, 0);
  if (!good) return;
  $("#spread").replaceChildren(histogram(card.scores, [{ value: part.threshold, kind: "limit" }, { value: part.raw_score, kind: "this" }], true),
    element("figcaption", {}, t(card.scores.learned ? "spread_learned" : "spread", { number: good })));
  $("#gauge").classList.add("spread");
};

/** The picture at once, as the browser has it; then the box's own, with heat map, outline and what it looks like. */
const stage = async (one) => {
  const key = one && `${one.url} ${one.state}`;
  if (key === drawn) return;
  drawn = key;
  const still = () => key === drawn, part = one?.part;
  forget();
  whole();
  mode = mode.startsWith("other") ? "blend" : mode;
  if (part?.recorded) {
    lay(part, still).then(() => still() && show(mode));
  } else {
    await lay(null);
    if (one) { $("#picture").src = one.url; $("#picture").alt = one.name; $("#picture").onload = sized; }
  }
  $("#bare").src = part?.recorded ? address(part.id, "image") : one?.url ?? "data:,";
  modes(one);
  if (!part || part.verdict === "cannot_judge") return;
  others(one, still);
  if (!part.recorded) { $("#like h2").textContent = t("like_unknown"); return; }
  const found = await alike(part, null);
  if (found && still()) { near(found, part); nameable(part, reject); }
};

/** What the other models of this kind of part say of the same picture. */
const others = async (one, still) => {
  const mine = bundles.find((it) => it.name === one.bundle);
  one.others ??= bundles.filter((it) => it.category === mine.category && it !== mine).map((it) => ({ bundle: it }));
  for (const other of one.others.filter((it) => !it.verdict)) {
    const query = new URLSearchParams({ bundle: other.bundle.name, name: one.name, counts: false, heat_map: "base64" });
    const found = await ask(`inspect?${query}`, { method: "POST", body: one.file, headers: { "Content-Type": "application/octet-stream" } }).catch(() => null);
    Object.assign(other, found?.inspections[0], { bundle: other.bundle });
    if (still()) modes(one);
  }
};

/** How it is looked at: outline, blended with the heat map, bare beside it, or under another model's heat map beside it. */
const modes = (one) => {
  const kinds = one?.part && one.part.verdict !== "cannot_judge" ? ["outline", "blend", "side"] : [];
  const known = kinds.length ? (one.others ?? []).filter((it) => it.verdict) : [];
  $("#modes").replaceChildren(...kinds.map((kind) => element("button", { textContent: t(`mode_${kind}`), value: kind, onclick: () => show(kind) })),
    ...known.map((it, i) => element("button", { className: it.verdict, value: `other-${i}`, title: clear(it.raw_score, it.threshold), onclick: () => show(`other-${i}`) },
      shape(it.verdict), `${it.bundle.label}: ${t(`truth_${it.verdict}`)}, ${clear(it.raw_score, it.threshold)}`)));
  show(mode);
};

const show = (wanted) => {
  const other = wanted.startsWith("other") ? current()?.others?.[Number(wanted.slice(6))] : null;
  mode = wanted;
  const part = current()?.part, side = Boolean(part && part.verdict !== "cannot_judge" && (other || wanted === "side"));
  $("#stage").classList.toggle("two", side);
  document.body.classList.toggle("no-heat", wanted === "outline");
  if (side) $("#bare").src = other?.heat_map ? `data:image/png;base64,${other.heat_map}` : part.recorded ? address(part.id, "image") : current().url;
  for (const button of $("#modes").children) button.setAttribute("aria-pressed", button.value === wanted);
};
const nextMode = () => { const all = [...$("#modes").children].map((it) => it.value); if (all.length) show(all[(all.indexOf(mode) + 1) % all.length]); };

const strip = () => {
  $("#strip").replaceChildren(...items.map((one, i) => {
    const verdict = one.part?.verdict ?? "none", title = `${one.name}: ${one.part ? t(verdict) : one.why || t("judging")}`;
    const picture = element("img", { src: one.part?.recorded ? address(one.part.id, "picture") : one.url, alt: "" });
    picture.onerror = () => picture.replaceWith(element("i", {}, one.state === "refused" ? t("refused") : t("no_picture")));
    const button = element("button", { title, "aria-label": title, onclick: () => { at = i; trying = false; toast(""); draw(); } }, picture, shape(verdict));
    if (i === at) button.setAttribute("aria-current", "true");
    if (one.part?.word === "wrong") button.classList.add("overruled");
    return element("li", { className: verdict }, button);
  }));
};

/** Before the first picture: what to do, and samples to try it with. */
let offered = null;
const first = async () => {
  const wanted = !stream && (trying || !items.length);
  $("#first").hidden = !wanted;
  if (!wanted || !bundle() || offered === name()) return;
  offered = name();
  const query = `bundle=${encodeURIComponent(offered)}`, found = (await ask(`samples?${query}`).catch(() => ({ samples: [] }))).samples;
  $("#samples").hidden = !found.length;
  $("#first").replaceChildren(element("p", {}, t("drop_here")), element("ul", {}, ...found.map((one) => {
    const picture = element("img", { src: `${root}/v1/samples/${one.number}/picture?${query}`, alt: "" });
    return element("li", {}, element("button", { onclick: () => sample(one, query) }, picture, element("span", {}, one.caption)));
  })));
};

const sample = async (one, query) => {
  try {
    const answer = await ask(`samples/${one.number}/file?${query}`);
    take([new File([await answer.blob()], one.name)]);
  } catch (error) {
    toast(error.message);
  }
};

const give = async (word, defect = "") => {
  const one = current();
  if (word && $("#agree").disabled) return;
  const of = word ? one : last;
  try {
    told(of, await say(`parts/${of.part.id}/feedback`, { word, defect_type: defect }));
    last = word ? of : null;
    toast(element("span", {}, t(`said_${word || "none"}`, { name: of.name }) + (defect ? `: ${defect}. ` : ". "),
      element("a", { href: `${root}/parts/${of.part.id}` }, t("in_history"))));
  } catch (error) {
    toast(t("not_said", { why: error.message }));
  }
  draw();
};
const reject = (defect) => give(current().part.verdict === "good" ? "wrong" : "right", defect);

/** The webcam: a browser gives it to pages of this machine or over HTTPS alone. */
const camera = async () => {
  if (stream) return shoot();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: "environment" } });
  } catch (error) {
    return toast(t("no_webcam", { why: error.message }));
  }
  $("#video").srcObject = stream;
  $("#video").hidden = false;
  $("#webcam").textContent = t("shoot");
  toast(t("shoot_hint"));
  return first();
};
const stopCamera = () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("#video").hidden = true;
  $("#webcam").textContent = t("webcam");
};
const shoot = () => {
  const video = $("#video"), canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  if (!video.videoWidth) return;
  canvas.getContext("2d").drawImage(video, 0, 0);
  // Without loss: what a JPEG leaves out may be the defect.
  canvas.toBlob((blob) => take([new File([blob], `webcam-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`)]), "image/png");
};

const step = (by) => { if (items[at + by]) { at += by; trying = false; draw(); } };
const keys = {
  j: () => give("right"), k: () => give("wrong"), z: () => last && give(""), ArrowLeft: () => step(-1), ArrowRight: () => step(1), v: nextMode, b: outlined,
  c: beside, o: () => $("#files").click(), e: () => toggle(isOpen() ? null : current()?.part, current()?.bundle),
  h: () => show(mode === "outline" ? "blend" : "outline"), Enter: () => stream && shoot(),
  Escape: () => { if (isOpen()) toggle(null); else { stopCamera(); trying = !trying && items.length > 0; draw(); } },
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=file]), select, dialog") || event.ctrlKey || event.metaKey || event.altKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (typing || !keys[key] || (key === "Enter" && event.target.closest("button, a, label"))) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) keys[key]();
});

// The whole window takes pictures, and several of them.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop") take([...event.dataTransfer.files]);
  });
}
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) take(files); else toast(t("nothing_pasted"));
});
$("#files").onchange = ({ target }) => { take([...target.files]); target.value = ""; };
$("#webcam").onclick = camera;
$("#samples").onclick = () => { stopCamera(); trying = true; draw(); };
$("#agree").onclick = () => give("right");
$("#overrule").onclick = () => give("wrong");
$("#undo").onclick = () => last && give("");
$("#bundle").onchange = ({ target }) => {
  const there = new URLSearchParams(location.search), one = current();
  there.set("bundle", target.value);
  history.replaceState(null, "", `${root}/inspect?${there}`);
  // The same picture by the other bundle: what stood there was the former one's verdict.
  if (one && one.state !== "refused") take([new File([one.file], one.name)]);
  draw();
};
onBox(async (shares) => {
  const one = current();
  if (!one?.part?.recorded) return;
  $("#like h2").textContent = t("searching");
  const found = await alike(one.part, shares);
  if (found && one === current()) near(found, one.part, Boolean(shares));
});

links("inspect");
$("#pick span").textContent = t("choose_pictures");
$("#webcam").textContent = t("webcam");
$("#samples").textContent = t("samples");
$("#bundle").setAttribute("aria-label", t("by_bundle"));
$("#modes").setAttribute("aria-label", t("modes"));
try {
  bundles = (await ask("bundles")).bundles;
} catch (error) {
  $("#trouble").hidden = false;
  $("#trouble").textContent = error.message;
}
$("#bundle").append(...(bundle() ? [] : [element("option", { value: "", selected: true }, "–")]),
  ...bundles.map((one) => element("option", { value: one.name, selected: one.name === name() }, one.label)));
draw();
setInterval(async () => {
  const was = live;
  live = await fetch(`${root}/healthz`, { cache: "no-store", signal: AbortSignal.timeout(LOOK_MS) }).then((found) => found.ok, () => false);
  if (live !== was) draw();
  if (live) work();
}, LOOK_MS);
