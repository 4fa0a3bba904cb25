import type { Pipeline } from 'alcove';

/** Tests and packs table-facts. What the install depends on is a folder of its own, so a changed source file does not repeat it. */
export default {
  name: 'npm-package',
  steps: {
    install: {
      from: { image: 'alcove-examples' },
      limits: { memoryMiB: 512 },
      inject: { from: 'install', to: '/package' },
      workdir: '/package',
      command: 'npm ci',
    },
    check: {
      from: { step: 'install' },
      inject: [
        { from: 'lib', to: '/package/lib' },
        { from: 'bin', to: '/package/bin' },
      ],
      workdir: '/package',
      // That it loads, with what it depends on.
      command: ['node', '--input-type=module', '--eval', "import 'table-facts'"],
    },
    test: {
      from: { step: 'check' },
      inject: { from: 'test', to: '/package/test' },
      workdir: '/package',
      command: 'node --test --test-reporter=spec test/',
      timeoutMs: 300_000,
    },
    pack: {
      from: { step: 'check' },
      after: ['test'],
      workdir: '/package',
      command: 'npm pack',
    },
  },
} satisfies Pipeline;
