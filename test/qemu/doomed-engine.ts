/** An engine that makes and starts one VM, says how far it has come, and is killed by the test at some point. */
import { readFileSync } from 'node:fs';
import { createQemuBackend } from '../../src/backends/qemu/index.ts';
import { run, startRequest } from './in-guest.ts';

const { stateDir, create } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const backend = createQemuBackend({ stateDir, accel: 'tcg' });
const vm = await backend.create(create);
await vm.start(startRequest(), { onProgress: (step) => process.stdout.write(`${step}\n`) });
await run(vm, 'echo before > /root/from-before; sync');
process.stdout.write('up\n');
setInterval(() => undefined, 1000);
