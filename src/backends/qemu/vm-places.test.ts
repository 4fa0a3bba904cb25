import { describe, expect, it } from 'vitest';
import { vmPlaces } from './vm-places.ts';

const state = { root: '/srv/alcove', runtimeDir: '/run/alcove/0123456789ab' };
const longestId = 'a'.repeat(63);

describe('places of a VM', () => {
  it('follow from the state directory and the id alone', () => {
    expect(vmPlaces(state, 'web', '/srv/alcove/vms/web')).toEqual(
      vmPlaces(state, 'web', '/srv/alcove/vms/web'),
    );
  });

  it('have socket paths that do not grow with the id', () => {
    const short = vmPlaces(state, 'a', '/d').agentSocket;
    expect(vmPlaces(state, longestId, '/d').agentSocket).toHaveLength(short.length);
  });

  it('differ between VMs, and between state directories that share a runtime directory', () => {
    const names = [
      vmPlaces(state, 'a', '/d'),
      vmPlaces(state, 'b', '/d'),
      vmPlaces({ ...state, root: '/srv/copy' }, 'a', '/d'),
    ].flatMap(({ socketDir, processName, cgroupName }) => [socketDir, processName, cgroupName]);
    expect(new Set(names).size).toBe(9);
  });

  it('are refused when a socket path would not fit in a Unix socket address', () => {
    const runtimeDir = `/run/${'x'.repeat(80)}`;
    expect(() => vmPlaces({ ...state, runtimeDir }, 'a', '/d')).toThrow(
      expect.objectContaining({ code: 'StateUnusable', remedy: expect.stringContaining('XDG_RUNTIME_DIR') }),
    );
  });
});
