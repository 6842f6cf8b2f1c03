// Draws a ranking: before, after, how far each document moved, and how far it was read.

import { textOf, titleOf } from "./documents.js";

const PAGE = 100; // rows shown at first
const EXCERPT = 300; // characters of a row; CSS shows what fits
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

/** An element with a class and children: strings become text. */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const whole = (number) => number.toLocaleString("en");

/** The ranking on the page. Rows are results of the API in its order, each with `index` into documents. */
export class Ranking {
  constructor(documents, rows, scoresAre, onSelect) {
    this.documents = documents;
    this.rows = rows;
    this.scoresAre = scoresAre;
    this.onSelect = onSelect;
    this.readings = new Map(); // index -> what is read of the document, or an Error
    this.shown = Math.min(PAGE, rows.length);
    this.selected = 0;
    this.draw();
  }

  draw() {
    $("ranking").hidden = !this.rows.length;
    const rankOf = new Map(this.rows.map((row, rank) => [row.index, rank]));
    const rows = this.rows.slice(0, this.shown);
    const before = this.documents.slice(0, this.shown);
    $("before").replaceChildren(...before.map((document, index) => this.beforeRow(document, index, rankOf)));
    $("after").replaceChildren(...rows.map((row, rank) => this.afterRow(row, rank)));
    const left = this.rows.length - this.shown;
    $("more").hidden = left <= 0;
    $("more").textContent = `Show ${whole(Math.min(left, PAGE))} more of ${whole(left)}`;
    this.drawMoves(rows);
    this.select(this.selected, false);
  }

  more() {
    const first = this.shown;
    this.shown = Math.min(this.shown + PAGE, this.rows.length);
    this.draw();
    this.select(first, true);
  }

  beforeRow(document, index, rankOf) {
    const item = make("li", rankOf.has(index) ? "" : "left-out", number(index + 1), make("span", "excerpt", excerpt(document)));
    item.dataset.index = index;
    return item;
  }

  afterRow(row, rank) {
    const document = this.documents[row.index];
    const moved = row.index - rank;
    const move = make("span", `move ${moved > 0 ? "up" : moved < 0 ? "down" : ""}`, moved > 0 ? `▲ ${moved}` : moved < 0 ? `▼ ${-moved}` : "–");
    move.title = `was ${row.index + 1}`;
    const fill = make("span");
    const bar = make("span", "bar", fill);
    fill.style.width = `${100 * this.share(row)}%`;
    const item = make(
      "li", "", number(rank + 1), move, bar, make("span", "score", this.score(row)),
      make("span", "excerpt", excerpt(document)), make("span", "cut", ...this.cutMark(row)),
      make("span", "tokens", `${whole(row.tokens)} tok`),
    );
    const movedText = moved ? `${moved > 0 ? "up" : "down"} ${Math.abs(moved)}` : "not moved";
    item.setAttribute("role", "option");
    item.setAttribute("aria-label", `${rank + 1}, ${movedText}, score ${this.score(row)}, ${row.truncated ? "cut, " : ""}${excerpt(document)}`);
    item.addEventListener("click", () => this.select(rank, true));
    return item;
  }

