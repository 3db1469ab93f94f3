// A program's argument ({call, ways: [{base, key, headers, retries}]}) in; what came of the call each way out as JSON:
// its result, or its error's name and status.
export const hello = [{ role: "user", content: "Hello" }];
export const weather = { type: "object", properties: { city: { type: "string" } } };

export async function all(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

// The first of a stream; then the client leaves.
export async function first(stream, leave) {
  for await (const one of stream) {
    leave();
    return one;
  }
}

// `calls`: way => {name: () => promise}
export async function main(calls) {
  const { call, ways } = JSON.parse(process.argv[2]);
  const answers = [];
  for (const way of ways) answers.push(await answer(calls(way)[call]));
  process.stdout.write(JSON.stringify(answers) + "\n", () => process.exit(0));
}

async function answer(call) {
  try {
    return { result: (await call()) ?? null };
  } catch (error) {
    return {
      error: {
        name: error.constructor.name,
        status: error.status ?? error.statusCode ?? null,
        message: error.message,
        retry_after: error.headers?.get?.("retry-after") ?? error.responseHeaders?.["retry-after"] ?? null,
      },
    };
  }
}
