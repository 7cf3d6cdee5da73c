// Does what users of the npm package "jenkins" do, against the real program.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import Jenkins from "jenkins";
import { eventually, start } from "./server.mjs";

let server;
before(async () => { server = await start(); });
after(() => server?.stop());

// Returns the client as its documentation creates it. It requests a crumb before each POST.
const client = (user, root = "") => new Jenkins({ baseUrl: `http://${user}:${user}-password@${server.address}${root}` });

// begun waits until a queue item has a build, and returns the number of the build.
const begun = async (jenkins, item) =>
  eventually(`item ${item} has a build`, async () => (await jenkins.queue.item(item)).executable?.number);

// follow returns the parts in which the log arrived. onData receives the log so far.
const follow = (jenkins, name, number, onData = () => {}) => new Promise((resolve, reject) => {
  const parts = [];
  const log = jenkins.build.logStream({ name, number, delay: 20 });
  log.on("data", (text) => { parts.push(text); onData(parts.join("")); });
  log.on("error", reject);
  log.on("end", () => resolve(parts));
});

test("the server is described", async () => {
  const info = await client("bob").info();
  assert.equal(info.mode, "NORMAL");
  assert.equal(info.url, `http://${server.address}/`);
});

test("a wrong password is an error", async () => {
  const jenkins = new Jenkins({ baseUrl: `http://alice:guess@${server.address}` });
  await assert.rejects(jenkins.info(), { statusCode: 401 });
});

