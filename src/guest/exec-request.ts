import { invalid } from './failures.ts';
import type { ExecRequest } from './guest-channel.ts';
import { tag } from './protocol.ts';
import { TlvWriter } from './wire/tlv-writer.ts';

/** The TLVs of an EXEC. @throws AlcoveError `InvalidInput` */
export function encodeExec(request: ExecRequest): Uint8Array {
  const tlvs = new TlvWriter();
  if (typeof request.command === 'string') {
    if (request.command === '') throw invalid('command', 'is empty');
    tlvs.text(tag.SHELL, 'command', request.command);
  } else {
    if (!request.command[0]) throw invalid('command', 'names no program');
    for (const argument of request.command) tlvs.text(tag.ARGV, 'command', argument);
  }
  for (const [name, value] of Object.entries(request.env ?? {})) {
    if (name === '' || name.includes('='))
      throw invalid('env', `has a name that is none: ${JSON.stringify(name)}`);
    tlvs.text(tag.ENV, 'env', `${name}=${value}`);
  }
  if (request.cwd !== undefined && !request.cwd.startsWith('/')) {
    throw invalid('cwd', `must be absolute: ${request.cwd}`);
  }
  tlvs
    .text(tag.CWD, 'cwd', request.cwd)
    .text(tag.USER, 'user', request.user)
    .u8(tag.STDIN, 'stdin', request.stdin === 'pipe' ? 1 : 0);
  if (request.pty) tlvs.u16Pair(tag.PTY, 'pty', request.pty.rows, request.pty.columns);
  return tlvs
    .u64(tag.TIMEOUT_MS, 'timeoutMs', request.timeoutMs)
    .u64(tag.GRACE_MS, 'graceMs', request.graceMs)
    .u64(tag.DRAIN_MS, 'drainMs', request.drainMs)
    .u8(tag.BACKGROUND, 'background', request.background === 'keep' ? 1 : 0)
    .text(tag.DETACHED_ID, 'detachedId', request.detachedId)
    .finish();
}

/** A command as people would name it, cut where it is long. */
export function commandLabel(command: ExecRequest['command']): string {
  const line = (typeof command === 'string' ? command : command.join(' ')).replace(/\p{C}+/gu, ' ');
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
