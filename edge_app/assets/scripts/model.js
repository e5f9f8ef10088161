// A bundle: its threshold, what the operators' words say of it, and all that it says of itself.
import { facts, histogram, number, percent, stands, when } from "./drawer.js";
import { $, ask, element, links, me, root, say, shape, t, truthOf } from "./screen.js";

const html = document.documentElement, engineer = me.role === "engineer";
let card = null, review = null, taught = null, cost = 10, turn = 0;

const name = () => $("#choose select[name=bundle]")?.value;
const trouble = (text) => { $("#trouble").hidden = !text; $("#trouble").textContent = text; };
const toast = (text) => { $("#toast").textContent = text; };
const section = (id, title, ...inside) => element("section", { id, className: "panel" }, element("h2", {}, title), ...inside);
const table = (head, rows) => element("div", { className: "scroll", tabIndex: 0 }, element("table", { className: "rows" },
  element("thead", {}, element("tr", {}, ...head.map((one) => element("th", { scope: "col" }, one)))),
  element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((one) => element("td", {}, one ?? "–")))))));

const changed = async (path, body, told) => {
  try {
    card.thresholds = await say(`bundles/${encodeURIComponent(card.name)}/${path}`, body);
    toast(t(told, { value: number(card.thresholds[0].image_threshold, 6) }));
    await load();
  } catch (error) {
    toast(t("not_set", { why: error.message }));
  }
};

/** A button that engineers alone may press; others are told so. */
const button = (id, text, onclick) => element("button", { id, textContent: text, disabled: !engineer, title: engineer ? "" : t("engineers_alone"), onclick });

const threshold = () => {
  const [now, ...earlier] = card.thresholds, free = earlier.some((one) => one.state === "replaced");
  const field = element("input", { type: "number", step: "any", value: now.image_threshold, "aria-label": t("limit") });
  const set = element("form", { className: "bar", onsubmit: (event) => {
    event.preventDefault();
    changed("threshold", { image_threshold: field.valueAsNumber, in_force: now.image_threshold, note: t("by_hand") }, "was_set");
  } }, element("label", {}, element("span", {}, t("another")), field), button("set", t("set")));
  const back = button("back", t("roll_back"), () => changed("threshold/rollback", {}, "was_rolled_back"));
  back.disabled ||= !free;
  return section("threshold", t("threshold"), element("p", { className: "figure" }, number(now.image_threshold, 6)), element("p", {}, stands(now)),
    element("div", { className: "bar" }, set, back), engineer ? "" : element("p", { id: "how", className: "faint" }, t(html.dataset.login === "password" ? "one_password" : "engineers_alone")));
};

const suggestion = () => {
  const { now, suggestion: found } = review;
  if (!found) return element("p", { id: "none" }, t(`none_${review.why_none.split(":")[0].replaceAll(" ", "_")}`, { words: review.confirmed_good + review.confirmed_bad }));
  const { then } = found, note = element("input", { maxLength: 200, size: 30, value: t("from_words", { words: review.confirmed_good + review.confirmed_bad }), "aria-label": t("note") });
  return element("div", { id: "suggestion" },
    table(["", t("in_force"), t("suggested")], [
      [t("limit"), number(now.image_threshold, 6), element("b", {}, number(then.image_threshold, 6))],
      [t("false_rejects", { of: review.confirmed_good }), now.false_rejects, then.false_rejects], [t("misses", { of: review.confirmed_bad }), now.misses, then.misses],
      [t("of_newest", { of: review.newest }), now.rejected, then.rejected]]),
    element("p", {}, t("would", found)),
    element("ol", { className: "row" }, ...found.changed.map((one) => {
      const verdict = one.truth === "good" ? "good" : "anomalous";
      return element("li", {}, element("a", { href: `${root}/parts/${one.id}`, className: verdict, title: `${one.name} ${number(one.raw_score)}` },
        element("img", { src: one.picture, alt: one.name }), shape(verdict)));
    })),
    element("div", { className: "bar" }, element("label", {}, element("span", {}, t("note")), note),
      button("accept", t("accept", { value: number(then.image_threshold, 6) }),
        () => changed("threshold", { image_threshold: then.image_threshold, in_force: now.image_threshold, note: note.value }, "was_accepted"))),
    element("p", { className: "faint" }, t("reversible")));
};

/** Agreement day by day: a bar as wide as the words, right ones dark, the two kinds of mistakes beside it. */
const days = () => {
  if (!review.days.length) return element("p", {}, t("no_words"));
  const most = Math.max(...review.days.map((one) => one.right + one.false_rejects + one.misses));
  return element("div", { className: "scroll", tabIndex: 0 }, element("table", { className: "rows days" },
    element("thead", {}, element("tr", {}, ...["day", "agreement", "words_right", "words_false_rejects", "words_misses"].map((one) => element("th", { scope: "col" }, t(one))))),
    element("tbody", {}, ...review.days.slice(-10).reverse().map((one) => {
      const all = one.right + one.false_rejects + one.misses;
      const bar = element("div", { className: "agree" }, ...["right", "false_rejects", "misses"].map((kind) => element("i", { className: kind, style: `width:${100 * one[kind] / most}%` })));
      return element("tr", {}, element("td", {}, one.day), element("td", {}, `${Math.round(100 * one.right / all)} %`, bar), ...[one.right, one.false_rejects, one.misses].map((value) => element("td", {}, value)));
    }))));
};

