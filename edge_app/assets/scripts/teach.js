// A new part at the box: its pictures, how new each is, the model that comes of them, and which one judges.
import { $, address, ask, element, links, root, say, t, truthOf } from "./screen.js";

const BUSY_MS = 700, IDLE_MS = 4000, FIRST = 8;
const given = new URLSearchParams(location.search);
// Who teaches: this browser, whatever its tabs.
const client = (localStorage.lineside_client ??= [...crypto.getRandomValues(new Uint8Array(12))].map((one) => one.toString(16)).join(""));
const headers = { "Lineside-Client": client };
let state = null, wanted = Number(given.get("take")) || 0, drawn = "", timer = 0;

const trouble = (text) => { $("#trouble").hidden = !text; $("#trouble").textContent = text; };

const send = async (path, body, method = "POST") => {
  try {
    const json = body && !(body instanceof FormData);
    state = await ask(`teach/${path}`, {
      method, body: json ? JSON.stringify(body) : body,
      headers: json ? { ...headers, "Content-Type": "application/json" } : headers,
    });
    trouble(state.refused.length ? t("teach_refused", { what: state.refused.slice(0, 5).join("; ") + (state.refused.length > 5 ? " …" : "") }) : "");
    draw();
    return true;
  } catch (error) {
    trouble(error.message);
    await refresh(true);
    return false;
  }
};

const button = (text, act, attributes = {}) => element("button", { onclick: act, ...attributes }, text);

const begin = () => {
  const choice = element("select", { id: "bundle" }, ...state.lines.map((one) => element("option", { value: one.bundle }, one.bundle)));
  choice.value = given.get("bundle") ?? state.lines.find((one) => one.teachable)?.bundle ?? state.lines[0].bundle;
  const part = element("input", { id: "part", maxLength: 60, size: 18, required: true, value: wanted ? choice.value : "" });
  // A line that looks otherwise than before makes the same part.
  const add = element("input", { id: "add", type: "checkbox", checked: Boolean(wanted) });
  const note = element("p", { className: "note" }), alarm = element("p", { className: "warn drifted" });
  const told = () => {
    const { teachable: able, blank } = state.lines.find((one) => one.bundle === choice.value) ?? {};
    add.checked &&= !blank;
    add.disabled = Boolean(blank);
    note.textContent = able ? (blank ? t("teach_blank", { bundle: choice.value }) : wanted ? t("teach_will_take", { number: wanted }) : t("teach_none")) : t("teach_not_teachable", { bundle: choice.value });
    form.querySelector("button").disabled = !able;
    const drift = state.lines.find((one) => one.bundle === choice.value)?.drift;
    alarm.hidden = !drift;
    alarm.replaceChildren(t("teach_drifted", { what: drift }), button(t("teach_drift"), () => {
      wanted = 50;
      add.checked = true;
      part.value ||= choice.value;
      told();
    }));
  };
  const form = element("form", { className: "bar" },
    element("label", {}, element("span", {}, t("teach_part")), part),
    element("label", {}, element("span", {}, t("teach_for")), choice),
    element("label", {}, add, element("span", {}, t("teach_add"))), element("button", { className: "main" }, t("teach_begin")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const begun = await send("draft", { bundle: choice.value, part: part.value, add: add.checked });
    if (begun && wanted) {
      const count = wanted;
      wanted = 0;
      await send("take", { source: "all", count });
    }
  });
  choice.addEventListener("change", told);
  $("#begin").replaceChildren(element("h2", {}, t("teach_title")), alarm, form, note);
  told();
};

const theirs = (draft) => $("#theirs").replaceChildren(
  element("p", {}, t("teach_theirs", { who: draft.who || t("teach_somebody"), part: draft.part, when: new Date(draft.begun).toLocaleString() })),
  button(t("teach_discard"), () => send("draft", null, "DELETE")));

