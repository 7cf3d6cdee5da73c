// Starts one Caddy with a separate data directory for a test.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";

// The longest time in milliseconds that a test waits for anything.
const patience = 30_000;

const caddyfile = fileURLToPath(new URL("../Caddyfile", import.meta.url));

// The program under test: BUILDTOKEN_BINARY, or one that is built here.
let built;
function binary() {
  if (process.env.BUILDTOKEN_BINARY) return process.env.BUILDTOKEN_BINARY;
  if (!built) {
    const dir = mkdtempSync(join(tmpdir(), "buildtoken-"));
    process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
    built = join(dir, "caddy");
    const root = fileURLToPath(new URL("../../..", import.meta.url));
    const { status, stderr } = spawnSync("go", ["build", "-o", built, "./cmd/caddy"], { cwd: root });
    if (status !== 0) throw new Error(`go build: ${stderr}`);
  }
  return built;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// start returns { address, dir, stop }: host and port, a directory for the files of the test,
// and a function that stops the server. config is the Caddyfile, env more of its environment.
export async function start({ config = caddyfile, env = {} } = {}) {
  const address = `127.0.0.1:${await freePort()}`;
  const dir = mkdtempSync(join(tmpdir(), "buildtoken-"));
  const log = join(dir, "log");
  const output = openSync(log, "a");
  const caddy = spawn(binary(), ["run", "--config", config, "--adapter", "caddyfile"], {
    cwd: dir,
    env: {
      ...process.env,
      ...env,
      BUILDTOKEN_ADDRESS: address,
      HOME: dir,
      XDG_DATA_HOME: join(dir, "data"),
      XDG_CONFIG_HOME: join(dir, "config"),
    },
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  const ended = once(caddy, "exit");

  async function stop() {
    caddy.kill("SIGTERM"); // not SIGKILL, so that it ends its builds too
    const alarm = setTimeout(() => caddy.kill("SIGKILL"), patience);
    const [status, signal] = await ended;
    clearTimeout(alarm);
    const text = readFileSync(log, "utf8");
    rmSync(dir, { recursive: true, force: true });
    if (status !== 0) throw new Error(`Caddy ended with ${status ?? signal}:\n${text.slice(-4000)}`);
  }
  try {
    await eventually("Caddy answers", async () => {
      if (caddy.exitCode !== null) throw new Error("Caddy has ended");
      return fetch(`http://${address}/`).then(() => true, () => false);
    });
  } catch (err) {
    await stop();
    throw err;
  }
  return { address, dir, stop };
}

// eventually repeats ask until its answer is truthy, and returns the answer. Only asking reveals
// what another process has done.
export async function eventually(what, ask) {
  for (const deadline = Date.now() + patience; Date.now() < deadline; await after(20)) {
    const answer = await ask();
    if (answer) return answer;
  }
  throw new Error(`not true after ${patience} ms: ${what}`);
}
