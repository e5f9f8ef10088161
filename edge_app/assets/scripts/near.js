// What stands around the picture: the verdict and how clear it is, earlier parts like it, and what may be said.
import { compare } from "./compare.js";
import { $, PATHS, address, element, shape, t, truthOf } from "./screen.js";

export const banner = (verdict, word, part, said = "") => {
  $("#banner").dataset.verdict = verdict;
  $("#shape path").setAttribute("d", PATHS[verdict]);
  $("#shape path").setAttribute("fill-rule", "evenodd");
  $("#word").textContent = t(word);
  const at = part && new Date(part.time).toLocaleTimeString();
  $("#part").textContent = part ? `${part.source}  ${part.name}  ${at}`.trim() : "";
  $("#said").textContent = said;
  const gauge = $("#gauge"), over = part?.threshold > 0 && part.raw_score !== null;
  gauge.hidden = verdict === "none" || verdict === "cannot_judge" || !over;
  if (gauge.hidden) return;
  const told = clear(part.raw_score, part.threshold);
  gauge.querySelector("p").textContent = told;
  const meter = gauge.querySelector("div"), place = Math.round(100 * part.normalized_score);
  meter.setAttribute("aria-valuenow", place);
  meter.setAttribute("aria-label", told);
  meter.firstElementChild.style.left = `${place}%`;
};

/** How clear a verdict is, in words. */
export const clear = (score, limit) => {
  const percent = Math.round(100 * (score / limit - 1));
  return t(percent > 0 ? "over" : percent < 0 ? "under" : "at", { percent: Math.abs(percent) });
};

let likes = [], near = [], of = null;

/** Nothing is known of what the part on the screen looks like. */
export const forget = () => {
  likes = [];
  near = [];
  $("#cards").replaceChildren();
  $("#like h2").textContent = "";
};

/** Names of defects that parts like this one have. */
export const defects = () =>
  [...new Set(likes.map((one) => one.part.truth))].filter((name) => !["good", "anomalous", "cannot_judge"].includes(name)).slice(0, 2);

/** Five parts, the most alike of them large, and the nearest good one large beside it. */
export const like = ({ like: found, good, seen, why }, part, ofBox = false) => {
  if (why) { $("#like h2").textContent = why; return; }
  likes = found;
  of = part;
  // The nearest good part shows what it should have been.
  near = [...found, ...(good && !found.some((one) => one.part.id === good.part.id) ? [good] : [])];
  if (!found.length) {
    $("#like h2").textContent = t(!seen ? "like_nothing" : ofBox ? "box_nothing" : part.verdict === "good" ? "no_defect_like" : "nothing_like");
    $("#cards").replaceChildren(...(good && !ofBox ? [card(good, true, t("nearest_good"))] : []));
    return;
  }
  const kinds = found.map((one) => one.part.truth);
  const count = (kind) => kinds.filter((one) => one === kind).length;
  const most = kinds.reduce((best, kind) => (count(kind) > count(best) ? kind : best), kinds[0]);
  $("#like h2").textContent = t(ofBox ? "box_looks_like" : "looks_like", { what: truthOf(most), number: count(most), of: found.length });
  cards(found[0], good && good.part.id !== found[0].part.id ? good : found[1], Boolean(good));
};

const cards = (large, beside, isGood) => {
  const small = likes.filter((one) => ![large, beside].some((other) => other?.part.id === one.part.id));
  const note = isGood && beside?.part.truth === "good" ? t("nearest_good") : "";
  $("#cards").replaceChildren(card(large, true), ...(beside ? [card(beside, true, note)] : []), ...small.slice(0, 4).map((one) => card(one)));
};

const card = (one, large = false, note = "") => {
  const { part } = one, verdict = part.truth === "good" || part.truth === "cannot_judge" ? part.truth : "anomalous";
  const image = element("img", { src: address(part.id, large ? "image" : "picture"), alt: "" });
  const alike = t("alike", { percent: Math.floor(100 * Math.max(0, one.similarity)) }), title = `${part.name}, ${alike}`;
  // A click opens it large beside the part.
  return element("button", { className: `${verdict}${large ? " large" : ""}`, title, onclick: () => compare(of, near, near.indexOf(one)) }, image,
    element("span", { className: "caption" }, shape(verdict), element("b", {}, truthOf(part.truth)), element("span", {}, note || alike)));
};

/** The part beside the one most like it. */
export const beside = () => compare(of, near, 0);

/** The two words, as they are called on this verdict; whether one may be said. */
export const words = (part, may) => {
  const kind = part?.verdict ?? "anomalous";
  for (const name of ["agree", "overrule"]) {
    $(`#${name} span`).textContent = t(`${name}_${kind}`);
    $(`#${name}`).disabled = !may;
    $(`#${name}`).setAttribute("aria-pressed", part?.word === (name === "agree" ? "right" : "wrong"));
  }
  $("#undo span").textContent = t("undo");
};

/** Defects to name with a word, as the parts that this one looks like are called. */
export const chips = (part, reject) => {
  const wanted = part && !$("#agree").disabled ? [...defects(), ""] : [];
  if ($("#chips").dataset.names === JSON.stringify(wanted)) return;
  $("#chips").dataset.names = JSON.stringify(wanted);
  $("#chips").replaceChildren(...wanted.map((name) => element("button", {
    textContent: name || t("other"),
    onclick: () => { const defect = name || prompt(t("which_defect")); if (defect) reject(defect); },
  })));
};
