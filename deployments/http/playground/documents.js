// Text and files become documents: a string, or {id, title, text}. Knows nothing of the page.

const TEXT = ["text", "contents", "passage", "body"];
const ID = ["id", "_id", "pid", "passage_id", "docid", "doc_id", "docno"];

/** The documents of a text box. layout: "lines", where a line may be a JSON object, or "paragraphs". */
export function parseDocuments(text, layout) {
  const parts = layout === "paragraphs" ? text.split(/\r?\n[ \t]*(?:\r?\n)+/) : text.split(/\r?\n/);
  return parts.map((part) => part.trim()).filter(Boolean).map((part) => asObject(part) ?? part);
}

/** What a file puts into the text box, a document a line. Throws an Error that says which line is wrong. */
export function readFile(name, text) {
  const kind = name.slice(name.lastIndexOf(".") + 1).toLowerCase();
  const body = text.replace(/^\uFEFF/, "");
  if (kind === "tsv") return fromTable(body);
  if (kind === "jsonl" || kind === "ndjson") return fromJsonLines(body);
  if (kind === "json") return fromJson(body);
  return body.trimEnd();
}

export const textOf = (document) => (typeof document === "string" ? document : document.text);
export const titleOf = (document) => (typeof document === "string" ? "" : (document.title ?? ""));

function asObject(line) {
  if (!line.startsWith("{")) return null;
  try {
    return normalized(JSON.parse(line));
  } catch {
    return null; // a text that begins with a brace
  }
}

function normalized(row) {
  const text = TEXT.map((name) => row?.[name]).find((value) => typeof value === "string");
  if (text === undefined) return null;
  const id = ID.map((name) => row[name]).find((value) => value !== undefined && value !== null);
  return {
    ...(id === undefined ? {} : { id: String(id) }),
    ...(typeof row.title === "string" && row.title ? { title: row.title } : {}),
    text,
  };
}

function fromJsonLines(body) {
  const rows = [];
  body.split(/\r?\n/).forEach((line, n) => {
    if (!line.trim()) return;
    let row;
    try {
      row = JSON.parse(line);
    } catch (error) {
      throw new Error(`line ${n + 1} is not JSON: ${error.message}`);
    }
    rows.push(lineOf(row, `line ${n + 1}`));
  });
  return rows.join("\n");
}

function fromJson(body) {
  let rows;
  try {
    rows = JSON.parse(body);
  } catch (error) {
    throw new Error(`the file is not JSON: ${error.message}. One object a line is a .jsonl file.`);
  }
  if (!Array.isArray(rows)) throw new Error("the file must hold a JSON array of strings or objects");
  return rows.map((row, n) => lineOf(row, `item ${n}`)).join("\n");
}

function lineOf(row, where) {
  const document = typeof row === "string" ? { text: row } : normalized(row);
  if (!document) throw new Error(`${where} has no text: it needs a field ${TEXT.join(", ")} that is a string`);
  return JSON.stringify(document);
}

/** A header with a text column names the columns; without one they are text, or id and text, or id, title and text. */
function fromTable(body) {
  const rows = body.split(/\r?\n/).filter((line) => line.trim()).map((line) => line.split("\t"));
  const [first] = rows;
  if (!first) return "";
  const header = first.map((cell) => cell.trim().toLowerCase());
  const named = header.length > 1 && header.some((name) => TEXT.includes(name));
  const columns = named ? header : { 1: ["text"], 2: ["id", "text"], 3: ["id", "title", "text"] }[first.length];
  if (!columns) throw new Error(`the first line has ${first.length} columns: name them, one of them "text"`);
  return rows
    .slice(named ? 1 : 0)
    .map((cells, n) => {
      if (cells.length !== columns.length) {
        throw new Error(`line ${n + (named ? 2 : 1)} has ${cells.length} columns, the first ${columns.length}`);
      }
      return lineOf(Object.fromEntries(columns.map((name, at) => [name, cells[at]])), `line ${n + 1}`);
    })
    .join("\n");
}
