// The same request in every dialect, as text to copy. Knows nothing of the page.

const limited = (name, ask) => (ask.top === null ? {} : { [name]: ask.top });
const passages = (documents) => documents.map((document) => (typeof document === "string" ? { text: document } : document));

// body: of each server's own fields. ask: {query, documents, model, top, extras}; top: null means all; extras are fields
// that every dialect takes.
export const DIALECTS = [
  { name: "Cohere v2", path: "v2/rerank", body: (ask) => ({ model: ask.model, query: ask.query, documents: ask.documents, ...limited("top_n", ask) }) },
  { name: "Cohere v1, Jina", path: "v1/rerank", body: (ask) => ({ model: ask.model, query: ask.query, documents: ask.documents, ...limited("top_n", ask) }) },
  { name: "Voyage", path: "v1/rerank", body: (ask) => ({ model: ask.model, query: ask.query, documents: ask.documents, top_k: ask.top ?? ask.documents.length }) },
  { name: "TEI", path: "rerank", body: (ask) => ({ query: ask.query, texts: ask.documents, ...limited("top_n", ask) }) },
  { name: "vLLM /rerank", path: "rerank", body: (ask) => ({ model: ask.model, query: ask.query, documents: ask.documents, ...limited("top_n", ask) }) },
  { name: "vLLM /score", path: "score", body: (ask) => ({ model: ask.model, text_1: ask.query, text_2: ask.documents }) },
  { name: "NVIDIA NIM", path: "v1/ranking", body: (ask) => ({ model: ask.model, query: { text: ask.query }, passages: passages(ask.documents), ...limited("top_n", ask) }) },
  { name: "DashScope", path: "api/v1/services/rerank/text-rerank/text-rerank", body: (ask) => ({ model: ask.model, input: { query: ask.query, documents: ask.documents }, parameters: limited("top_n", ask) }) },
  { name: "Weaviate", path: "rerank", body: (ask) => ({ query: ask.query, property: "", documents: ask.documents }) },
];

/** A call as text. base: the endpoint's address. hasKey: whether to send a key, which is named and not shown. */
export function callText(language, dialect, ask, base, hasKey) {
  const url = new URL(dialect.path, base).href;
  const body = { ...dialect.body(ask), ...ask.extras };
  return language === "python" ? asPython(url, body, hasKey) : asCurl(url, body, hasKey);
}

function asCurl(url, body, hasKey) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  const key = hasKey ? ` -H "authorization: Bearer $RERANKER_API_KEY"` : "";
  return `curl -s '${url}'${key} -H 'content-type: application/json' -d '${json}'\n`;
}

function asPython(url, body, hasKey) {
  const headers = hasKey ? `\n    headers={"authorization": f"Bearer {os.environ['RERANKER_API_KEY']}"},` : "";
  return `${hasKey ? "import os\n\n" : ""}import httpx

response = httpx.post(
    ${JSON.stringify(url)},${headers}
    json=${literal(body, "    ")},
    timeout=120,
)
response.raise_for_status()
print(response.json())
`;
}

/** A JSON value as a Python literal. A JSON string is one as it stands. */
function literal(value, indent) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value)
    ? value.map((item) => literal(item, `${indent}    `))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, `${indent}    `)}`);
  if (!items.length) return open + close;
  return `${open}\n${items.map((item) => `${indent}    ${item},\n`).join("")}${indent}${close}`;
}