  /** The length of a bar, 0 to 1: a score itself, or a logit between the lowest and the highest of this ranking. */
  share(row) {
    if (row.scored === false) return 0;
    const score = row.relevance_score;
    if (this.scoresAre !== "logits") return score;
    const all = this.rows.filter((other) => other.scored !== false).map((other) => other.relevance_score);
    this.range ??= [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    const [low, high] = this.range;
    return high > low ? 0.02 + (0.98 * (score - low)) / (high - low) : 1;
  }

  score(row) {
    if (row.scored === false) return "not yet";
    return row.relevance_score.toFixed(this.scoresAre === "logits" ? 2 : 4);
  }

  cutMark(row) {
    if (!row.truncated) return [];
    const reading = this.readings.get(row.index);
    const known = reading && !(reading instanceof Error);
    return [make("span", "", known ? `${Math.floor(100 * readShare(reading, this.documents[row.index]))} % read` : "cut")];
  }

  drawMoves(rows) {
    const height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
    const lines = Math.max(rows.length, Math.min(this.documents.length, this.shown));
    const svg = $("moves");
    svg.setAttribute("viewBox", `0 0 56 ${lines * height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("height", lines * height);
    svg.replaceChildren(
      ...rows.flatMap((row, rank) => {
        if (row.index >= this.shown) return [];
        const [from, to] = [(row.index + 0.5) * height, (rank + 0.5) * height];
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", `M0 ${from} C28 ${from} 28 ${to} 56 ${to}`);
        path.setAttribute("class", row.index > rank ? "up" : row.index < rank ? "down" : "");
        path.dataset.index = row.index;
        return [path];
      }),
    );
  }

  /** Show a row's document below; move the focus there if asked. */
  select(rank, focus) {
    this.selected = Math.max(0, Math.min(rank, this.shown - 1));
    const row = this.rows[this.selected];
    if (!row) return;
    [...$("after").children].forEach((item, at) => {
      item.setAttribute("aria-selected", at === this.selected);
      item.tabIndex = at === this.selected ? 0 : -1;
      if (at === this.selected && focus) {
        item.focus({ preventScroll: true });
        item.scrollIntoView({ block: "nearest" });
      }
    });
    for (const element of [...$("before").children, ...$("moves").children]) {
      element.classList.toggle("chosen", element.dataset.index === String(row.index));
    }
    this.drawDetail(row);
    this.onSelect(row);
  }

  /** What was learnt of how far documents are read: redraw the marks and the document that is shown. */
  learn(readings) {
    for (const [index, reading] of readings) this.readings.set(index, reading);
    this.rows.slice(0, this.shown).forEach((row, rank) => {
      $("after").children[rank].querySelector(".cut").replaceChildren(...this.cutMark(row));
    });
    this.drawDetail(this.rows[this.selected]);
  }

  drawDetail(row) {
    const shown = this.documents[row.index];
    const reading = row.truncated ? this.readings.get(row.index) : undefined;
    const facts = [
      ["score", this.score(row)],
      ["place", `${this.selected + 1}, was ${row.index + 1}`],
      ["tokens read", whole(row.tokens)],
      ["cut", cutFact(row, reading, shown)],
    ];
    if (shown.id !== undefined) facts.unshift(["id", shown.id]);
    const list = make("dl", "", ...facts.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))));
    const known = reading && !(reading instanceof Error);
    const title = titleOf(shown);
    $("detail").replaceChildren(
      list,
      ...(title ? [make("h3", "", ...marked(title, known ? reading.title_read : null))] : []),
      make("p", "text", ...marked(textOf(shown), known ? reading.text_read : null)),
    );
  }
}

const number = (value) => make("span", "number", whole(value));

function excerpt(document) {
  const title = titleOf(document);
  return `${title ? `${title}: ` : ""}${textOf(document)}`.slice(0, EXCERPT).replace(/\s+/g, " ");
}

function readShare(reading, shown) {
  const read = (span) => span[1] - span[0];
  const all = [...titleOf(shown)].length + [...textOf(shown)].length;
  return all ? (read(reading.title_read) + read(reading.text_read)) / all : 1;
}

function cutFact(row, reading, shown) {
  if (!row.truncated) return "no, all of it was read";
  if (reading instanceof Error) return `yes; where is not known: ${reading.message}`;
  if (!reading) return "yes; where is being asked";
  const all = [...titleOf(shown)].length + [...textOf(shown)].length;
  const read = Math.round(readShare(reading, shown) * all);
  return read === all ? "yes, in the query" : `${whole(read)} of ${whole(all)} characters were read`;
}

/** A text with the parts greyed that the model does not read. span: [start, end) in code points; null: all is read. */
export function marked(text, span) {
  if (!span) return [text];
  const characters = [...text];
  const [start, end] = span;
  const parts = [characters.slice(0, start), characters.slice(start, end), characters.slice(end)].map((part) => part.join(""));
  const unread = (part) => [make("span", "hidden", "not read: "), make("span", "unread", part)];
  const scissors = () => make("span", "scissors", "✂ not read from here");
  return [
    ...(parts[0].trim() ? unread(parts[0]) : [parts[0]]),
    parts[1],
    ...(parts[2].trim() ? [scissors(), ...unread(parts[2])] : [parts[2]]),
  ];
}
