import OpenAI from "openai";
import { all, first, hello, main, weather } from "./main.mjs";

const tools = [{ type: "function", function: { name: "get_weather", parameters: weather } }];

main(({ base, key, headers, retries }) => {
  const client = new OpenAI({ baseURL: base, apiKey: key, defaultHeaders: headers, maxRetries: retries });
  const create = (more = {}) => client.chat.completions.create({ model: "gpt-4o-mini", messages: hello, ...more });
  const stream = async (more = {}) => all(await create({ stream: true, ...more }));
  const usage = { stream_options: { include_usage: true } };
  return {
    chat: () => create(),
    "chat stream": () => stream(),
    "chat stream with usage": () => stream(usage),
    tools: () => create({ tools }),
    "tools stream": () => stream({ tools, ...usage }),
    "stream helper": () => client.chat.completions.stream({ model: "gpt-4o-mini", messages: hello }).finalChatCompletion(),
    responses: () => client.responses.create({ model: "gpt-6.1-terra", input: "x" }),
    "responses stream": async () => all(await client.responses.create({ model: "gpt-6.1-terra", input: "x", stream: true })),
    embeddings: () => client.embeddings.create({ model: "text-embedding-3-small", input: "x" }),
    "error 401": () => create({ model: "rec:openai~error_401.json" }),
    "error 429": () => create({ model: "rec:openai~error_429.json" }),
    "error 503": () => create({ model: "rec:openai~error_503.json" }),
    "error mid-stream": () => stream({ model: "rec:openai~chat_stream_error.sse" }),
    abort: async () => {
      const found = await create({ stream: true });
      return first(found, () => found.controller.abort());
    },
  };
});
