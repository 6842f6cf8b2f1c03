// The page: a form, one call, its ranking. It speaks to the endpoint that served it and to nobody else.

import { post } from "./api.js";
import { DIALECTS, callText } from "./calls.js";
import { parseDocuments, readFile, textOf, titleOf } from "./documents.js";
import { make, Ranking } from "./results.js";
import { SAMPLE } from "./sample.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", location.href).href;
const MAX_READ_DOCUMENTS = 100; // of one call to v1/read
const MAX_READ_CHARS = 250_000;

let ranking = null;
let running = null; // the AbortController of the call in progress
let model = "any";

const documents = () => parseDocuments($("documents").value, $("layout").value);

/** What the form asks for, in no dialect. */
function asked() {
  const truncation = $("truncation").value;
  return {
    query: $("query").value,
    documents: documents(),
    model,
    top: $("top").value === "" ? null : Number($("top").value),
    extras: {
      ...(truncation === "model" ? {} : { truncation }),
      ...($("scores").value === "logits" ? { raw_scores: true } : {}),
    },
  };
}

async function run() {
  const ask = asked();
  running?.abort();
  const mine = (running = new AbortController());
  const options = { key: $("key").value, signal: mine.signal };
  busy(true);
  $("error").hidden = true;
  const started = performance.now();
  try {
    const body = { ...DIALECTS[0].body(ask), ...ask.extras, verbose: true, return_documents: false };
    const answer = await post("v2/rerank", body, options);
    const seconds = (performance.now() - started) / 1000;
    ranking = new Ranking(ask.documents, answer.results, $("scores").value, () => {});
    tell(ask, answer, seconds);
    await findCuts(ranking, ask, options);
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  } finally {
    if (running === mine) busy(false);
  }
}

function busy(is) {
  $("run").setAttribute("aria-busy", is);
  $("run").textContent = is ? "Reranking…" : "Rerank";
}

function tell(ask, answer, seconds) {
  const count = ask.documents.length;
  const tokens = answer.results.reduce((sum, row) => sum + row.tokens, 0);
  const cut = answer.results.filter((row) => row.truncated).length;
  const ms = 1000 * seconds;
  const parts = [
    make("b", "", `${count} document${count === 1 ? "" : "s"}`), " in ",
    make("b", "", ms < 10_000 ? `${ms.toFixed(0)} ms` : `${seconds.toFixed(1)} s`),
    ` as this browser saw it, ${(ms / count).toFixed(1)} ms a document · ${tokens.toLocaleString("en")} tokens`,
    ask.top === null ? "" : " in the results shown",
    cut ? ` · ${cut} cut` : " · none cut",
    ...answer.meta.warnings.map((warning) => ` · ${warning}`),
  ];
  $("status").replaceChildren(...parts);
}

function fail(error) {
  ranking = null;
  $("ranking").hidden = true;
  $("status").textContent = "";
  const title = error.title ?? "This page failed";
  const parts = [make("p", "", make("b", "", title), `  ${error.message}`)];
  if (error.advice) parts.push(make("p", "", error.advice));
  $("error").replaceChildren(...parts);
  $("error").hidden = false;
}

/** Ask where the documents were cut that the answer says were cut: the best ones first, as many as one call takes. */
async function findCuts(shown, ask, options) {
  let chars = ask.query.length;
  const indexes = [];
  for (const row of shown.rows.filter((each) => each.truncated)) {
    chars += titleOf(ask.documents[row.index]).length + textOf(ask.documents[row.index]).length;
    if (indexes.length === MAX_READ_DOCUMENTS || chars > MAX_READ_CHARS) break;
    indexes.push(row.index);
  }
  if (!indexes.length) return;
  const body = { query: ask.query, documents: indexes.map((index) => ask.documents[index]), ...ask.extras };
  try {
    const answer = await post("v1/read", body, options);
    shown.learn(answer.documents.map((document) => [indexes[document.index], document]));
    const [start, end] = answer.query.read;
    const characters = [...ask.query];
    if (characters.slice(end).join("").trim() || characters.slice(0, start).join("").trim()) {
      $("status").append(` · of the query ${end - start} of ${characters.length} characters are read`);
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    shown.learn(indexes.map((index) => [index, error]));
  }
}

async function describeModel() {
  try {
    const health = await (await fetch("health")).json();
    model = health.model;
    const facts = health.problem
      ? [["model", model], ["problem", health.problem]]
      : [["model", model], ["on", `${health.device}, ${health.dtype}`], ["pairs", `${health.template}, at most ${health.max_pair_tokens} tokens`],
         ["scores", health.fidelity.split(":")[0]]];
    $("model").replaceChildren(...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
    $("model").title = health.fidelity ?? "";
  } catch {
    $("model").textContent = "the endpoint does not say what it serves";
  }
  showCall();
}

function showCall() {
  const dialect = DIALECTS[Number($("dialect").value)];
  $("code").textContent = callText($("language").value, dialect, asked(), BASE, Boolean($("key").value));
}

function showCount() {
  const list = documents();
  const chars = list.reduce((sum, document) => sum + titleOf(document).length + textOf(document).length, 0);
  $("count").textContent = `${list.length.toLocaleString("en")} documents, ${chars.toLocaleString("en")} characters`;
}

async function take(file) {
  try {
    $("documents").value = readFile(file.name, await file.text());
    if (!/\.(txt|md)$/i.test(file.name)) $("layout").value = "lines";
    changed();
    $("status").textContent = `${file.name} is loaded: it stays in this browser until you rerank.`;
    $("error").hidden = true;
  } catch (error) {
    fail({ title: file.name, message: error.message, advice: "Change the file, and drop it again." });
  }
}

let drawing = 0;
function changed() {
  clearTimeout(drawing);
  drawing = setTimeout(() => (showCount(), showCall()), 80);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `Use the ${theme === "dark" ? "light" : "dark"} colours`);
}

function remembered() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // a browser that keeps nothing
  }
}

function onKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  } else if (event.key === "Enter" && event.target === $("query") && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    run();
  } else if (event.key === "Escape" && ranking && !event.isComposing) {
    ranking.select(ranking.selected, true);
  } else if (ranking && $("after").contains(event.target)) {
    const to = { ArrowDown: ranking.selected + 1, ArrowUp: ranking.selected - 1, Home: 0, End: ranking.shown - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    ranking.select(to, true);
  }
}

function start() {
  $("query").value = SAMPLE.query;
  $("documents").value = SAMPLE.documents.join("\n");
  DIALECTS.forEach((dialect, at) => $("dialect").append(new Option(dialect.name, at)));
  setTheme(remembered() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    setTheme(theme);
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // for this visit only, then
    }
  });
  document.addEventListener("keydown", onKey);
  $("ask").addEventListener("submit", (event) => (event.preventDefault(), run()));
  $("ask").addEventListener("input", changed);
  $("more").addEventListener("click", () => ranking.more());
  for (const id of ["dialect", "language"]) $(id).addEventListener("change", showCall);
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("code").textContent);
      $("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($("code"));
      $("copy").textContent = "Selected: press Ctrl C";
    }
    setTimeout(() => ($("copy").textContent = "Copy"), 1500);
  });
  $("file").addEventListener("change", () => $("file").files[0] && take($("file").files[0]));
  const box = $("documents");
  for (const name of ["dragover", "dragleave", "drop"]) {
    box.addEventListener(name, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      box.classList.toggle("dropping", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
  }
  showCount();
  describeModel();
}

start();
