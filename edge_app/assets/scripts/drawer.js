// The engineer's drawer: the figures behind a verdict, where the threshold comes from, and this part among the others.
import { $, address, ask, element, root, t } from "./screen.js";

const SVG = "http://www.w3.org/2000/svg", FRESH_MS = 30000;
let card = null, at = 0, shown = "";

export const number = (value, digits = 4) => (typeof value === "number" ? Number(value.toPrecision(digits)).toString() : "–");
export const percent = (value) => (typeof value === "number" ? `${number(100 * value, 3)} %` : "–");
export const when = (time) => (time ? new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) : "");

const svg = (name, attributes, ...inside) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};

/** Good and bad parts by raw score, on a scale of roots so that one part among a thousand shows; a line for each mark. */
export const histogram = ({ edges: all, good, bad }, marks, wide = false) => {
  // A score outside of all earlier ones has its place, too.
  const values = wide ? marks.map(({ value }) => value).filter((value) => typeof value === "number") : [];
  const edges = wide ? [Math.min(all[0], ...values), Math.max(all.at(-1), ...values)] : all;
  const most = Math.sqrt(Math.max(1, ...good, ...bad)), low = edges[0], span = edges.at(-1) - low;
  const place = (value) => 100 * Math.min(Math.max((value - low) / span, 0), 1);
  const bars = (counts, kind) => counts.map((count, i) => {
    const h = 46 * Math.sqrt(count) / most;
    return svg("rect", { class: kind, x: place(all[i]), width: 0.92 * (place(all[i + 1]) - place(all[i])), y: kind === "ok" ? 50 - h : 50, height: h });
  });
  const lines = marks.filter(({ value }) => typeof value === "number").map(({ value, kind }) =>
    svg("line", { class: kind, x1: place(value), x2: place(value), y1: 0, y2: 100, "vector-effect": "non-scaling-stroke" }));
  const total = (counts) => counts.reduce((sum, one) => sum + one, 0);
  return element("figure", { className: "histogram" },
    svg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": t("histogram", { good: total(good), bad: total(bad) }) },
      ...bars(good, "ok"), ...bars(bad, "nok"), svg("line", { class: "axis", x1: 0, x2: 100, y1: 50, y2: 50, "vector-effect": "non-scaling-stroke" }), ...lines),
    element("figcaption", {}, element("span", {}, number(edges[0])), element("span", {}, t("histogram", { good: total(good), bad: total(bad) })),
      element("span", {}, number(edges.at(-1)))));
};

export const facts = (rows) => element("table", { className: "facts" }, ...rows.filter(([, value]) => value !== "" && value !== undefined)
  .map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value))));

/** What a threshold stands on, in one sentence. */
export const stands = (one) => [one.note || [t(`method_${one.method}`, { n: one.n_good }) || one.method,
  one.max_false_rejects === null ? t("promises_nothing") : t("promises", { share: percent(one.max_false_rejects) })].join(", "), when(one.set_at)]
  .filter(Boolean).join("; ");

const drawn = (part) => {
  const now = card.thresholds[0], proof = card.certificate.variants?.[`${card.engine}/${card.precision}`] ?? {};
  const downloads = part.id ? element("span", {}, ...["image", "heat", "outline"].map((what) =>
    element("a", { href: address(part.id, what), download: `${part.id}-${what}` }, t(`load_${what}`)))) : "";
  return [
    element("h2", {}, t("drawer"), element("button", { onclick: () => toggle(null), "aria-label": t("close"), textContent: "×" })),
    histogram(card.scores, [{ value: now.image_threshold, kind: "limit" }, { value: part.raw_score, kind: "this" }]),
    element("p", { className: "legend" }, element("i", { className: "this" }), t("this_part"), element("i", { className: "limit" }), t("limit")),
    facts([[t("fact_score"), `${number(part.raw_score)} (${number(part.normalized_score)})`],
      [t("limit"), `${number(part.threshold ?? now.image_threshold)}`], [t("comes_from"), stands(now)],
      [t("engine"), `${card.engine} ${card.precision} ${card.device}`], [t("bundle"), `${card.name} ${card.fingerprint.slice(0, 12)}`],
      [t("certificate"), proof.images ? t("certified", { number: proof.images, flips: proof.verdict_flips, most: Number(proof.max_score_difference).toExponential(1) }) : "–"],
      [t("downloads"), downloads]]),
    element("a", { href: `${root}/model?bundle=${encodeURIComponent(card.name)}` }, t("to_model")),
  ];
};

/** Open it on a part, or close it; drawn again as the part changes. */
export const toggle = async (part, bundle) => {
  const drawer = $("#drawer");
  if (!part || !bundle) { drawer.hidden = true; shown = ""; return; }
  drawer.hidden = false;
  await follow(part, bundle);
};

export const isOpen = () => !$("#drawer").hidden;

export const follow = async (part, bundle) => {
  if (!isOpen() || !part || !bundle) return;
  const key = `${part.id} ${part.time}`;
  if (key === shown && card?.name === bundle) return;
  shown = key;
  try {
    if (card?.name !== bundle || Date.now() - at > FRESH_MS) { card = await ask(`bundles/${encodeURIComponent(bundle)}`); at = Date.now(); }
    if (key === shown) $("#drawer").replaceChildren(...drawn(part));
  } catch (error) {
    $("#drawer").replaceChildren(element("p", { role: "alert" }, error.message));
  }
};
