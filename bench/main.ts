/**
 * `npm run bench [-- --rounds N] [-- --only TITLE]`: Alcove beside its peers, in one run on one machine. Prints a table and writes
 * `build/bench.json`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from '../scripts/build.ts';
import { setUp } from '../scripts/setup.ts';
import { openAlcove } from '../src/index.ts';
import { Docker } from './docker.ts';
import { keptKernel, runFloor, writeFloorInitramfs } from './floor.ts';
import { formatTable, type Measured, measure, type Row, timed } from './measure.ts';
import { findBusybox, packRootfs } from './rootfs.ts';

const { values: flags } = parseArgs({ options: { rounds: { type: 'string' }, only: { type: 'string' } } });
const memoryMiB = 256;
/** A static program that does nothing. */
const noOp = ['/bin/no-op'] as const;

setUp('test');
build();
const work = mkdtempSync(join(tmpdir(), 'alcove-bench-'));
try {
  const stateDir = join(work, 'state');
  await using alcove = await openAlcove({ stateDir });
  const busybox = findBusybox();
  const rootfsTar = await packRootfs(busybox, work);
  const image = await alcove.images.add({ kind: 'tar', path: rootfsTar }, { name: 'bench' });
  await using vm = await alcove.create({ image: 'bench', memoryMiB });
  await vm.start();
  const floor = {
    kernelPath: join(keptKernel(stateDir), 'vmlinuz'),
    initramfsPath: await writeFloorInitramfs(keptKernel(stateDir), busybox, work),
    rootfsPath: image.rootfsPath,
  };
  await using docker = await Docker.connect(rootfsTar);
  if (!docker) console.error('bench: no Docker engine can be reached; its rows are left out');

  const rows: Row[] = [
    {
      title: 'cold start to the end of the first command',
      rounds: Number(flags.rounds ?? 10),
      goals: { 'hand-written QEMU': 1.25 },
      contenders: [
        {
          name: 'alcove',
          run: async () => {
            const start = performance.now();
            await using fresh = await alcove.create({ image: 'bench', memoryMiB });
            await fresh.start();
            await fresh.exec({ command: noOp });
            return performance.now() - start;
          },
        },
        { name: 'hand-written QEMU', run: () => runFloor(floor, memoryMiB) },
        ...(docker ? [{ name: 'docker run', run: () => docker.run(noOp) }] : []),
      ],
    },
    {
      title: 'command in a running machine, round trip',
      rounds: Number(flags.rounds ?? 10),
      repeats: 20,
      goals: { 'docker exec': 0.1 },
      contenders: [
        { name: 'alcove', run: () => timed(() => vm.exec({ command: noOp })) },
        { name: 'ping of the agent', run: () => timed(() => vm.ping()) },
        ...(docker ? [{ name: 'docker exec', run: () => docker.exec(noOp) }] : []),
      ],
    },
  ];
  const measured: Measured[] = [];
  for (const row of rows.filter(({ title }) => title.includes(flags.only ?? ''))) {
    measured.push(
      await measure(row, (round) => console.error(`bench: ${row.title}: round ${round} of ${row.rounds}`)),
    );
  }
  console.log(formatTable(measured));
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
  mkdirSync(join(root, 'build'), { recursive: true });
  const report = { at: new Date().toISOString(), machine, docker: docker?.version, rows: measured };
  writeFileSync(join(root, 'build/bench.json'), `${JSON.stringify(report, undefined, 2)}\n`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
