// Vercel's AI SDK, by ollama-ai-provider-v2 and by @ai-sdk/openai-compatible.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { createOllama } from "ollama-ai-provider-v2";

const WAYS = {
  ollama: (url) => createOllama({ baseURL: `${url}/api` }),
  compatible: (url) => createOpenAICompatible({ name: "served", baseURL: `${url}/v1`, supportsStructuredOutputs: true }),
};
const SILENT = {
  ollama: { ollama: { think: false } },
  compatible: { served: { reasoningEffort: "none" } },
};
const BOUNDS = { temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const failure = (error) => ({ name: error.name, status: error.statusCode, message: error.message, body: error.responseBody });
const embedder = (way, url) =>
  way === "ollama" ? WAYS.ollama(url).embedding("minilm") : WAYS.compatible(url).textEmbeddingModel("minilm");

export async function chat(url, { way, capital }) {
  const request = { ...BOUNDS, model: WAYS[way](url)("plain"), messages: capital };
  const whole = await generateText(request);
  const stream = streamText(request);
  const kinds = [];
  const texts = [];
  for await (const part of stream.fullStream) {
    if (part.type === "text-delta") texts.push(part.text);
    if (kinds.at(-1) !== part.type) kinds.push(part.type);
  }
  // The provider for Ollama sends the SDK's own bound where Ollama does not look for it.
  const providerOptions = way === "ollama" ? { ollama: { options: { num_predict: 3 } } } : {};
  const cut = await generateText({ ...request, maxOutputTokens: 3, providerOptions });
  return {
    text: whole.text,
    finish: whole.finishReason,
    usage: whole.usage,
    kinds,
    texts,
    streamFinish: await stream.finishReason,
    cut: { finish: cut.finishReason, tokens: cut.usage.outputTokens },
  };
}

export async function thinking(url, { way, capital }) {
  const providerOptions = way === "ollama" ? { ollama: { think: true } } : {};
  const request = { ...BOUNDS, model: WAYS[way](url)("spark"), messages: capital };
  const on = await generateText({ ...request, providerOptions });
  const stream = streamText({ ...request, providerOptions });
  const streamed = await stream.reasoningText;
  const off = await generateText({ ...request, providerOptions: SILENT[way] });
  return { thoughts: on.reasoningText, text: on.text, streamed, off: off.text, offThoughts: off.reasoningText ?? null };
}

export async function tools(url, { way, weather, hello, weatherSchema, nowSchema }) {
  const tools = {
    get_weather: tool({ description: "Weather of a city", inputSchema: jsonSchema(weatherSchema) }),
    now: tool({ description: "The time", inputSchema: jsonSchema(nowSchema) }),
  };
  const only = { get_weather: tools.get_weather };
  const request = { ...BOUNDS, model: WAYS[way](url)("spark"), providerOptions: SILENT[way] };
  const calls = (result) => result.toolCalls.map((call) => ({ name: call.toolName, input: call.input }));
  const plain = await generateText({ ...request, messages: weather, tools: only });
  const stream = streamText({ ...request, messages: weather, tools: only });
  const streamed = (await stream.toolCalls).map((call) => ({ name: call.toolName, input: call.input }));
  const [call] = plain.toolCalls;
  const output = { type: "text", value: "18 C and sunny" };
  const result = { type: "tool-result", toolCallId: call.toolCallId, toolName: call.toolName, output };
  const turns = [...weather, ...plain.response.messages, { role: "tool", content: [result] }];
  const answer = await generateText({ ...request, messages: turns, tools: only });
  const choose = async (messages, toolChoice) => calls(await generateText({ ...request, messages, tools, toolChoice }));
  return {
    plain: calls(plain),
    finish: plain.finishReason,
    streamed,
    answer: answer.text,
    forced: await choose(hello, "required"),
    named: await choose(hello, { type: "tool", toolName: "now" }),
    forbidden: await choose(weather, "none"),
  };
}

export async function structured(url, { way, capital, schema }) {
  const model = WAYS[way](url)("plain");
  return (await generateObject({ ...BOUNDS, model, messages: capital, schema: jsonSchema(schema) })).object;
}

export async function embed(url, { way, sky }) {
  return (await embedMany({ model: embedder(way, url), values: sky, maxRetries: 0 })).embeddings;
}

export async function images(url, { way, pictures }) {
  const look = async (model, image) => {
    const content = [{ type: "text", text: "What?" }, { type: "image", image, mediaType: "image/png" }];
    const messages = [{ role: "user", content }];
    return await generateText({ ...BOUNDS, model: WAYS[way](url)(model), maxOutputTokens: 12, messages });
  };
  const seen = [await look("eyes", pictures[0]), await look("eyes", pictures[1])];
  const refused = await look("plain", pictures[0]).catch(failure);
  return { texts: seen.map((one) => one.text), counts: seen.map((one) => one.usage.inputTokens), refused };
}

export async function broken(url, { way, endless }) {
  const abort = new AbortController();
  const request = { ...BOUNDS, maxOutputTokens: 20000, model: WAYS[way](url)("endless"), messages: endless };
  const stream = streamText({ ...request, abortSignal: abort.signal, onError: () => {} });
  for await (const text of stream.textStream) {
    abort.abort();
    return text.length;
  }
}

export async function timeout(url, { way, endless }) {
  const request = { ...BOUNDS, maxOutputTokens: 20000, model: WAYS[way](url)("endless"), messages: endless };
  return await generateText({ ...request, abortSignal: AbortSignal.timeout(500) }).catch(failure);
}

export async function errors(url, { way, capital }) {
  return await generateText({ ...BOUNDS, model: WAYS[way](url)("nope"), messages: capital }).catch(failure);
}
