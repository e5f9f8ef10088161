// A folder or a ZIP judged at once: progress with the time left, a table that sorts and filters, CSV and report.
import { number } from "./drawer.js";
import { $, ask, element, links, root, say, shape, t } from "./screen.js";

const LOOK_MS = 1000, SHOWN = 300;
const KINDS = ["anomalous", "cannot_judge", "good", ""];
let rows = [], state = null, by = "score", down = true, kind = "all", wanted = "", drawn = "";

const trouble = (text) => { $("#trouble").hidden = !text; $("#trouble").textContent = text; };
const bundle = () => encodeURIComponent($("#choose select[name=bundle]").value);
const wordOf = (row) => (row.verdict ? t(`truth_${row.verdict}`) : t("unread"));

const begin = async (asked) => {
  trouble("");
  try {
    rows = [];
    drawn = "";
    draw(await asked());
    $("#table").replaceChildren();
  } catch (error) {
    trouble(error.message);
  }
};

const folder = (event) => {
  event.preventDefault();
  begin(() => say(`batch?bundle=${bundle()}`, { folder: $("#choose input[name=folder]").value }));
};

const zip = (file) => begin(() => ask(`batch/zip?bundle=${bundle()}&name=${encodeURIComponent(file.name)}`,
  { method: "POST", body: file, headers: { "Content-Type": "application/zip" } }));

const minutes = (seconds) => (seconds === null ? "…" : seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);

const draw = (found) => {
  const first = !state || state.name !== found.name;
  state = found;
  const running = state.state === "running", { folders } = state;
  if (first && folders.length) $("#folders").replaceChildren(...folders.map((one) => element("option", { value: one })));
  $("#start").disabled = running || !folders.length;
  $("#pick").classList.toggle("off", running);
  $("#progress").hidden = state.state === "none";
  if (state.state === "none") return;
  $("#cancel").hidden = !running;
  $("#bar").max = state.total;
  $("#bar").value = state.done;
  const left = running ? t("left", { time: minutes(state.seconds_left) }) : state.trouble || t(`batch_${state.state}`, { time: minutes(state.seconds) });
  $("#told").textContent = `${t("batch_of", { name: state.name, bundle: state.bundle })}: ${state.done} / ${state.total}. ${left}`;
  $("#tally").replaceChildren(...[["anomalous", "anomalous"], ["cannot judge", "cannot_judge"], ["cannot be read", "none"], ["good", "good"]]
    .map(([name, verdict]) => element("li", { className: verdict }, shape(verdict), element("b", {}, String(state.counts[name] ?? 0)),
      element("span", {}, verdict === "none" ? t("unread") : t(`truth_${verdict}`)))));
  for (const link of ["csv", "report"]) $(`#${link}`).hidden = !state.done;
};

const order = { score: (one) => one.raw_score ?? -Infinity, name: (one) => one.name, verdict: (one) => -KINDS.indexOf(one.verdict), number: (one) => one.number };

const table = () => {
  const chosen = rows.filter((one) => (kind === "all" || one.verdict === kind) && one.name.toLowerCase().includes(wanted));
  const now = `${chosen.length} ${by} ${down} ${kind} ${wanted}`;
  if (now === drawn) return;
  drawn = now;
  const key = order[by], sorted = chosen.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.number - b.number) * (down ? -1 : 1));
  const head = ["number", "verdict", "score", "name"].map((name) => element("th", { scope: "col", "aria-sort": by === name ? (down ? "descending" : "ascending") : "none" },
    element("button", { textContent: `${t(`column_${name}`)} ${by === name ? (down ? "▼" : "▲") : ""}`, onclick: () => { down = by === name ? !down : name === "score"; by = name; table(); } })));
  $("#table").replaceChildren(element("table", { className: "rows" }, element("thead", {}, element("tr", {}, ...head, element("th", { scope: "col" }, t("column_reason")))),
    element("tbody", {}, ...sorted.slice(0, SHOWN).map((one) => element("tr", {}, element("td", {}, one.number),
      element("td", { className: "verdict" }, one.thumbnail ? element("img", { src: `data:image/jpeg;base64,${one.thumbnail}`, alt: "" }) : "",
        element("span", { className: `tag ${one.verdict || "none"}` }, shape(one.verdict || "none"), wordOf(one))),
      element("td", {}, number(one.raw_score)), element("td", {}, one.name), element("td", {}, one.reason))))));
  $("#counts").textContent = chosen.length > SHOWN ? t("first_of", { shown: SHOWN, number: chosen.length }) : t("shown", { number: chosen.length });
};

const look = async () => {
  try {
    draw(await ask("batch"));
    while (rows.length < state.done) {
      const found = (await ask(`batch/rows?after=${rows.length}&limit=2000`)).rows;
      if (!found.length) break;
      rows.push(...found);
    }
    if (state.state !== "none") table();
    trouble("");
  } catch (error) {
    trouble(error.message);
  }
};

const build = async () => {
  const bundles = (await ask("bundles")).bundles;
  const file = element("input", { type: "file", accept: ".zip,application/zip", onchange: ({ target }) => { if (target.files[0]) zip(target.files[0]); target.value = ""; } });
  $("#choose").addEventListener("submit", folder);
  $("#choose").append(element("label", {}, element("span", {}, t("by_bundle")), element("select", { name: "bundle" }, ...bundles.map((one) => element("option", { value: one.name }, one.name)))),
    element("label", {}, element("span", {}, t("folder")), element("input", { name: "folder", list: "folders", required: true, size: 24, maxLength: 500 })),
    element("datalist", { id: "folders" }), element("button", { id: "start", textContent: t("judge_folder") }),
    element("label", { id: "pick" }, element("span", {}, t("or_zip")), file));
  const filter = element("select", { onchange: ({ target }) => { kind = target.value; table(); } },
    element("option", { value: "all" }, t("any")), ...KINDS.map((one) => element("option", { value: one }, one ? t(`truth_${one}`) : t("unread"))));
  const name = element("input", { type: "search", size: 16, oninput: ({ target }) => { wanted = target.value.toLowerCase(); table(); } });
  $("#desk").classList.add("one");
  $("#desk").append(element("section", { id: "progress", className: "panel", hidden: true }, element("h2", {}, t("link_batch")),
    element("p", { id: "told", role: "status" }), element("progress", { id: "bar", "aria-label": t("link_batch") }), element("ul", { id: "tally" }),
    element("div", { className: "bar" }, element("button", { id: "cancel", textContent: t("cancel"), onclick: () => ask("batch", { method: "DELETE" }).then(look, (error) => trouble(error.message)) }),
      element("label", {}, element("span", {}, t("by_verdict")), filter), element("label", {}, element("span", {}, t("column_name")), name),
      element("a", { id: "csv", href: `${root}/v1/batch/results.csv` }, t("as_csv")), element("a", { id: "report", href: `${root}/v1/batch/report.html` }, t("as_report"))),
    element("div", { id: "table", className: "scroll", tabIndex: 0 })));
};

// The whole window takes a ZIP.
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" && event.dataTransfer.files[0]) zip(event.dataTransfer.files[0]);
  });
}

links("batch");
try {
  await build();
  $("#trouble").hidden = true;
} catch (error) {
  trouble(error.message);
}
for (;;) {
  await look();
  await new Promise((done) => setTimeout(done, state?.state === "running" ? LOOK_MS : 3 * LOOK_MS));
}
