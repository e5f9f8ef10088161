// A part and an earlier one, large beside each other, with both heat maps and one zoom; arrows go to the next one.
import { $, address, ask, element, root, shape, t, truthOf } from "./screen.js";

const MOST = 12;
let part = null, likes = [], at = 0, zoom = 1, place = { x: 0, y: 0 };

const dialog = element("dialog", { id: "compare" });
document.body.append(dialog);

const turn = () => dialog.style.setProperty("--turn", zoom === 1 ? "none" : `translate(${place.x}px, ${place.y}px) scale(${zoom})`);
const whole = () => { zoom = 1; place = { x: 0, y: 0 }; turn(); };
const kind = (truth) => (["good", "cannot_judge"].includes(truth) ? truth : "anomalous");

/** The picture, and its heat map as soon as it is known that there is one. */
const pane = (one, told, title) => {
  const picture = element("img", { src: address(one.id, "image"), alt: one.name }), heat = element("img", { className: "heat", alt: "" });
  const layers = element("div", { className: "layers" }, picture, heat), note = element("small");
  picture.onload = () => layers.style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
  ask(`parts/${one.id}/outline`).then((found) => {
    if (found.has_heat) heat.src = address(one.id, "heat");
    if (!found.whole) note.textContent = t("thumbnail_only");
  }, () => {});
  return element("figure", {}, element("figcaption", {}, element("span", { className: `tag ${kind(told)}` }, shape(kind(told)), element("b", {}, truthOf(told))),
    element("span", {}, title), element("a", { href: `${root}/parts/${one.id}` }, one.name), note), element("div", { className: "pane" }, layers));
};

const draw = () => {
  const { part: other, similarity } = likes[at];
  const close = element("button", { onclick: () => dialog.close(), "aria-label": t("close"), textContent: "×" });
  dialog.setAttribute("aria-label", t("compare"));
  dialog.replaceChildren(
    element("header", {}, element("h2", {}, t("compare")), element("p", {}, `${at + 1} / ${likes.length}   ${t("compare_hint")}`), close),
    element("main", {}, pane(part, part.truth ?? part.verdict, t("this_part")),
      pane(other, other.truth, t("alike", { percent: Math.floor(100 * Math.max(0, similarity)) }))));
  close.focus();
};

/** Open it on a part and one of those that it looks like. */
export const compare = (one, others, index) => {
  if (!one?.id || !others.length) return;
  [part, likes, at] = [one, others, Math.max(0, index)];
  whole();
  draw();
  if (!dialog.open) dialog.showModal();
};

dialog.addEventListener("wheel", (event) => {
  const frame = event.target.closest(".pane")?.getBoundingClientRect();
  if (!frame) return;
  event.preventDefault();
  const before = zoom;
  zoom = Math.min(Math.max(zoom * Math.exp(-event.deltaY / 400), 1), MOST);
  const dx = event.clientX - (frame.left + frame.width / 2) - place.x, dy = event.clientY - (frame.top + frame.height / 2) - place.y;
  place = zoom === 1 ? { x: 0, y: 0 } : { x: place.x + dx * (1 - zoom / before), y: place.y + dy * (1 - zoom / before) };
  turn();
}, { passive: false });
dialog.addEventListener("dblclick", whole);
dialog.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by && likes[at + by]) { at += by; draw(); }
  if (event.key.toLowerCase() === "h") dialog.classList.toggle("cool");
  if (by || event.key.toLowerCase() === "h") event.preventDefault();
});
// A click beside it closes it.
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
export const comparing = () => Boolean($("#compare[open]"));
