import { describe, expect, it } from 'vitest';
import { machinePlaces } from './vm-places.ts';

const state = { root: '/srv/alcove', runtimeDir: '/run/alcove/0123456789ab' };
const longestId = 'a'.repeat(63);

describe('places of a machine', () => {
  it('follow from the state directory and its name alone', () => {
    expect(machinePlaces(state, 'web', '/srv/alcove/vms/web/machine')).toEqual(
      machinePlaces(state, 'web', '/srv/alcove/vms/web/machine'),
    );
  });

  it('have socket paths that do not grow with the name', () => {
    const short = machinePlaces(state, 'a', '/d').agentSocket;
    expect(machinePlaces(state, longestId, '/d').agentSocket).toHaveLength(short.length);
  });

  it('differ between machines, and between state directories that share a runtime directory', () => {
    const names = [
      machinePlaces(state, 'a', '/d'),
      machinePlaces(state, 'b', '/d'),
      machinePlaces({ ...state, root: '/srv/copy' }, 'a', '/d'),
    ].flatMap(({ socketDir, processName, cgroupName }) => [socketDir, processName, cgroupName]);
    expect(new Set(names).size).toBe(9);
  });

  it('are refused when a socket path would not fit in a Unix socket address', () => {
    const runtimeDir = `/run/${'x'.repeat(80)}`;
    expect(() => machinePlaces({ ...state, runtimeDir }, 'a', '/d')).toThrow(
      expect.objectContaining({ code: 'StateUnusable', remedy: expect.stringContaining('XDG_RUNTIME_DIR') }),
    );
  });
});