const sources = () => {
  const count = element("input", { type: "number", id: "count", min: 1, max: 500, value: 50 });
  const which = element("select", { id: "which" }, ...["good", "all"].map((one) => element("option", { value: one }, t(`teach_${one}`))));
  // Of a bundle that has learned nothing no part was called good.
  if (state.lines.find((one) => one.bundle === state.draft.bundle)?.blank) which.value = "all";
  const folder = element("select", { id: "folder" }, ...state.folders.map((one) => element("option", {}, one)));
  $("#take-from").replaceChildren(
    element("label", {}, element("span", {}, t("teach_recorded")), count), which,
    button(t("teach_take"), () => send("take", { source: which.value, count: Number(count.value) }), { id: "take" }),
    ...(state.folders.length ? [element("label", {}, element("span", {}, t("teach_folder")), folder),
      button(t("teach_take"), () => send("take", { source: "folder", folder: folder.value, count: Number(count.value) }), { id: "take-folder" })] : []));
};

const tile = (one) => {
  const novelty = one.novelty === null ? "" : t("teach_new", { number: one.novelty.toFixed(1) });
  const item = element("li", { className: `${one.out ? "out" : ""} ${one.suspect ? "suspect" : ""}` },
    element("img", { src: `${root}/v1/teach/pictures/${one.number}`, alt: one.name, loading: "lazy" }),
    element("small", { title: one.name }, one.suspect && !one.out ? `⚠ ${t("teach_suspect")}` : novelty || one.name),
    element("i", { className: "bar-of" }),
    button(t(one.out ? "teach_in" : "teach_out"), () => send(`pictures/${one.number}`, { out: !one.out })));
  item.querySelector("i").style.width = `${Math.min(100, 40 * (one.novelty ?? 2.5))}%`;
  return item;
};

const gallery = (draft) => {
  const left = draft.pictures.filter((one) => !one.out), suspects = left.filter((one) => one.suspect);
  $("#what").textContent = t(draft.add ? "teach_now_add" : "teach_now", { part: draft.part, bundle: draft.bundle });
  $("#counts").textContent = t("teach_count", { number: left.length, out: draft.pictures.length - left.length });
  const advice = !left.length ? t("teach_none") : draft.enough ? t("teach_enough")
    : draft.gain === null ? t("teach_few") : t("teach_more", { percent: Math.max(0, Math.round(100 * draft.gain)) }) + (left.length < 20 ? ` ${t("teach_few")}` : "");
  $("#advice").textContent = advice;
  $("#suspects").hidden = !suspects.length;
  $("#suspects").textContent = suspects.length ? t("teach_suspects", { number: suspects.length }) : "";
  // What is most unlike the others comes first, to be looked at, whether or not it is a suspect.
  const unlike = left.filter((one) => one.apart !== null).sort((one, other) => other.apart - one.apart).slice(0, Math.max(FIRST, suspects.length));
  $("#pictures").replaceChildren(...[...unlike, ...draft.pictures.filter((one) => !unlike.includes(one))].map(tile));
  $("#make").disabled = !left.length || (state.job.running && state.job.kind === "make");
};

const job = ({ kind, running, said, seconds, failed, lines }) => {
  const word = { look: "teach_look", make: "teach_making", trial: "teach_trial" }[kind];
  const text = running ? `${t(word)}: ${[said, t("teach_seconds", { seconds })].filter(Boolean).join(", ")}`
    : failed ? t("teach_failed", { why: failed }) : kind === "make" ? t("teach_made", { version: lines[0], note: lines[1] }) : "";
  $("#job").hidden = !text;
  $("#job p").textContent = text;
  $("#job progress").hidden = !running;
  $("#job").classList.toggle("warn", Boolean(failed));
};

const memory = ({ running, said, seconds, failed, lines }) => {
  const text = running ? `${t("teach_remembering")}: ${[said, t("teach_seconds", { seconds })].filter(Boolean).join(", ")}`
    : failed ? t("teach_not_remembered", { why: failed })
      : Number(lines[0]) || Number(lines[1]) ? t("teach_remembered", { described: lines[0], gone: lines[1] }) : "";
  $("#memory").hidden = !text;
  $("#memory p").textContent = text;
  $("#memory progress").hidden = !running;
  $("#memory").classList.toggle("warn", Boolean(failed));
};

