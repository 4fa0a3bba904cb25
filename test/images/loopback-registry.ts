import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { runTool } from '../../src/host/index.ts';

/** A registry on loopback, plain HTTP, ended with the test. */
export interface LoopbackRegistry extends AsyncDisposable {
  /** `127.0.0.1:port` */
  host: string;
  /** Pushes an image, or index, of an OCI layout as it is. */
  push(layout: string, tag: string, to: string): Promise<void>;
  /** What has been asked of it since the last call, e.g. `GET /v2/a/blobs/sha256:…`. */
  takeRequests(): Promise<string[]>;
}

/** Starts Debian's docker-registry over a folder of `dir`. */
export async function startRegistry(dir: string): Promise<LoopbackRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
  mkdirSync(join(dir, 'registry'));
  const config = join(dir, 'registry.json'); // JSON is YAML.
  writeFileSync(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'info', formatter: 'json', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(dir, 'registry') }, delete: { enabled: true } },
      http: { addr: host },
    }),
  );
  const child = spawn('docker-registry', ['serve', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'close');
  let requests: string[] = [];
  const waiting = new Map<string, () => void>();
  let markers = 0;
  await listening(child, (request) => {
    const resolve = waiting.get(request);
    if (resolve) resolve();
    else requests.push(request);
  });
  return {
    host,
    push: async (layout, tag, to) => {
      const from = `oci:${layout}:${tag}`;
      const args = [
        'copy',
        '--all',
        '--preserve-digests',
        '--dest-tls-verify=false',
        from,
        `docker://${host}/${to}`,
      ];
      await runTool('skopeo', ['--insecure-policy', ...args]);
      requests = [];
    },
    takeRequests: async () => {
      // Requests are logged in order, a moment after they are answered: wait for the line of one of our own.
      const marker = `GET /v2/?marker=${markers++}`;
      const logged = new Promise<void>((resolve) => waiting.set(marker, resolve));
      await fetch(`http://${host}${marker.slice('GET '.length)}`);
      await logged;
      const taken = requests;
      requests = [];
      return taken;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Resolves when the registry says that it listens; goes on reading its log, so that it never blocks. */
async function listening(child: ChildProcess, onRequest: (request: string) => void): Promise<void> {
  if (!child.stderr) throw new Error('the registry has no log');
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr ?? process.stdin }).on('line', (line) => {
      said.push(line);
      if (line.includes('listening on')) resolve();
      const [, method] = /"http.request.method":"(\w+)"/.exec(line) ?? [];
      const [, uri] = /"http.request.uri":"([^"]+)"/.exec(line) ?? [];
      if (line.includes('response completed') && method && uri) onRequest(`${method} ${uri}`);
    });
    child.once('close', () => reject(new Error(`the registry ended: ${said.join('\n')}`)));
    child.once('error', reject);
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
