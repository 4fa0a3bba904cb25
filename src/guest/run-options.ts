import type { ExecRequest } from './guest-channel.ts';

/** {@link ExecRequest} with how its output is kept and what to do about failure. */
export interface RunOptions extends ExecRequest {
  signal?: AbortSignal;
  /** Kept output per stream: the first and last halves of so many bytes. @default 1 MiB */
  maxOutputBytes?: number;
  onStdout?: (chunk: Uint8Array) => void | Promise<void>;
  onStderr?: (chunk: Uint8Array) => void | Promise<void>;
  /** Bytes for the command's standard input. */
  input?: AsyncIterable<Uint8Array> | Uint8Array | string;
  /** What a non-zero exit is. @default 'value' */
  nonZeroExit?: 'value' | 'error';
}