// The same jobs exist in several places, and must behave the same there.
for (const [where, root, folder] of [
  ["at the top", "", ""],
  ["in folders", "", "app/web/"],
  ["in folders of a server below a path", "/ci", "app/web/"],
]) {
  describe(where, () => {
    const alice = () => client("alice", root);
    const url = (name) => `http://${server.address}${root}/job/${(folder + name).split("/").join("/job/")}/`;

    test("jobs are listed and described", async () => {
      const jenkins = client("bob", root);
      const jobs = folder ? await jenkins.job.list(folder.slice(0, -1)) : await jenkins.job.list();
      assert.deepEqual(
        jobs.filter((job) => job.color).map((job) => job.name),
        ["fail", "gate", "greet", "hello", "later", "sleep"],
      );
      const hello = await jenkins.job.get(`${folder}hello`);
      assert.equal(hello.fullName, `${folder}hello`);
      assert.equal(hello.description, "says hello");
      assert.equal(hello.url, url("hello"));
      assert.equal(hello.buildable, true);
      const greet = await jenkins.job.get(`${folder}greet`);
      assert.deepEqual(
        greet.property.flatMap((p) => p.parameterDefinitions ?? []).map((p) => `${p.name} ${p.type}`),
        [
          "NAME StringParameterDefinition", "LOUD BooleanParameterDefinition",
          "TONE ChoiceParameterDefinition", "PASSPHRASE PasswordParameterDefinition",
        ],
      );
      assert.equal(await jenkins.job.exists(`${folder}hello`), true);
      assert.equal(await jenkins.job.exists(`${folder}nothing`), false);
      await assert.rejects(jenkins.job.get(`${folder}nothing`), { notFound: true });
    });

    test("a build without parameters runs to its end", async () => {
      const name = `${folder}hello`;
      const number = await begun(alice(), await alice().job.build(name));
      const log = (await follow(alice(), name, number)).join("");
      assert.equal(log, "Started by user alice\r\nhello\r\nFinished: SUCCESS\r\n");
      // After the end of the log, the result is available.
      const build = await alice().build.get(name, number);
      assert.equal(build.result, "SUCCESS");
      assert.equal(build.building, false);
      assert.equal(build.url, `${url("hello")}${number}/`);
      for (const permalink of ["lastBuild", "lastSuccessfulBuild", "lastStableBuild", "lastCompletedBuild"]) {
        assert.equal((await alice().build.get(name, permalink)).number, number);
      }
      assert.equal((await alice().job.get(name)).lastBuild.number, number);
      assert.equal(await alice().build.log(name, number), log);
      assert.match(await alice().build.log({ name, number, type: "html" }), /Started by user alice/);
      assert.match(await alice().build.log({ name, number, start: log.indexOf("hello") - 1 }), /^hello/);
      await assert.rejects(alice().build.get(name, number + 1), { notFound: true });
    });

    test("a build with parameters gets them", async () => {
      const name = `${folder}greet`;
      const item = await alice().job.build({
        name, parameters: { NAME: "Ann & Bob = 2", LOUD: false, TONE: "cold", PASSPHRASE: "abc" },
      });
      const number = await begun(alice(), item);
      const log = (await follow(alice(), name, number)).join("");
      assert.match(log, /hello, Ann & Bob = 2: false cold 3\r\n/);
      const build = await alice().build.get(name, number);
      const { parameters } = build.actions.find((action) => action.parameters);
      assert.deepEqual(
        parameters.map((p) => [p.name, p.value]),
        [["NAME", "Ann & Bob = 2"], ["LOUD", false], ["TONE", "cold"], ["PASSPHRASE", undefined]],
      );
      assert.equal(build.queueId, item);
      await assert.rejects(alice().job.build({ name, parameters: { TONE: "sour" } }));
    });

    test("a build that fails is reported", async () => {
      const name = `${folder}fail`;
      const number = await begun(alice(), await alice().job.build(name));
      assert.match((await follow(alice(), name, number)).join(""), /\nexit status 3\r\nFinished: FAILURE\r\n$/);
      assert.equal((await alice().build.get(name, "lastFailedBuild")).result, "FAILURE");
    });

    test("a log is followed while the build runs", async () => {
      const name = `${folder}gate`;
      const gate = join(server.dir, `gate-${root.length}-${folder.length}`);
      const number = await begun(alice(), await alice().job.build({ name, parameters: { GATE: gate } }));
      let opened = false;
      const parts = await follow(alice(), name, number, (text) => {
        if (opened || !text.includes("before")) return;
        opened = true;
        assert.ok(!text.includes("after"));
        writeFileSync(gate, "");
      });
      assert.equal(parts.join(""), "Started by user alice\r\nbefore\r\nafter\r\nFinished: SUCCESS\r\n");
      assert.equal((await alice().build.get(name, number)).result, "SUCCESS");
    });

    test("a build is stopped", async () => {
      const name = `${folder}sleep`;
      const number = await begun(alice(), await alice().job.build(name));
      assert.equal((await alice().build.get(name, number)).building, true);
      await alice().build.stop(name, number);
      const build = await eventually("it has ended", async () => {
        const now = await alice().build.get(name, number);
        return !now.building && now;
      });
      assert.equal(build.result, "ABORTED");
      await alice().build.stop(name, number); // no error, although it has stopped
      await assert.rejects(alice().build.stop(name, number + 1), { notFound: true });
      await assert.rejects(client("bob", root).build.stop(name, number));
    });

    test("a queued item is cancelled", async () => {
      const name = `${folder}later`;
      const item = await alice().job.build(name);
      const queued = (await alice().queue.list()).find(({ id }) => id === item);
      assert.match(queued.why, /^In the quiet period\./);
      assert.equal(queued.task.url, url("later"));
      assert.equal((await alice().job.get(name)).inQueue, true);
      assert.equal(await alice().job.build(name), item, "an equal item is joined, not refused");
      await assert.rejects(client("bob", root).queue.cancel(item));
      await alice().queue.cancel(item);
      assert.deepEqual(await alice().queue.list(), []);
      const left = await alice().queue.item(item);
      assert.equal(left.cancelled, true);
      assert.ok(!left.executable);
      await assert.rejects(alice().queue.cancel(item), /failed to cancel/);
    });

    test("a token stands for the right to build, and a delay for the quiet period", async () => {
      const name = `${folder}gate`, jenkins = client("bob", root), parameters = { GATE: "/nowhere" };
      await assert.rejects(jenkins.job.build({ name, parameters }), { statusCode: 403 });
      await assert.rejects(jenkins.job.build({ name, parameters, token: "wrong" }), { statusCode: 403 });
      const item = await jenkins.job.build({ name, parameters, token: "gate-token", delay: "3600sec" });
      const { why, timestamp, inQueueSince } = await jenkins.queue.item(item);
      assert.match(why, /^In the quiet period\./);
      assert.equal(timestamp - inQueueSince, 3600_000);
      await alice().queue.cancel(item);
    });
  });
}
