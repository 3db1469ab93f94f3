import Anthropic from "@anthropic-ai/sdk";
import { all, first, hello, main, weather } from "./main.mjs";

const tools = [{ name: "get_weather", input_schema: weather }];

main(({ base, key, headers, retries }) => {
  const client = new Anthropic({ baseURL: base, apiKey: key, defaultHeaders: headers, maxRetries: retries });
  const asked = { model: "claude-sonnet-5-5", max_tokens: 9, messages: hello };
  const create = (more = {}) => client.messages.create({ ...asked, ...more });
  const stream = async (more = {}) => all(await create({ stream: true, ...more }));
  return {
    messages: () => create(),
    "messages stream": () => stream(),
    tools: () => create({ model: "claude-haiku-4-5", tools }),
    "tools stream": () => stream({ model: "claude-haiku-4-5", tools }),
    "stream helper": () => client.messages.stream(asked).finalMessage(),
    "error 401": () => create({ model: "rec:anthropic~error_401.json" }),
    "error 429": () => create({ model: "rec:anthropic~error_429.json" }),
    "error mid-stream": () => stream({ model: "rec:anthropic~messages_stream_error.sse" }),
    abort: async () => {
      const found = await create({ stream: true });
      return first(found, () => found.controller.abort());
    },
  };
});
