import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { all, main, weather } from "./main.mjs";

const tools = {
  get_weather: tool({ inputSchema: jsonSchema(weather), execute: async ({ city }) => `rain in ${city}` }),
};

// What the model said and what it cost, without the ids and times that the SDK makes up.
const said = ({ text, usage, totalUsage, finishReason, toolCalls, toolResults, steps }) => ({
  text,
  usage,
  totalUsage,
  finishReason,
  calls: toolCalls?.map(({ toolName, input }) => ({ toolName, input })),
  steps: steps?.map((step) => [step.text, step.usage, step.toolCalls.map((one) => one.input), step.toolResults.map((one) => one.output)]),
});

main(({ base, key, headers, retries }) => {
  const options = { baseURL: base, apiKey: key, headers };
  const openai = () => createOpenAI(options);
  const anthropic = () => createAnthropic(options);
  const generate = async (model, more = {}) => said(await generateText({ model, prompt: "Hello", maxRetries: retries, ...more }));
  const stream = async (model) => {
    const errors = [];
    const found = streamText({ model, prompt: "Hello", maxRetries: retries, onError: ({ error }) => errors.push(error) });
    const pieces = await all(found.textStream);
    if (errors.length) throw errors[0];
    return { pieces, usage: await found.usage, finishReason: await found.finishReason };
  };
  const agent = { tools, stopWhen: stepCountIs(3) };
  return {
    "openai chat": () => generate(openai().chat("gpt-4o-mini")),
    "openai chat stream": () => stream(openai().chat("gpt-4o-mini")),
    "openai responses": () => generate(openai()("gpt-6.1-terra")),
    "openai agent": () => generate(openai().chat("gpt-4o-mini"), agent),
    "openai error": () => generate(openai().chat("rec:openai~error_503.json")),
    anthropic: () => generate(anthropic()("claude-sonnet-5-5")),
    "anthropic stream": () => stream(anthropic()("claude-sonnet-5-5")),
    "anthropic agent": () => generate(anthropic()("claude-haiku-4-5"), agent),
    "anthropic error": () => generate(anthropic()("rec:anthropic~error_401.json")),
  };
});
