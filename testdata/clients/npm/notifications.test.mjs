// Notifications of the real program, received by the reference library of Standard Webhooks and
// by a real mail server.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SMTPServer } from "smtp-server";
import { Webhook } from "standardwebhooks";
import { start } from "./server.mjs";

const oldSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const newSecret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const password = "p@ss/w:?#% ü";

const dir = mkdtempSync(join(tmpdir(), "buildtoken-notify-"));
const events = []; // { headers, body } of the receiver
const mails = []; // { text, user, secure, to } of the mail servers
let refuse = 0; // how many mails are refused at first
let server, receiver, mailServers;

// arrived waits until a list has an element that matches, and returns it.
async function arrived(list, fits, what) {
  for (const end = Date.now() + 30_000; Date.now() < end; await pause(20)) {
    const found = list.find(fits);
    if (found) return found;
  }
  throw new Error(`${what} did not arrive; there are ${JSON.stringify(list)}; log: ${log().slice(-4000)}`);
}

const log = () => readFileSync(join(server.dir, "log"), "utf8");
const trigger = async (job, query = "") => {
  const answer = await fetch(`http://${server.address}/buildByToken/build${query ? "WithParameters" : ""}?job=${job}&token=TacoTuesday${query}`);
  assert.equal(answer.status, 201, await answer.text());
};

function mailServer(options) {
  return new SMTPServer({
    ...options,
    authOptional: true,
    onAuth: (auth, _, done) => (auth.username === "ci" && auth.password === password ? done(null, { user: "ci" }) : done(new Error("535 wrong"))),
    onData(stream, session, done) {
      let text = "";
      stream.setEncoding("utf8").on("data", (part) => { text += part; }).on("end", () => {
        mails.push({
          text: text.replaceAll("\r\n", "\n"), user: session.user, secure: Boolean(session.secure), refused: refuse > 0,
          to: session.envelope.rcptTo.map((r) => r.address),
        });
        done(refuse-- > 0 ? Object.assign(new Error("try again"), { responseCode: 451 }) : null);
      });
    },
    logger: false,
  });
}

before(async () => {
  const key = join(dir, "key.pem"), cert = join(dir, "cert.pem");
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], { stdio: "ignore" });
  const tls = { key: readFileSync(key), cert: readFileSync(cert) };
  receiver = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    events.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
    response.end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  mailServers = [mailServer({ ...tls, secure: true }), mailServer(tls), mailServer({ hideSTARTTLS: true, disabledCommands: ["AUTH"] })];
  const ports = [];
  for (const one of mailServers) {
    one.on("error", () => {}); // the client may close the connection
    await new Promise((listening) => one.listen(0, "localhost", listening));
    ports.push(one.server.address().port);
  }
  server = await start({
    config: fileURLToPath(new URL("Caddyfile.notify", import.meta.url)),
    env: {
      EVENTS_URL: `http://127.0.0.1:${receiver.address().port}/events`, OLD_SECRET: oldSecret, NEW_SECRET: newSecret,
      SMTP_PASSWORD: password, SMTPS_PORT: String(ports[0]), SMTP_PORT: String(ports[1]), PLAIN_PORT: String(ports[2]), SSL_CERT_FILE: cert,
    },
  });
});
after(async () => {
  await server?.stop();
  receiver?.close();
  for (const one of mailServers ?? []) one.close();
  rmSync(dir, { recursive: true, force: true });
});

