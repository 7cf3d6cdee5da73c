// Starts the program under test, with some jobs, behind a proxy that can cut connections.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// The password of every account is "secret", hashed with the lowest cost.
const hash = '$2a$04$D3SQtGh5lGZ796pzeZpMMeWlejsM.k48c5R8uYDiVOugdvl/Tk0Ua';
export const password = 'secret';

// The host name of the pages. Browsers treat localhost as secure even without TLS, so the
// tests use a name that is not: the browser resolves it to 127.0.0.1.
export const host = 'ci.internal';

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

http://:${port} {
	bind 127.0.0.1
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
				token ci a-token-for-hello
				run sh -c \`printf '\\033[1;34m==>\\033[0m hello\\n\\033[32mok\\033[0m  done\\n'\`
			}
			job nightly {
				quiet_period 1h
				schedule "H 3 29 2 *" {
					timezone Europe/Berlin
				}
				run true
			}
			job on-arm {
				quiet_period 0s
				label arm64
				run true
			}
			folder logs {
				quiet_period 0s
				job long {
					run sh -c \`
						p="of a log that is longer than a page shows at once, so that one has to look for things"
						seq -f "line %.0f $p" 1 2999
						echo "error: line 3000 $p"
						seq -f "line %.0f $p" 3001 5999
						echo "error: line 6000 $p"
						seq -f "line %.0f $p" 6001 9000
						echo 0 errors\`
				}
				job grouped {
					run sh -c \`
						echo --- Checkout; echo cloning; echo '--- a/diff.c'; sleep 0.3
						echo +++ Test; echo ::group::Unit tests
						for i in 1 2 3 4 5; do echo test $i; sleep 0.2; done
						echo ::endgroup::; echo after the group\`
				}
				job styled {
					run sh -c \`
						printf '\\033[1;34mblue '; sleep 0.3; printf 'still blue\\nnext line'; sleep 0.3; printf '\\033[0m plain\\n'
						printf '10%%\\r'; sleep 0.3; printf '100%%\\ndone gr\\303'; sleep 0.3; printf '\\274n\\n'
						printf '\\033]8;;https://example.com/'; sleep 0.3; printf 'report\\033\\\\the report\\033]8;;\\033\\\\ and https://example.com/x.\\n'
						printf '\\033[3'; sleep 0.3; printf '1mred\\033[0m\\n\\n'; printf 'a < b & "c"\\n'\`
				}
				job ci {
					param COMMIT string abc/1 {
						link https://git.example.com/c/{value}
					}
					param HOLD string
					run sh -c \`
						printf '\\033[31;1mFAIL\\033[0m  TestSomething: got 1, want 2\\n'
						sleep 1.5
						while [ -n "$HOLD" ] && ! [ -e "$HOLD" ]; do sleep 0.1; done
						exit 1\`
				}
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
				job verify {
					description "Tests a branch."
					quiet_period 0s
					param BRANCH string main
					param EXIT string 0
					run sh -c \`sleep 0.$BUILD_NUMBER; exit $EXIT\`
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

// A proxy in front that terminates TLS, as on the edge of a network.
const terminator = (dir, port, upstream) => `{
	admin off
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	storage file_system ${dir}/tls
}

https://${host}:${port} {
	bind 127.0.0.1
	tls internal
	reverse_proxy 127.0.0.1:${upstream}
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

// run starts a Caddy and returns a function that stops it.
const run = async (binary, dir, name, text, answers) => {
  const file = join(dir, name);
  writeFileSync(file, text);
  const checked = spawnSync(binary, ['validate', '--config', file, '--adapter', 'caddyfile'], { encoding: 'utf8' });
  if (checked.status !== 0) throw new Error(checked.stderr || String(checked.error));
  let output = '';
  const child = spawn(binary, ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: { ...process.env, XDG_DATA_HOME: join(dir, 'data'), XDG_CONFIG_HOME: join(dir, 'config'), HOME: dir },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.stderr.on('data', (text) => { output += text; });
  const stop = async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  };
  for (let tries = 0; ; tries++) {
    try {
      await answers();
      return stop;
    } catch {
      if (tries > 300 || child.exitCode !== null) {
        await stop();
        throw new Error(`the server does not answer:\n${output}`);
      }
      await new Promise((resolve) => { setTimeout(resolve, 100); });
    }
  }
};

// connects resolves when something accepts connections on a port.
const connects = async (port) => {
  const socket = net.connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
  } finally {
    socket.destroy();
  }
};

// start returns { url, secure, direct, cut, stop }. A browser opens url through a proxy whose
// connections cut closes, and secure through one that terminates TLS. direct is for fetch,
// which does not know the host name.
export const start = async (binary) => {
  const dir = mkdtempSync(join(tmpdir(), 'buildtoken-browser-'));
  const port = await freePort();
  // Not through the proxy: fetch can wait for ever for a connection that the proxy closes at once.
  const stopCaddy = await run(binary, dir, 'Caddyfile', caddyfile(dir, port), () => fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) }));
  const tlsPort = await freePort();
  const stopTerminator = await run(binary, dir, 'Caddyfile.tls', terminator(dir, tlsPort, port), () => connects(tlsPort));

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
  return {
    url: `http://${host}:${proxy.address().port}/ci/`,
    secure: `https://${host}:${tlsPort}/ci/`,
    direct: `http://127.0.0.1:${port}/ci/`,
    cut: () => sockets.forEach((s) => s.destroy()),
    stop: async () => {
      proxy.close();
      sockets.forEach((s) => s.destroy());
      await stopTerminator();
      await stopCaddy();
      rmSync(dir, { recursive: true, force: true });
    },
  };
};
