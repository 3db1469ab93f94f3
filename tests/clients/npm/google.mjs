import { GoogleGenAI } from "@google/genai";
import { all, main } from "./main.mjs";

main(({ base, key, headers }) => {
  const client = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: base, headers } });
  const asked = { model: "gemini-3.8-flash", contents: "x" };
  const said = ({ sdkHttpResponse, ...answer }) => answer; // the transport's headers, Date among them, aside
  return {
    generate: async () => said(await client.models.generateContent(asked)),
    "generate stream": async () => (await all(await client.models.generateContentStream(asked))).map(said),
    "error 429": () => client.models.generateContent({ ...asked, model: "rec:gemini~error_429.json" }),
  };
});
