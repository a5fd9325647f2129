// Anthropic's npm package.
import Anthropic from "@anthropic-ai/sdk";

const client = (url) => new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0 });
const PLAIN = { model: "plain", max_tokens: 200, temperature: 0 };
const SPARK = { ...PLAIN, model: "spark", thinking: { type: "disabled" } };
const failure = (error) => ({ name: error.constructor.name, status: error.status, message: error.message });

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export async function chat(url, { capital }) {
  const messages = client(url).messages;
  const whole = await messages.create({ ...PLAIN, messages: capital });
  const events = await all(await messages.create({ ...PLAIN, messages: capital, stream: true }));
  const final = await messages.stream({ ...PLAIN, messages: capital }).finalMessage();
  const counted = await messages.countTokens({ model: "plain", messages: capital });
  return { whole, events, final, counted };
}

export async function thinking(url, { capital }) {
  const request = { ...PLAIN, model: "spark", max_tokens: 2000, messages: capital };
  const thinking = { type: "enabled", budget_tokens: 1024 };
  const on = await client(url).messages.create({ ...request, thinking });
  const events = await all(await client(url).messages.create({ ...request, thinking, stream: true }));
  const off = await client(url).messages.create({ ...SPARK, messages: capital });
  return { on: on.content, events, off: off.content };
}

export async function tools(url, { weather, hello, anthropicTool, anthropicNow }) {
  const tools = [anthropicTool, anthropicNow];
  const ask = (fields) => client(url).messages.create({ ...SPARK, tools, ...fields });
  const plain = await ask({ messages: weather });
  const events = await all(await ask({ messages: weather, stream: true }));
  const call = plain.content.find((block) => block.type === "tool_use");
  const result = { type: "tool_result", tool_use_id: call.id, content: "18 C and sunny" };
  const turns = [{ role: "assistant", content: plain.content }, { role: "user", content: [result] }];
  const answer = await ask({ messages: [...weather, ...turns] });
  return {
    plain,
    events,
    answer: answer.content,
    forced: (await ask({ messages: hello, tool_choice: { type: "any" } })).content,
    named: (await ask({ messages: hello, tool_choice: { type: "tool", name: "now" } })).content,
    forbidden: (await ask({ messages: weather, tool_choice: { type: "none" } })).content,
  };
}

export async function structured(url, { capital, schema }) {
  const output_config = { format: { type: "json_schema", schema } };
  const got = await client(url).messages.create({ ...PLAIN, messages: capital, output_config });
  return JSON.parse(got.content[0].text);
}

export async function images(url, { pictures }) {
  const look = async (model, data) => {
    const source = { type: "base64", media_type: "image/png", data };
    const content = [{ type: "image", source }, { type: "text", text: "What is this?" }];
    return await client(url).messages.create({ ...PLAIN, model, max_tokens: 12, messages: [{ role: "user", content }] });
  };
  const seen = [await look("eyes", pictures[0]), await look("eyes", pictures[1])];
  const refused = await look("plain", pictures[0]).catch(failure);
  const count = ({ usage }) => usage.input_tokens + (usage.cache_read_input_tokens ?? 0);
  return { texts: seen.map((one) => one.content[0].text), counts: seen.map(count), refused };
}

export async function models(url) {
  return (await all(await client(url).models.list())).map((model) => model.id);
}

export async function broken(url, { endless }) {
  const request = { model: "endless", max_tokens: 20000, messages: endless, stream: true };
  const stream = await client(url).messages.create(request);
  for await (const event of stream) if (event.type === "content_block_delta") return event.delta.text.length;
}

export async function timeout(url, { endless }) {
  const request = { model: "endless", max_tokens: 20000, messages: endless };
  return await client(url).messages.create(request, { timeout: 500 }).catch(failure);
}

export async function errors(url, { capital, anthropicTool }) {
  const ask = (fields) => client(url).messages.create({ ...PLAIN, messages: capital, ...fields }).catch(failure);
  return {
    nope: await ask({ model: "nope" }),
    streamed: await ask({ model: "nope", stream: true }),
    tools: await ask({ tools: [anthropicTool] }),
  };
}
