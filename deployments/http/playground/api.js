// Calls to this endpoint, and what to do when one fails. Knows nothing of the page.

const ADVICE = {
  400: "Change what the message names, and run it again.",
  401: "This endpoint wants an API key: set it beside the documents.",
  403: "This API key may not do that: use another one.",
  404: "Is this page served by the endpoint itself, and is the model's name right?",
  408: "The body took too long to arrive: send fewer documents, or check the connection.",
  413: "Send fewer or shorter documents, or let who runs the endpoint raise its limits.",
  422: "Change what the message names, and run it again.",
  429: "The queue is full.",
  503: "The service is not ready, or lost a replica: see health, and try again.",
  504: "It took longer than the time limit: send fewer documents, or try again when less is going on.",
};

/** What the API refused, in its own words. advice: what to do. */
export class ApiError extends Error {
  constructor(title, message, advice) {
    super(message);
    this.title = title;
    this.advice = advice;
  }
}

/** The answer to a POST. Throws an ApiError; an aborted call throws an AbortError. */
export async function post(path, body, { key, signal } = {}) {
  const headers = { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("No answer", error.message, "Is the endpoint running, and reachable from this browser?");
  }
  const text = await response.text();
  if (!response.ok) throw refusal(response, text);
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError("Not JSON", text.slice(0, 400), "Something between this page and the endpoint answered for it.");
  }
}

function refusal(response, text) {
  let message = text.slice(0, 1000);
  try {
    const body = JSON.parse(text);
    message = body.message ?? body.detail ?? body.error?.message ?? body.error ?? message;
  } catch {
    // not ours: a proxy's page, shown as it came
  }
  const wait = response.headers.get("retry-after");
  const advice = [ADVICE[response.status] ?? "", wait ? `Try again in ${wait} s.` : ""].join(" ").trim();
  return new ApiError(`${response.status} ${response.statusText}`.trim(), String(message), advice);
}
