import type { VmRuntime } from '../../src/vm/index.ts';

/** Files that tell who a machine is, and so differ between copies. */
const own = ['hostname', 'hosts', 'machine-id', 'resolv.conf']
  .map((name) => `-path /etc/${name}`)
  .join(' -o ');

/** Digest of the whole tree, names and bytes, and of a file that only memory has. */
const digestCommand = `
cd /
tree() { find . -xdev \\( ${own.replaceAll('/etc', './etc')} \\) -prune -o "$@"; }
tree -print | sort | sha256sum
tree -type f -print | sort | xargs sha256sum | sha256sum
sha256sum /dev/shm/secret`;

/** Runs a line in a VM that must end well. */
export async function sh(runtime: VmRuntime, id: string, line: string): Promise<string> {
  const { exitCode, stdout, stderr } = await runtime.exec(id, { command: line });
  if (exitCode !== 0) throw new Error(`${line} ended with ${exitCode}: ${stderr}`);
  return String(stdout);
}

/** Gives a VM files of its own on disk and in memory, and a process that counts in memory. */
export async function furnish(runtime: VmRuntime, id: string): Promise<void> {
  const make =
    'mkdir -p /root/tree && head -c 300000 /dev/urandom > /root/tree/file && head -c 300000 /dev/urandom > /dev/shm/secret && sync';
  await sh(runtime, id, make);
  await runtime.spawn(id, {
    command:
      'i=0; while :; do i=$((i + 1)); echo $i > /dev/shm/next; mv /dev/shm/next /dev/shm/count; usleep 20000; done',
    detachedId: 'counter',
  });
  await sh(runtime, id, 'until test -s /dev/shm/count; do usleep 5000; done');
}

export async function digestOf(runtime: VmRuntime, id: string): Promise<string> {
  return sh(runtime, id, digestCommand);
}

/** How far the process has come that counts in memory. @param beyond waits until it is further than that */
export async function countOf(runtime: VmRuntime, id: string, beyond = 0): Promise<number> {
  const line = `until test $(cat /dev/shm/count) -gt ${beyond}; do usleep 5000; done; cat /dev/shm/count`;
  return Number(await sh(runtime, id, line));
}