describe("standardwebhooks", () => {
  test("verifies what the program signs, with the old and the new secret", async () => {
    await trigger("events", "&BRANCH=é%20%22%0A");
    const last = await arrived(events, (e) => e.body.includes("build.ended"), "the event");
    for (const secret of [newSecret, oldSecret]) {
      const event = new Webhook(secret).verify(last.body, last.headers);
      assert.equal(event.type, "build.ended");
      assert.equal(event.data.result, "SUCCESS");
      assert.equal(event.data.build_url, "https://ci.example.com/job/events/1/");
      assert.deepEqual(event.data.parameters, { BRANCH: 'é "\n' });
    }
    assert.throws(() => new Webhook(newSecret).verify(last.body + " ", last.headers));
    assert.throws(() => new Webhook("whsec_" + "A".repeat(32)).verify(last.body, last.headers));
    const order = events.map((e) => JSON.parse(e.body).data.sequence);
    assert.deepEqual(order, order.toSorted((a, b) => a - b));
  });

  test("the example in Python verifies it too", async () => {
    const last = await arrived(events, (e) => e.body.includes("build.ended"), "the event");
    const document = readFileSync(fileURLToPath(new URL("../../../docs/notifications.md", import.meta.url)), "utf8");
    const [, example] = document.match(/```python\n([^]*?)```/);
    const check = (body) => spawnSync("python3", ["-c", `${example}
import json, sys
given = json.load(sys.stdin)
print(verify(given["secret"], given["headers"], given["body"].encode()))`], { input: JSON.stringify({ secret: newSecret, headers: last.headers, body }), encoding: "utf8" });
    assert.equal(check(last.body).stdout, "True\n");
    assert.equal(check(last.body.replace("SUCCESS", "FAILURE")).stdout, "False\n");
  });
});

describe("smtp-server", () => {
  const header = (mail, name) => mail.text.match(new RegExp(`^${name}: (.*(?:\n .*)*)`, "mi"))?.[1];

  test("takes mails over TLS, with a password, in a thread for each job", async () => {
    refuse = 1;
    await trigger("mails/implicit");
    const refused = await arrived(mails, (m) => m.refused, "the first attempt");
    const first = await arrived(mails, (m) => !m.refused, "the second attempt");
    assert.ok(first.secure);
    assert.equal(first.user, "ci");
    assert.deepEqual(first.to, ["dev@example.com", "ops+ci@example.com"]);
    assert.equal(header(first, "Message-ID"), header(refused, "Message-ID"));
    assert.match(header(first, "Message-ID"), /^<msg_[\w-]+@example\.com>$/);
    assert.equal(header(first, "From"), '"Builds" <ci@example.com>');
    assert.match(header(first, "Subject"), /^mails\/implicit #1 failed \(/);
    assert.equal(header(first, "Auto-Submitted"), "auto-generated");
    assert.match(first.text, /\nAddress: +https:\/\/ci\.example\.com\/job\/mails\/job\/implicit\/1\/\n/);
    assert.match(first.text, /The end of the log:\n\n  84\n[^]*  100\n  =C3=A9\n  exit status 3\n  Finished: FAILURE\n/);
    assert.ok(!first.text.includes("\n  83\n"));
    await trigger("mails/implicit");
    const second = await arrived(mails, (m) => m.text.includes("implicit #2"), "the second mail");
    assert.notEqual(header(second, "Message-ID"), header(first, "Message-ID"));
    assert.equal(header(second, "References"), header(first, "References"));
    assert.equal(header(second, "In-Reply-To"), header(first, "In-Reply-To"));
  });

  test("takes mails after STARTTLS", async () => {
    await trigger("mails/starttls");
    const mail = await arrived(mails, (m) => m.text.includes("mails/starttls #1"), "the mail");
    assert.ok(mail.secure);
    assert.equal(mail.user, "ci");
  });

  test("receives no mails without TLS, unless that is configured", async () => {
    await trigger("mails/plain");
    const mail = await arrived(mails, (m) => m.text.includes("mails/plain #1"), "the mail");
    assert.ok(!mail.secure);
    await arrived([true], () => log().includes("the mail server has no STARTTLS; use smtps, or tls=off"), "the line of the log");
    assert.equal(mails.filter((m) => m.text.includes("mails/plain")).length, 1);
  });

  test("refuses a wrong password, which no log shows", async () => {
    await trigger("mails/wrong");
    await arrived([true], () => log().includes("535 (the mail server refused the user or the password)"), "the line of the log");
    for (const secret of [password, oldSecret, newSecret]) assert.ok(!log().includes(secret) && !log().includes(encodeURIComponent(secret)));
  });
});
