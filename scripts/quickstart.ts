/** From a fresh clone to a command in a machine of its own: sets up, builds, and shows what Alcove does, step by step. */
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { build, root } from './build.ts';
import { setUp } from './setup.ts';

const place = join(root, 'build/quickstart');
const vm = `quick-${process.pid}`;
const started = performance.now();
const steps: { title: string; seconds: number }[] = [];

await step('Set up: system packages and build', () => {
  setUp('run');
  build();
});

await step('What is here: alcove doctor', () => alcove(['doctor']));

await step('A command inside its own kernel', async () => {
  const output = await alcove(['run', '--', 'uname', '-a']);
  assert(!output.includes(release()), 'the guest has a kernel of its own');
  say(`this host runs ${release()}; the command above ran in another kernel, in a machine that is gone now`);
});

await step('Files copied in and out', async () => {
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFileSync(join(place, 'words.txt'), 'a microVM for every session\n');
  const count = 'wc -w < /tmp/words.txt > /tmp/count.txt';
  const input = 'build/quickstart/words.txt';
  const result = 'build/quickstart/count.txt';
  const copies = ['--copy-in', `${input}:/tmp/words.txt`, '--copy-out', `/tmp/count.txt:${result}`];
  await alcove(['run', ...copies, '--', 'sh', '-c', count]);
  assert((await shell(['cat', result])).trim() === '5', 'the guest counted the words');
});

await step('A step that is not run twice, and why it would be', async () => {
  mkdirSync(join(place, 'src'), { recursive: true });
  writeFileSync(join(place, 'src', 'words.txt'), 'a microVM for every session\n');
  const flags = ['--inject', 'build/quickstart/src'];
  const command = ['--', 'sh', '-c', 'sleep 1; wc -w < words.txt; cat /proc/sys/kernel/random/uuid'];
  const first = await alcove(['run', '--auto-key', ...flags, ...command]);
  const second = await alcove(['run', '--auto-key', ...flags, ...command]);
  assert(first === second, 'the second run is the first one again');
  writeFileSync(join(place, 'src', 'words.txt'), 'a microVM for every single session\n');
  const why = await alcove(['cache', 'explain', ...flags, ...command]);
  assert(why.includes('words.txt'), 'the file that makes the difference is named');
});

await step('A VM that stays', async () => {
  await alcove(['vm', 'create', '--id', vm, '--start']);
  await alcove(['exec', vm, '--', 'sh', '-c', 'echo "written once" > /note; cat /note']);
});

await step('A timeout that kills the whole process tree', async () => {
  const tree = 'setsid sleep 1001 & (trap "" TERM; sleep 1002) & sleep 1003';
  await alcove(['exec', '--timeout', '1s', vm, '--', 'sh', '-c', tree], 124);
  const processes = await alcove(['exec', vm, '--', 'sh', '-c', "ps -o pid,args | grep -v '\\['"]);
  assert(!processes.includes('sleep 100'), 'nothing of the command is alive');
});

await step('A snapshot, and two forks of it', async () => {
  await alcove(['vm', 'snapshot', vm, '--id', 'first']);
  await alcove(['vm', 'fork', vm, '--count', '2', '--id', `${vm}-a`, '--id', `${vm}-b`]);
  await alcove(['exec', `${vm}-a`, '--', 'sh', '-c', 'echo "changed in a" > /note']);
  const note = await alcove(['exec', `${vm}-b`, '--', 'cat', '/note']);
  assert(note.includes('written once'), 'a fork does not see what another one writes');
});

await step('Clean up', async () => {
  for (const id of [vm, `${vm}-a`, `${vm}-b`]) await alcove(['vm', 'destroy', id]);
});

const total = ((performance.now() - started) / 1000).toFixed(1);
console.log(`\nHow long it took (${total} s in all):`);
for (const { title, seconds } of steps) console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${title}`);
console.log(`
What to try next:
  npx alcove run -it -- sh                         a shell in a machine that is gone when you leave it
  npx alcove image import ROOTFS.tar --name mine   your own root filesystem
  npx alcove run --image mine -- CMD
  npx alcove --help                                everything else; docs/ has a guide`);

async function step(title: string, work: () => unknown): Promise<void> {
  console.log(`\n── ${title}`);
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1000;
  steps.push({ title, seconds });
  console.log(`   (${seconds.toFixed(1)} s)`);
}

/** Runs the CLI of this clone, showing the command as a user would type it; ends the quickstart when it exits otherwise than expected. */
function alcove(args: string[], expected = 0): Promise<string> {
  say(`$ alcove ${args.map((a) => (/^[\w@%+=:,./-]+$/.test(a) ? a : `'${a}'`)).join(' ')}`);
  return shell([join(root, 'bin/alcove.js'), ...args], expected);
}

async function shell([command = '', ...args]: string[], expected = 0): Promise<string> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    output += chunk;
    process.stdout.write(chunk);
  }
  const code =
    child.exitCode ?? (await new Promise<number>((done) => child.once('exit', (c) => done(c ?? -1))));
  assert(code === expected, `it exits with ${expected} (it did with ${code})`);
  return output;
}

function assert(holds: boolean, what: string): void {
  if (holds) return;
  console.error(`quickstart: expected that ${what}`);
  process.exit(1);
}

function say(line: string): void {
  console.log(`   ${line}`);
}
