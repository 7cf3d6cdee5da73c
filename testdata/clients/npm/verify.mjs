// Verifies signatures with the reference library of Standard Webhooks, for cmd/torture. It reads
// lines of JSON, { secret, headers, body }, and answers each with one line: "ok", or why the
// library refuses it. It ends with its input.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  let answer = "ok";
  try {
    new Webhook(secret).verify(body, headers);
  } catch (err) {
    answer = String(err).replaceAll("\n", " ");
  }
  process.stdout.write(answer + "\n");
}
