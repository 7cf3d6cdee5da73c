// Starts the program that is to be tested, with jobs to look at, behind a
// proxy that can cut connections.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The password of every account is "secret"; the cost is the lowest there is.
const hash = '$2a$04$D3SQtGh5lGZ796pzeZpMMeWlejsM.k48c5R8uYDiVOugdvl/Tk0Ua';
export const password = 'secret';

const caddyfile = (dir, port) => `{
	admin off
	persist_config off
	auto_https off
	storage file_system ${dir}/caddy
	build_token {
		queue bolt ${dir}/queue.db
		executors 2
		shutdown_timeout 1s
	}
}

http://127.0.0.1:${port} {
	handle_path /ci/* {
		@people not path /buildByToken/* */badge/icon.svg
		basic_auth @people {
			alice ${hash}
			rita ${hash}
		}
		build_token {
			access {
				build \`user == "alice"\`
				cancel \`user == "alice"\`
			}
			quiet_period 1s
			job hello {
				description "Says hello in colour."
				badge
				run sh -c \`printf '\\033[1;34m==>\\033[0m hello\\n\\033[32mok\\033[0m  done\\n'\`
			}
			job nightly {
				quiet_period 1h
				run true
			}
			folder app {
				job deploy {
					description "Puts the application on a stage."
					param BRANCH string main {
						description "What to build: a branch or a tag."
					}
					param STAGE choice development staging production
					param DRY_RUN boolean true
					param NOTES text
					param API_KEY password
					run sh -c \`
						for i in $(seq 1 40); do
							printf '\\033[1;34m==> Step %d\\033[0m of 40 on %s\\n' "$i" "$STAGE"
							printf 'Copying 10%%\\rCopying 60%%\\rCopying 100%%\\n\\033[32mok\\033[0m   package %d\\n' "$i"
							sleep 0.1
						done\`
				}
				job test {
					run sh -c \`printf '\\033[31;1mFAIL\\033[0m  TestSomething: got 1, want 2\\n'; exit 2\`
				}
				job old {
					disabled
					run true
				}
				folder mobile {
					job android {
						run sh -c \`echo compiling; sleep 600\`
					}
					job soak {
						concurrent
						param NOTE string
						run sleep 600
					}
					job long {
						run seq -f "line %.0f of a log so long that its first part is only shown on demand, to keep the page light" 1 120000
					}
				}
			}
		}
	}
}
`;

const freePort = async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
};

// start gives { url, cut, stop }.
export const start = async (binary) => {
  const dir = mkdtempSync(join(tmpdir(), 'buildtoken-browser-'));
  const port = await freePort();
  const file = join(dir, 'Caddyfile');
  writeFileSync(file, caddyfile(dir, port));
  const checked = spawnSync(binary, ['validate', '--config', file, '--adapter', 'caddyfile'], { encoding: 'utf8' });
  if (checked.status !== 0) throw new Error(checked.stderr || String(checked.error));
  let output = '';
  const child = spawn(binary, ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: { ...process.env, XDG_DATA_HOME: join(dir, 'data'), XDG_CONFIG_HOME: join(dir, 'config'), HOME: dir },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.stderr.on('data', (text) => { output += text; });

  // Not through the proxy: a connection that it closes at once may leave fetch waiting for ever.
  for (let tries = 0; ; tries++) {
    try {
      await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) });
      break;
    } catch {
      if (tries > 300 || child.exitCode !== null) throw new Error(`the server does not answer:\n${output}`);
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }

  const sockets = new Set();
  const proxy = net.createServer((client) => {
    const server = net.connect(port, '127.0.0.1');
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = `http://127.0.0.1:${proxy.address().port}/ci/`;
  return {
    url,
    cut: () => sockets.forEach((s) => s.destroy()),
    stop: async () => {
      proxy.close();
      sockets.forEach((s) => s.destroy());
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      rmSync(dir, { recursive: true, force: true });
    },
  };
};
