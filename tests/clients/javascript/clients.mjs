// node clients.mjs NAME URL: ranks with one JavaScript client, and prints [[index, score], ...], best first.
// Input on stdin: {query, documents, model, key}.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const require = createRequire(import.meta.url);
const [name, url] = process.argv.slice(2);
const { query, documents, model, key } = JSON.parse(await text(process.stdin));

const snake = (results) => results.map((hit) => [hit.index, hit.relevance_score]);
const camel = (results) => results.map((hit) => [hit.index, hit.relevanceScore]);

async function withAiSdk(reranker) {
  const { rerank } = await import("ai");
  const { ranking } = await rerank({ model: reranker, query, documents, topN: 3 });
  return ranking.map((hit) => [hit.originalIndex, hit.score]);
}

const CLIENTS = {
  async "cohere-ai v2"() {
    const { CohereClientV2 } = require("cohere-ai");
    return camel((await new CohereClientV2({ token: key, environment: url }).rerank({ model, query, documents })).results);
  },
  async "cohere-ai v1"() {
    const { CohereClient } = require("cohere-ai");
    const client = new CohereClient({ token: key, environment: url });
    return camel((await client.rerank({ model, query, documents, topN: 3, returnDocuments: true })).results);
  },
  async voyageai() {
    const { VoyageAIClient } = require("voyageai");
    const client = new VoyageAIClient({ apiKey: key, environment: `${url}/v1` });
    return camel((await client.rerank({ model, query, documents })).data);
  },
  async "together-ai"() {
    const Together = require("together-ai").default;
    const client = new Together({ apiKey: key, baseURL: `${url}/v1` });
    return snake((await client.rerank.create({ model, query, documents, top_n: 3 })).results);
  },
  async "@mixedbread/sdk"() {
    const Mixedbread = require("@mixedbread/sdk").default;
    const answer = await new Mixedbread({ apiKey: key, baseURL: url }).rerank({ model, query, input: documents, top_k: 3 });
    return answer.data.map((hit) => [hit.index, hit.score]);
  },
  async zeroentropy() {
    const ZeroEntropy = require("zeroentropy").default;
    const client = new ZeroEntropy({ apiKey: key, baseURL: `${url}/v1` });
    return snake((await client.models.rerank({ model, query, documents, top_n: 3 })).results);
  },
  async "@ai-sdk/cohere"() {
    const { createCohere } = await import("@ai-sdk/cohere");
    return withAiSdk(createCohere({ apiKey: key, baseURL: `${url}/v2` }).reranking(model));
  },
  async "@ai-sdk/togetherai"() {
    const { createTogetherAI } = await import("@ai-sdk/togetherai");
    return withAiSdk(createTogetherAI({ apiKey: key, baseURL: `${url}/v1` }).reranking(model));
  },
  async "voyage-ai-provider"() {
    const { createVoyage } = await import("voyage-ai-provider");
    return withAiSdk(createVoyage({ apiKey: key, baseURL: `${url}/v1` }).reranking(model));
  },
  async "@langchain/cohere"() {
    const { CohereRerank } = await import("@langchain/cohere");
    const { CohereClient } = require("cohere-ai");
    const client = new CohereClient({ token: key, environment: url });
    return (await new CohereRerank({ client, model, topN: 3 }).rerank(documents, query)).map((hit) => [hit.index, hit.relevanceScore]);
  },
};

console.log(JSON.stringify(await CLIENTS[name]()));
