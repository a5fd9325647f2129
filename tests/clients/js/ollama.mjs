// Ollama's npm package.
import { Ollama } from "ollama";

const client = (url) => new Ollama({ host: url });
const GREEDY = { temperature: 0, num_predict: 200 };
const failure = (error) => ({ name: error.name, status: error.status_code, message: error.message });

async function all(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export async function chat(url, { capital }) {
  const request = { model: "plain", messages: capital, options: GREEDY };
  const whole = await client(url).chat(request);
  const parts = await all(await client(url).chat({ ...request, stream: true }));
  const generated = await client(url).generate({ model: "plain", prompt: capital[0].content, options: GREEDY });
  return { whole, parts, generated };
}

export async function thinking(url, { capital }) {
  const request = { model: "spark", messages: capital, options: GREEDY };
  const on = await client(url).chat({ ...request, think: true });
  const off = await client(url).chat({ ...request, think: false });
  const parts = await all(await client(url).chat({ ...request, think: true, stream: true }));
  return { on: on.message, off: off.message, parts: parts.map((part) => part.message) };
}

export async function tools(url, { weather, tool }) {
  const request = { model: "spark", messages: weather, tools: [tool], think: false, options: GREEDY };
  const { message } = await client(url).chat(request);
  const parts = await all(await client(url).chat({ ...request, stream: true }));
  const result = { role: "tool", tool_name: "get_weather", content: "18 C and sunny" };
  const answer = await client(url).chat({ ...request, messages: [...weather, message, result] });
  const streamed = parts.flatMap((part) => part.message.tool_calls ?? []);
  return { calls: message.tool_calls, streamed, answer: answer.message.content };
}

export async function structured(url, { capital, schema }) {
  const got = await client(url).chat({ model: "plain", messages: capital, format: schema, options: GREEDY });
  return JSON.parse(got.message.content);
}

export async function embed(url, { sky }) {
  return (await client(url).embed({ model: "minilm", input: sky })).embeddings;
}

export async function images(url, { pictures }) {
  const look = async (model, picture) => {
    const messages = [{ role: "user", content: "What is this?", images: [picture] }];
    return await client(url).chat({ model, messages, options: { ...GREEDY, num_predict: 12 } });
  };
  const seen = [await look("eyes", pictures[0]), await look("eyes", pictures[1])];
  const refused = await look("plain", pictures[0]).catch(failure);
  return { texts: seen.map((one) => one.message.content), counts: seen.map((one) => one.prompt_eval_count), refused };
}

export async function models(url) {
  const ollama = client(url);
  const listed = (await ollama.list()).models.map((model) => model.name);
  const { capabilities } = await ollama.show({ model: "spark" });
  const states = [];
  for await (const state of await ollama.create({ model: "js-made", from: "plain", system: "Hi", stream: true }))
    states.push(state.status);
  const made = (await ollama.show({ model: "js-made" })).modelfile;
  const deleted = (await ollama.delete({ model: "js-made" })).status;
  const missing = await ollama.show({ model: "js-made" }).catch(failure);
  await ollama.generate({ model: "native", prompt: "", keep_alive: "5m" });
  const loaded = (await ollama.ps()).models.map((model) => model.name);
  await ollama.generate({ model: "native", prompt: "", keep_alive: 0 });
  const unloaded = (await ollama.ps()).models.map((model) => model.name);
  return { listed, capabilities, states, made, deleted, missing, loaded, unloaded };
}

export async function broken(url, { endless }) {
  const ollama = client(url);
  const stream = await ollama.chat({ model: "endless", messages: endless, stream: true });
  for await (const part of stream) {
    ollama.abort();
    return part.message.content.length;
  }
}

export async function timeout(url, { endless }) {
  const hasty = new Ollama({
    host: url,
    fetch: (address, init) => fetch(address, { ...init, signal: AbortSignal.timeout(500) }),
  });
  return await hasty.chat({ model: "endless", messages: endless }).catch(failure);
}

export async function errors(url, { capital, tool }) {
  const nope = await client(url).chat({ model: "nope", messages: capital }).catch(failure);
  const tools = await client(url).chat({ model: "plain", messages: capital, tools: [tool] }).catch(failure);
  return { nope, tools };
}
