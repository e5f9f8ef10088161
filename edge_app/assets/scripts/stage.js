// The part's picture: wheel zooms to the pointer, a drag draws a box to find the like of, B takes what is outlined.
import { $, address, ask, element, t, shape } from "./screen.js";

const MOST = 12, SMALLEST = 0.02;
let zoom = 1, at = { x: 0, y: 0 }, start = null, asked = () => {};

const layers = $("#layers"), stage = $("#stage");
const box = element("div", { id: "box", hidden: true });
layers.append(box);

// What lies beside it, where something does, turns with it.
const turn = () => stage.style.setProperty("--turn", zoom === 1 ? "none" : `translate(${at.x}px, ${at.y}px) scale(${zoom})`);

/** Back to the whole picture, without a box. */
export const whole = () => { zoom = 1; at = { x: 0, y: 0 }; box.hidden = true; turn(); };

/** Who is told of a box: left, top, width and height as shares of the picture, or null for the whole part. */
export const onBox = (told) => { asked = told; };

/** Where the pointer is, as shares of the picture as it lies there, zoomed or not. */
const share = (event) => {
  const frame = layers.getBoundingClientRect(), clamp = (v) => Math.min(Math.max(v, 0), 1);
  return { x: clamp((event.clientX - frame.left) / frame.width), y: clamp((event.clientY - frame.top) / frame.height) };
};

stage.addEventListener("wheel", (event) => {
  if (!$("#picture").src) return;
  event.preventDefault();
  const frame = layers.getBoundingClientRect(), before = zoom;
  zoom = Math.min(Math.max(zoom * Math.exp(-event.deltaY / 400), 1), MOST);
  // What is under the pointer stays there: the picture turns about its middle.
  const dx = event.clientX - (frame.left + frame.width / 2), dy = event.clientY - (frame.top + frame.height / 2);
  at = zoom === 1 ? { x: 0, y: 0 } : { x: at.x + dx * (1 - zoom / before), y: at.y + dy * (1 - zoom / before) };
  turn();
}, { passive: false });
stage.addEventListener("dblclick", whole);

const draw = (x, y, w, h) => {
  box.hidden = false;
  Object.assign(box.style, { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * w}%`, height: `${100 * h}%` });
};

layers.addEventListener("pointerdown", (event) => {
  if (event.button || !$("#picture").src) return;
  event.preventDefault();
  start = share(event);
  layers.setPointerCapture(event.pointerId);
});
layers.addEventListener("pointermove", (event) => {
  if (!start) return;
  const now = share(event);
  draw(Math.min(start.x, now.x), Math.min(start.y, now.y), Math.abs(start.x - now.x), Math.abs(start.y - now.y));
});
layers.addEventListener("pointerup", (event) => {
  if (!start) return;
  const now = share(event), w = Math.abs(start.x - now.x), h = Math.abs(start.y - now.y);
  const found = [Math.min(start.x, now.x), Math.min(start.y, now.y), w, h];
  start = null;
  // A click, not a box: back to the whole part.
  const small = w < SMALLEST || h < SMALLEST;
  if (small) box.hidden = true;
  asked(small ? null : found);
});

/** The box around what is outlined first, which is the largest; nothing where nothing is. */
export const outlined = () => {
  const points = $("#outline polygon.edge")?.getAttribute("points").split(" ").map((one) => one.split(",").map(Number));
  if (!points) return;
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const x = Math.max(0, Math.min(...xs) - 0.01), y = Math.max(0, Math.min(...ys) - 0.01);
  const found = [x, y, Math.min(1, Math.max(...xs) + 0.01) - x, Math.min(1, Math.max(...ys) + 0.01) - y];
  draw(...found);
  asked(found);
};

/** Earlier parts like a part, or like a box on it; null where they cannot be told. */
export const alike = async (part, shares) => {
  const where = shares ? `&box=${shares.map((one) => one.toFixed(4)).join(",")}` : "";
  const found = await Promise.all(["k=5", "k=20&verdict=good"].map((what) => ask(`parts/${part.id}/neighbours?${what}${where}`)))
    .catch((error) => (shares ? { why: error.message } : null));
  if (!found || found.why) return found;
  const [near, good] = found;
  return {
    like: near.neighbours.filter((one) => one.similarity >= near.floor), seen: near.neighbours.length > 0,
    good: good.neighbours.find((one) => one.part.truth === "good"),
  };
};

/** Each camera's newest part, where there are several and none has to be looked at. */
export const tiles = (sources, open) => {
  const wanted = sources.filter((one) => one.newest?.id), now = wanted.map((one) => `${one.name} ${one.newest.id} ${one.state}`).join();
  $("#tiles").hidden = sources.length < 2 || !wanted.length;
  if ($("#tiles").hidden || $("#tiles").dataset.now === now) return;
  $("#tiles").dataset.now = now;
  $("#tiles").replaceChildren(...wanted.map((one) => {
    const { newest } = one, away = one.state === "away", verdict = away ? "none" : newest.verdict;
    return element("button", { className: verdict, onclick: () => open(newest), "aria-label": `${one.name}: ${t(newest.verdict)}` },
      element("img", { src: address(newest.id, "image"), alt: "" }),
      element("span", { className: "caption" }, shape(verdict), element("b", {}, one.name), element("span", {}, t(away ? "state_away" : `truth_${newest.verdict}`))));
  }));
};
