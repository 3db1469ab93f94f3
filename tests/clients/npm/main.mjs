// A program's argument ({call, base, key, headers}) in; the call's result, or its error's name and status, out as JSON.
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

// `calls`: asked => {name: () => promise}
export async function main(calls) {
  const asked = JSON.parse(process.argv[2]);
  let answer;
  try {
    answer = { result: (await calls(asked)[asked.call]()) ?? null };
  } catch (error) {
    answer = {
      error: {
        name: error.constructor.name,
        status: error.status ?? error.statusCode ?? null,
        message: error.message,
        retry_after: error.headers?.get?.("retry-after") ?? error.responseHeaders?.["retry-after"] ?? null,
      },
    };
  }
  process.stdout.write(JSON.stringify(answer) + "\n", () => process.exit(0));
}
