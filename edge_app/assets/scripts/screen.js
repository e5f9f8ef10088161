// What the screens share: the strings, the API, the login.
const html = document.documentElement;
export const root = html.dataset.root;
const asked = new URLSearchParams(location.search).get("lang");
export const language = asked === "de" || (!asked && navigator.language.startsWith("de")) ? "de" : "en";
html.lang = language;
const strings = (await (await fetch(`${root}/screen/strings.json`)).json())[language];

export const $ = (css) => document.querySelector(css);

/** A string of the catalogue, with its {places} filled. */
export const t = (key, values = {}) =>
  (strings[key] ?? "").replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));

/** What an operator can do about a part that cannot be judged, in one plain line. */
export const plain = (reason) => {
  const known = Object.keys(strings.reasons).find((key) => key && reason.startsWith(key));
  return strings.reasons[known ?? ""];
};

/** A part's kind in words: a defect's own name stays as it is. */
export const truthOf = (truth) => strings[`truth_${truth}`] ?? truth;

/** Shape, so that nobody has to tell red from green: an octagon stops, a ring lets pass. */
export const PATHS = {
  anomalous: "M30 4h40l26 26v40l-26 26h-40l-26-26v-40z",
  good: "M50 4a46 46 0 1 0 .1 0zM50 22a28 28 0 1 1-.1 0z",
  cannot_judge: "M50 6l46 86h-92zM45 38h10v28h-10zM45 72h10v10h-10z",
  none: "M10 44h80v12h-80z",
};

export const element = (name, attributes = {}, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && !["list", "tabIndex"].includes(key)) made[key] = value;
    else if (key === "tabIndex") made.tabIndex = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside);
  return made;
};

export const shape = (verdict) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[verdict] ?? PATHS.none);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
};

/** Ask the API; a refusal is an Error with its sentence, and one for the login shows that. */
export const ask = async (path, options = {}) => {
  const answer = await fetch(`${root}/v1/${path}`, { cache: "no-store", ...options });
  if (answer.ok) return answer.headers.get("content-type")?.includes("json") ? answer.json() : answer;
  if (answer.status === 401) logIn();
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? answer.statusText), { status: answer.status });
};

export const say = (path, body) =>
  ask(path, { method: "POST", body: JSON.stringify(body ?? {}), headers: { "Content-Type": "application/json" } });

export const address = (id, what) => `${root}/v1/parts/${id}/${what}`;

/** The stage takes the picture's shape. */
export const sized = () => $("#stage").style.setProperty("--ratio", $("#picture").naturalWidth / $("#picture").naturalHeight);

/** A box around each of the largest regions, with its size in pixels of the picture. */
const MOST_BOXES = 3;
const boxes = ({ contours, width, height }) => contours.slice(0, MOST_BOXES).map((contour) => {
  const xs = contour.map(([x]) => x), ys = contour.map(([, y]) => y);
  const [x, y] = [Math.min(...xs), Math.min(...ys)], [w, h] = [Math.max(...xs) - x, Math.max(...ys) - y];
  const style = Object.entries({ left: x, top: y, width: w, height: h }).map(([key, share]) => `${key}:${(100 * share).toFixed(2)}%`).join(";");
  return element("div", { className: `size${y < 0.1 ? " below" : ""}`, style },
    element("span", {}, t("size_of", { width: Math.max(1, Math.round(w * width)), height: Math.max(1, Math.round(h * height)) })));
});

/** Lay out a part's picture with its heat map and outline; what answers after it is no longer wanted is dropped. */
export const lay = async (part, still = () => true) => {
  for (const image of [$("#picture"), $("#heat")]) image.removeAttribute("src");
  $("#outline").replaceChildren();
  for (const old of document.querySelectorAll("#layers .size")) old.remove();
  // Where there is no drawer there is no box, either.
  $("#hint").textContent = part?.id ? t($("#drawer") ? "hint" : "hint_plain") : "";
  if (!part?.id) return;
  $("#picture").src = address(part.id, "image");
  $("#picture").alt = part.name;
  $("#picture").onload = sized;
  if (part.verdict === "cannot_judge") return;
  const outline = await ask(`parts/${part.id}/outline`).catch(() => null);
  if (!outline || !still()) return;
  if (!outline.whole) $("#hint").textContent = t("thumbnail_only");
  if (outline.has_heat) $("#heat").src = address(part.id, "heat");
  $("#layers").append(...boxes(outline));
  for (const kind of ["halo", "edge"]) {
    for (const contour of outline.contours) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
      line.setAttribute("class", kind);
      line.setAttribute("points", contour.map((point) => point.join(",")).join(" "));
      $("#outline").append(line);
    }
  }
};

/** Hold Space for the bare part. */
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("input, select, dialog")) return;
  event.preventDefault();
  document.body.classList.add("bare");
});
document.addEventListener("keyup", (event) => { if (event.key === " ") document.body.classList.remove("bare"); });

export const logIn = () => {
  const dialog = $("#login");
  if (dialog.open) return;
  // Without a user's password a program's token is what one has; without people of its own the box knows one user.
  const kind = html.dataset.login, byToken = kind === "token", byName = kind === "users";
  const wrong = element("p", { role: "alert", className: "wrong" });
  const user = element("input", { name: "username", value: byToken ? "token" : byName ? "" : "operator", autocomplete: "username", readOnly: !byName, required: true });
  const secret = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const form = element("form", { method: "dialog" },
    element("h2", {}, t("log_in_first")), element("p", {}, t(`log_in_${kind}`, { box: location.host })),
    element("label", { hidden: byToken }, t("user"), user),
    element("label", {}, t(byToken ? "token" : "password"), secret),
    wrong, element("button", {}, t("log_in")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const done = await fetch(`${root}/login`, { method: "POST", body: new FormData(form) });
    if (done.ok) location.reload();
    else { wrong.textContent = t(byToken ? "wrong_token" : byName ? "wrong_user" : "wrong_password"); secret.select(); }
  });
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.setAttribute("aria-label", t("log_in_first"));
  dialog.replaceChildren(form);
  dialog.showModal();
  (byName ? user : secret).focus();
};

/** Who one is; a role that may do nothing where the box does not say. */
export const me = html.dataset.login
  ? await fetch(`${root}/v1/me`, { cache: "no-store" }).then((found) => (found.ok ? found.json() : {})).catch(() => ({}))
  : { name: "", role: "engineer", guarded: false };

export const links = (here) => {
  const places = { line: "line", history: "history", model: "model", teach: "teach", batch: "batch", inspect: "inspect" };
  for (const [name, path] of Object.entries(places)) {
    if (name === "line" && !html.dataset.station) continue;
    const link = element("a", { href: `${root}/${path}${asked ? `?lang=${asked}` : ""}` }, t(`link_${name}`));
    if (name === here) link.setAttribute("aria-current", "page");
    $("#links").append(link);
  }
  if (me.guarded) $("#links").append(element("a", { href: `${root}/logout`, title: me.name }, t("log_out")));
};
