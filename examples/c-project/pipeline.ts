import type { Pipeline } from 'alcove';

/** Builds and tests wordfreq. Each step sees only the folders that are injected into it and into those that it starts from. */
export default {
  name: 'c-project',
  steps: {
    build: {
      from: { image: 'alcove-examples' },
      limits: { memoryMiB: 512 },
      inject: { from: 'src', to: '/project/src' },
      workdir: '/project/src',
      command: 'make',
    },
    'unit-tests': {
      from: { step: 'build' },
      inject: { from: 'test/unit', to: '/project/test/unit' },
      workdir: '/project/test/unit',
      command: 'make test',
      timeoutMs: 300_000,
    },
    'command-tests': {
      from: { step: 'build' },
      inject: { from: 'test/command', to: '/project/test/command' },
      workdir: '/project/test/command',
      command: ['./check.sh', '/project/src/wordfreq'],
      timeoutMs: 300_000,
    },
    analyze: {
      from: { step: 'build' },
      workdir: '/project/src',
      command: 'make analyze',
    },
    install: {
      from: { step: 'build' },
      after: ['unit-tests', 'command-tests', 'analyze'],
      workdir: '/project/src',
      command: 'make install && wordfreq -n 5 *.c',
    },
  },
} satisfies Pipeline;
