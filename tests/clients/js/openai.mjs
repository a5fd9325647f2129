// OpenAI's npm package.
import OpenAI from "openai";

const client = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const PLAIN = { model: "plain", temperature: 0, max_completion_tokens: 200 };
const SPARK = { ...PLAIN, model: "spark", reasoning_effort: "none" };
const failure = (error) => ({ name: error.constructor.name, status: error.status, message: error.message });

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export async function chat(url, { capital }) {
  const completions = client(url).chat.completions;
  const whole = await completions.create({ ...PLAIN, messages: capital });
  const options = { include_usage: true };
  const chunks = await all(await completions.create({ ...PLAIN, messages: capital, stream: true, stream_options: options }));
  const runner = completions.stream({ ...PLAIN, messages: capital });
  const final = await runner.finalChatCompletion();
  return { whole, chunks, final: final.choices[0].message.content };
}

export async function thinking(url, { capital }) {
  const completions = client(url).chat.completions;
  const on = await completions.create({ ...PLAIN, model: "spark", messages: capital });
  const off = await completions.create({ ...SPARK, messages: capital });
  return { on: on.choices[0].message, off: off.choices[0].message };
}

export async function tools(url, { weather, hello, tool, now }) {
  const completions = client(url).chat.completions;
  const ask = async (fields) => (await completions.create({ ...SPARK, ...fields })).choices[0];
  const plain = await ask({ messages: weather, tools: [tool] });
  const chunks = await all(await completions.create({ ...SPARK, messages: weather, tools: [tool], stream: true }));
  const [call] = plain.message.tool_calls;
  const result = { role: "tool", tool_call_id: call.id, content: "18 C and sunny" };
  const answer = await ask({ messages: [...weather, plain.message, result], tools: [tool] });
  const named = { type: "function", function: { name: "now" } };
  const both = { messages: hello, tools: [tool, now], parallel_tool_calls: false };
  return {
    plain,
    deltas: chunks.map((chunk) => chunk.choices[0]),
    answer: answer.message.content,
    forced: (await ask({ ...both, tool_choice: "required" })).message,
    named: (await ask({ ...both, tool_choice: named })).message,
    forbidden: (await ask({ messages: weather, tools: [tool], tool_choice: "none" })).message,
  };
}

export async function structured(url, { capital, schema }) {
  const form = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
  const got = await client(url).chat.completions.create({ ...PLAIN, messages: capital, response_format: form });
  return JSON.parse(got.choices[0].message.content);
}

export async function responses(url, { capital }) {
  const request = { model: "plain", input: capital[0].content, temperature: 0 };
  const whole = await client(url).responses.create(request);
  const events = await all(await client(url).responses.create({ ...request, stream: true }));
  const followed = await client(url).responses.create({ ...request, previous_response_id: whole.id });
  return { whole, events, followed };
}

export async function embed(url, { sky }) {
  const packed = await client(url).embeddings.create({ model: "minilm", input: sky });
  const plain = await client(url).embeddings.create({ model: "minilm", input: sky, encoding_format: "float" });
  return { packed: packed.data.map((item) => item.embedding), plain: plain.data.map((item) => item.embedding) };
}

export async function images(url, { pictures }) {
  const look = async (model, picture) => {
    const image = { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } };
    const messages = [{ role: "user", content: [{ type: "text", text: "What?" }, image] }];
    return await client(url).chat.completions.create({ ...PLAIN, model, messages, max_completion_tokens: 12 });
  };
  const seen = [await look("eyes", pictures[0]), await look("eyes", pictures[1])];
  const refused = await look("plain", pictures[0]).catch(failure);
  return {
    texts: seen.map((one) => one.choices[0].message.content),
    counts: seen.map((one) => one.usage.prompt_tokens),
    refused,
  };
}

export async function models(url) {
  const listed = (await all(await client(url).models.list())).map((model) => model.id);
  return { listed, one: await client(url).models.retrieve("spark") };
}

export async function broken(url, { endless }) {
  const request = { model: "endless", messages: endless, stream: true, max_tokens: 20000 };
  const stream = await client(url).chat.completions.create(request);
  for await (const chunk of stream) return chunk.choices[0].delta.content.length;
}

export async function timeout(url, { endless }) {
  const request = { model: "endless", messages: endless, max_tokens: 20000 };
  return await client(url).chat.completions.create(request, { timeout: 500 }).catch(failure);
}

export async function errors(url, { capital, tool, long }) {
  const ask = (fields) => client(url).chat.completions.create({ ...PLAIN, messages: capital, ...fields }).catch(failure);
  return {
    nope: await ask({ model: "nope" }),
    streamed: await ask({ model: "nope", stream: true }),
    tools: await ask({ tools: [tool] }),
    long: await ask({ model: "native", messages: long }),
  };
}
