import { expect } from 'vitest';
import { AlcoveError, type ErrorCode } from '../../src/errors.ts';
import type { BackendCapabilities, VmInfo, VmRuntime, VmSpec } from '../../src/vm/index.ts';

/** What the suite needs of a backend: a runtime over a state directory, and an image to boot. */
export interface ConformanceHarness {
  /** Opens a runtime over the harness's state directory; after a close, another one over the same. */
  open(): Promise<VmRuntime>;
  /** Reference of an image with a busybox: the suite runs the lines of `guest-lines.ts`. */
  readonly image: string;
  /** Shape of every VM of the suite. @default the runtime's */
  readonly spec?: Partial<VmSpec>;
  /** Lets so much time pass in the guests. @default it passes by itself */
  passTime?(ms: number): Promise<void>;
  /** Removes the state directory. The runtime is closed by then, and every VM destroyed. */
  cleanUp(): Promise<void>;
}

/** What a group of the suite works with. */
export interface Suite {
  readonly harness: ConformanceHarness;
  /** The current one. */
  readonly runtime: VmRuntime;
  readonly capabilities: BackendCapabilities;
  create(id: string, spec?: Partial<VmSpec>): Promise<VmInfo>;
  /** Creates and starts. */
  boot(id: string, spec?: Partial<VmSpec>): Promise<VmInfo>;
  /** What a line prints, when it ends well. */
  run(id: string, line: string): Promise<string>;
  /** As an engine that ends and another that begins on the same directory. */
  reopen(): Promise<VmRuntime>;
}

/** Asserts that a call is refused with a code, and with these details. */
export async function expectRefusal(
  call: Promise<unknown>,
  code: ErrorCode,
  details?: Record<string, unknown>,
): Promise<void> {
  const error = await call.then(
    (value) => new Error(`expected ${code}, but it succeeded with ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof AlcoveError)) throw error;
  expect({ code: error.code, details: error.details ?? {} }).toMatchObject({ code, details: details ?? {} });
}
