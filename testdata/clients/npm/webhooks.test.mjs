// Deliveries that the libraries of senders sign, against the real program.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { start } from "./server.mjs";

// As in the Caddyfile.
const secret = "hook-secret";
const signing = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

let server;
before(async () => { server = await start(); });
after(() => server?.stop());

// deliver sends a body as it was signed, and returns { status, text, location }.
const deliver = async (job, body, headers, path = `/buildByToken/webhook?job=${job}`) => {
  const answer = await fetch(`http://${server.address}${path}`, { method: "POST", body, headers, redirect: "manual" });
  return { status: answer.status, text: await answer.text(), location: answer.headers.get("location") };
};

// A push with characters that break servers which decode a body before they hash it.
const push = (branch, id = "1") => JSON.stringify({
  ref: `refs/heads/${branch}`, before: "a1", after: `b${id}`, repository: { full_name: "shop/api" },
  sender: { login: "octavia" }, head_commit: { id: `b${id}`, message: "Serve tea 🚀 é \u2028 <b>" },
}, null, 2);

const github = async (body, id) => ({
  "content-type": "application/json", "x-github-event": "push", "x-github-delivery": id, "x-hub-signature-256": await sign(secret, body),
});
const standard = (webhook, id, body, at = new Date()) => ({
  "content-type": "application/json", "webhook-id": id, "webhook-timestamp": String(Math.floor(at / 1000)), "webhook-signature": webhook.sign(id, at, body),
});

describe("@octokit/webhooks-methods", () => {
  test("a signed push starts a build", async () => {
    const body = push("main");
    const first = await deliver("hooked/github", body, await github(body, "1"));
    assert.equal(first.status, 201, first.text);
    assert.match(first.text, /^hooked\/github: queued as item \d+\n$/);
    assert.match(first.location, /\/queue\/item\/\d+\/$/);
    const again = await deliver("hooked/github", body, await github(body, "1"));
    assert.equal(again.status, 200, "redelivery");
    assert.equal(again.text, first.text.replace("queued as", "delivered before,"));
  });

  test("another branch is ignored", async () => {
    const body = push("feature");
    assert.deepEqual(await deliver("hooked/github", body, await github(body, "2")), { status: 200, text: "ignored\n", location: null });
  });

  test("the address of Jenkins' plugin works", async () => {
    const body = push("main", "2");
    const answer = await deliver("", body, await github(body, "3"), "/github-webhook/");
    assert.ok([200, 201].includes(answer.status), answer.text);
  });

  test("a form is signed as it is sent", async () => {
    const body = new URLSearchParams({ payload: push("main", "4") }).toString();
    const headers = { ...await github(body, "4"), "content-type": "application/x-www-form-urlencoded" };
    const answer = await deliver("hooked/github", body, headers);
    assert.ok([200, 201].includes(answer.status), answer.text);
  });

  test("a changed body is refused", async () => {
    const body = push("main");
    assert.equal((await deliver("hooked/github", body + " ", await github(body, "5"))).status, 403);
  });

  test("a body without a signature is refused", async () => {
    assert.equal((await deliver("hooked/github", push("main"), { "x-github-event": "push" })).status, 403);
    assert.equal((await deliver("hooked/github", push("main"), { "x-github-event": "push", "x-hub-signature-256": "" })).status, 403);
  });
});

describe("standardwebhooks", () => {
  test("a signed message starts a build", async () => {
    const body = JSON.stringify({ type: "contact.created" });
    const answer = await deliver("hooked/standard", body, standard(new Webhook(signing), "msg_1", body));
    assert.equal(answer.status, 201, answer.text);
  });

  test("GitLab's signing token is the same", async () => {
    const body = JSON.stringify({ object_kind: "push", ref: "refs/heads/main", before: "a1", after: "b2" });
    const answer = await deliver("hooked/gitlab", body, standard(new Webhook(signing), "msg_2", body));
    assert.equal(answer.status, 201, answer.text);
  });

  test("an old message, one from the future, and one under another ID are refused", async () => {
    const body = "{}", webhook = new Webhook(signing);
    for (const off of [-360_000, 360_000]) {
      assert.equal((await deliver("hooked/standard", body, standard(webhook, "msg_3", body, new Date(Date.now() + off)))).status, 403);
    }
    assert.equal((await deliver("hooked/standard", body, { ...standard(webhook, "msg_4", body), "webhook-id": "msg_5" })).status, 403);
  });
});

describe("stripe", () => {
  const header = (payload, options = {}) => new Stripe("sk_test_1").webhooks.generateTestHeaderString({ payload, secret, ...options });

  test("a signed event starts a build, and comes again", async () => {
    const body = JSON.stringify({ id: "evt_1", object: "event", type: "payment_intent.succeeded" }, null, 2);
    assert.equal((await deliver("hooked/stripe", body, { "stripe-signature": header(body) })).status, 201);
    const again = await deliver("hooked/stripe", body, { "stripe-signature": header(body) });
    assert.equal(again.status, 200);
    assert.match(again.text, /delivered before/);
  });

  test("another type is ignored, and an old event refused", async () => {
    const body = JSON.stringify({ id: "evt_2", object: "event", type: "charge.failed" });
    assert.equal((await deliver("hooked/stripe", body, { "stripe-signature": header(body) })).text, "ignored\n");
    const timestamp = Math.floor(Date.now() / 1000) - 360;
    assert.equal((await deliver("hooked/stripe", body, { "stripe-signature": header(body, { timestamp }) })).status, 403);
  });
});

// Gitea signs the JSON inside a form, which no library for senders does.
test("Gitea's form", async () => {
  const payload = push("main", "6");
  const answer = await deliver("hooked/gitea", new URLSearchParams({ payload }).toString(), {
    "content-type": "application/x-www-form-urlencoded", "x-gitea-event": "push",
    "x-gitea-signature": createHmac("sha256", secret).update(payload).digest("hex"),
  });
  assert.equal(answer.status, 201, answer.text);
});