const words = () => {
  const choose = element("select", { name: "cost", onchange: (event) => { cost = event.target.value; load(); } },
    ...[1, 10, 100].map((one) => element("option", { value: one, selected: Number(cost) === one }, t("cost", { number: one }))));
  return section("words-say", t("words_say"), element("p", {}, t("confirmed", { good: review.confirmed_good, bad: review.confirmed_bad })),
    days(), element("div", { className: "bar" }, element("label", {}, element("span", {}, t("a_miss_costs")), choose)), suggestion());
};

const replay = async (event) => {
  const pressed = event.target;
  pressed.disabled = true;
  $("#replayed").textContent = t("replaying");
  try {
    const found = await say(`bundles/${encodeURIComponent(card.name)}/verify`);
    $("#replayed").textContent = t(found.holds ? "replay_holds" : "replay_fails",
      { ...found, most: Number(found.max_score_difference).toExponential(1), bound: found.bound });
    $("#replayed").className = found.holds ? "" : "alarm";
  } catch (error) {
    $("#replayed").textContent = error.message;
  }
  pressed.disabled = !engineer;
};

/** What stands in bundle.json, in rows; what is nested in a line of its own. */
const plain = (values) => Object.entries(values).flatMap(([key, value]) =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? plain(value).map(([inner, one]) => [`${key}.${inner}`, one])
    : [[key, typeof value === "number" ? number(value) : Array.isArray(value) ? value.join(", ") : String(value ?? "–")]]);

const details = (title, values) => (Object.keys(values).length ? element("details", {}, element("summary", {}, title), facts(plain(values))) : "");

const itself = () => section("card", t("card"),
  facts([[t("model"), `${card.category}, ${card.model}, ${card.width} × ${card.height}`], [t("engine"), `${card.engine} ${card.precision} ${card.device} (${card.variants.join(", ")})`],
    ...["weights", "data"].map((what) => [t(`license_${what}`), card.licenses[what] || t("license_unknown")]),
    [t("size"), `${card.megabytes} MB`], [t("fingerprint"), card.fingerprint.slice(0, 16)]]),
  element("div", { className: "bar" }, button("replay", t("replay"), replay), element("p", { id: "replayed", role: "status" })),
  card.health.length ? element("details", {}, element("summary", {}, t("health", { number: card.health_good })),
    table([t("statistic"), t("lowest"), t("highest")], card.health.map((one) => [one.name, number(one.low), number(one.high)]))) : element("p", {}, t("no_health")),
  details(t("data"), card.provenance), details(t("figures"), card.metrics), details(t("certificate"), card.certificate), details(t("recipe"), card.recipe));

const earlier = () => section("earlier", t("earlier"), table([t("limit"), t("state"), t("when"), t("note")],
  card.thresholds.map((one) => [number(one.image_threshold, 6), t(`threshold_${one.state.replace(" ", "_")}`), when(one.set_at), one.note || t(`method_${one.method}`, { n: one.n_good })])));

/** Versions that were taught here, and the bundle as it was delivered: one of them judges. */
const versions = () => {
  const line = taught?.lines.find((one) => one.bundle === card.name);
  if (!line) return "";
  const change = (path, version, told) => async () => {
    try {
      taught = await say(`teach/${path}`, { bundle: card.name, version });
      toast(t(told, { version: version || t("teach_given") }));
      await load();
    } catch (error) {
      toast(t("not_set", { why: error.message }));
    }
  };
  const back = button("version-back", t("teach_go_back"), change("back", "", "version_back"));
  back.disabled ||= !line.can_go_back;
  return section("versions", t("versions"), table([t("teach_version"), t("teach_part"), t("teach_made_at"), t("teach_by"), ""], line.versions.map((one) => [
    one.version || t("teach_given"), one.part, when(one.made), one.who,
    one.live ? element("b", {}, t("teach_is_live")) : button("", t("teach_go_live"), change("live", one.version, "teach_went_live"))])),
  element("div", { className: "bar" }, back, element("a", { href: `${root}/teach?bundle=${encodeURIComponent(card.name)}` }, t("teach_title"))));
};

const load = async () => {
  const mine = (turn += 1), asked = encodeURIComponent(name());
  try {
    // A box that keeps its records elsewhere has no versions.
    const found = await Promise.all([ask(`bundles/${asked}`), ask(`bundles/${asked}/review?missed_cost=${cost}`), ask("teach").catch(() => null)]);
    if (mine !== turn) return;
    [card, review, taught] = found;
    trouble("");
  } catch (error) {
    if (mine === turn) { trouble(error.message); $("#desk").replaceChildren(); }
    return;
  }
  const [now] = card.thresholds;
  if (!now) {
    $("#desk").replaceChildren(element("div", {}, element("p", { id: "blank", className: "warn" }, t("teach_blank", { bundle: card.name })), versions()), element("div", {}, itself()));
    return;
  }
  const marks = [{ value: now.image_threshold, kind: "limit" }, { value: review.suggestion?.then.image_threshold, kind: "then" }];
  $("#desk").replaceChildren(element("div", {}, threshold(), section("scores", t("scores"), histogram(card.scores, marks)), earlier(), versions()),
    element("div", {}, words(), itself()));
};

links("model");
try {
  const bundles = (await ask("bundles")).bundles, given = new URLSearchParams(location.search).get("bundle");
  const select = element("select", { name: "bundle", onchange: () => {
    history.replaceState(null, "", `${root}/model?bundle=${encodeURIComponent(name())}`);
    load();
  } }, ...bundles.map((one) => element("option", { value: one.name, selected: one.name === given }, `${one.name} (${one.label})`)));
  $("#choose").append(element("label", {}, element("span", {}, t("by_bundle")), select));
  await load();
} catch (error) {
  trouble(error.message);
}
