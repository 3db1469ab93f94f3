import { Mistral } from "@mistralai/mistralai";
import { HTTPClient } from "@mistralai/mistralai/lib/http.js";
import { all, hello, main } from "./main.mjs";

main(({ base, key, headers }) => {
  const httpClient = new HTTPClient(); // it knows no default headers
  httpClient.addHook("beforeRequest", (request) => {
    for (const [name, value] of Object.entries(headers)) request.headers.set(name, value);
  });
  const client = new Mistral({ apiKey: key, serverURL: base, httpClient });
  const asked = { model: "mistral-medium-3.5", messages: hello };
  return {
    chat: () => client.chat.complete(asked),
    "chat stream": async () => all(await client.chat.stream(asked)),
    "error 429": () => client.chat.complete({ ...asked, model: "rec:mistral~error_429.json" }),
  };
});