const versions = () => $("#versions").replaceChildren(...state.lines.map(({ bundle, versions: all, can_go_back }) => element("div", { className: "panel" },
  element("div", { className: "bar" }, element("h2", {}, t("teach_versions", { bundle })),
    button(t("teach_go_back"), () => send("back", { bundle }), { disabled: !can_go_back, className: "back" })),
  element("table", {}, element("tr", {}, ...["teach_version", "teach_part", "teach_made_at", "teach_by", "teach_pictures"].map((one) => element("th", { scope: "col" }, t(one))), element("th")),
    ...[...all].reverse().map((one) => element("tr", { className: one.live ? "live" : "" },
      element("td", {}, one.version || t("teach_given")), element("td", {}, one.part),
      element("td", {}, one.made ? new Date(one.made).toLocaleString() : ""), element("td", {}, one.who), element("td", {}, one.pictures ? String(one.pictures) : ""),
      element("td", {}, ...(one.live ? [element("b", {}, t("teach_is_live"))] : [
        button(t("teach_try"), () => send("trial", { bundle, version: one.version }), { className: "try", disabled: state.job.running }),
        button(t("teach_go_live"), () => send("live", { bundle, version: one.version }), { className: "go-live" })]))))))));

const trial = (found) => {
  $("#trial").hidden = !found;
  if (!found) return;
  $("#trial p").textContent = t("teach_tried", { version: found.version || t("teach_given"), judged: found.judged, before: found.stopped_before,
    after: found.stopped_after, changed: found.changed, gone: found.without_picture });
  $("#changes").replaceChildren(...found.changes.map((one) => element("li", {}, element("a", { href: `${root}/parts/${one.id}` },
    element("img", { src: address(one.id, "picture"), alt: "", loading: "lazy" }),
    element("small", {}, `${truthOf(one.before)} → ${truthOf(one.after)}`)))));
};

const draw = () => {
  // What one types or points at is not drawn anew where nothing has changed.
  const { job: under_way, memory: earlier, ...rest } = state, now = JSON.stringify([rest, under_way.running, under_way.kind]);
  job(under_way);
  memory(earlier);
  if (now === drawn) return;
  const before = drawn ? JSON.parse(drawn)[0] : {};
  drawn = now;
  const { draft } = state, mine = draft?.mine;
  $("#begin").hidden = Boolean(draft);
  $("#theirs").hidden = !draft || mine;
  $("#draft").hidden = !mine;
  $("#counts").textContent = "";
  if (!draft && (before.draft || !$("#begin").children.length)) begin();
  if (draft && !mine) theirs(draft);
  if (mine && (!before.draft?.mine || JSON.stringify(before.folders) !== JSON.stringify(state.folders))) sources();
  if (mine) gallery(draft);
  versions();
  trial(state.trial);
};

const refresh = async (keep) => {
  clearTimeout(timer);
  try {
    state = await ask("teach", { headers });
    if (!keep && $("#trouble").dataset.lost) trouble("");
    delete $("#trouble").dataset.lost;
    draw();
  } catch (error) {
    trouble(error.message);
    $("#trouble").dataset.lost = "yes";
  }
  timer = setTimeout(refresh, state?.job.running || state?.memory.running ? BUSY_MS : IDLE_MS);
};

const upload = async (files) => {
  // A few at a time: the box takes so many pictures in a request.
  const all = [...files].filter((one) => one.size);
  for (let at = 0; at < all.length; at += 16) {
    const form = new FormData();
    for (const one of all.slice(at, at + 16)) form.append("file", one, one.name);
    if (!(await send("pictures", form))) return;
  }
  refresh(true);
};

$("#drop span").textContent = t("teach_drop");
$("#files").addEventListener("change", ({ target }) => { upload(target.files); target.value = ""; });
for (const kind of ["dragover", "drop"]) {
  $("#drop").addEventListener(kind, (event) => {
    event.preventDefault();
    if (kind === "drop") upload(event.dataTransfer.files);
  });
}
$("#discard").textContent = t("teach_discard");
$("#discard").onclick = () => send("draft", null, "DELETE");
$("#make").textContent = t("teach_make");
$("#make").onclick = async () => { await send("make"); refresh(true); };

links("teach");
refresh();
