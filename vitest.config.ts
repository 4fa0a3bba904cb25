import { defineConfig } from 'vitest/config';

/** Tests that boot real machines: few at a time, with the patience that software emulation needs. */
const machineTests = ['test/qemu/**/*.test.ts', 'test/e2e/**/*.test.ts', 'test/conformance/qemu.test.ts'];

export default defineConfig({
  test: {
    globalSetup: ['test/no-leaks.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'logic',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts'],
          exclude: machineTests,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'machines',
          include: machineTests,
          testTimeout: 180_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
