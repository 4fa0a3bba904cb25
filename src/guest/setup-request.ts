import { invalid } from './failures.ts';
import type {
  GuestIdentity,
  GuestNetwork,
  GuestRehearsal,
  GuestRenewal,
  GuestSetup,
} from './guest-channel.ts';
import { tag } from './protocol.ts';
import { TlvWriter } from './wire/tlv-writer.ts';

/** The TLVs of a SETUP. @throws AlcoveError `InvalidInput` */
export function encodeSetup(request: GuestSetup): TlvWriter {
  return encodeRenewal(encodeRehearsal(request), request);
}

/** The TLVs of a REHEARSE, which a SETUP begins with. @throws AlcoveError `InvalidInput` */
export function encodeRehearsal({ lowerSerial, upperSerial }: GuestRehearsal): TlvWriter {
  return new TlvWriter()
    .text(tag.LOWER_SERIAL, 'lowerSerial', lowerSerial)
    .text(tag.UPPER_SERIAL, 'upperSerial', upperSerial);
}

/** What SETUP and RENEW have in common. @throws AlcoveError `InvalidInput` */
export function encodeRenewal(tlvs: TlvWriter, request: GuestRenewal): TlvWriter {
  encodeIdentity(tlvs, request.identity)
    .u64(tag.UNIX_NS, 'unixMs', toUnixNs(request.unixMs))
    .bytes(tag.ENTROPY, 'entropy', request.entropy);
  return request.network ? encodeNetwork(tlvs, request.network) : tlvs;
}

export function encodeIdentity(tlvs: TlvWriter, identity: GuestIdentity): TlvWriter {
  return tlvs
    .text(tag.HOSTNAME, 'hostname', identity.hostname)
    .text(tag.MACHINE_ID, 'machineId', identity.machineId);
}

export function encodeNetwork(tlvs: TlvWriter, network: GuestNetwork): TlvWriter {
  tlvs.text(tag.ADDRESS, 'address', network.address).text(tag.GATEWAY, 'gateway', network.gateway);
  for (const server of network.dns) tlvs.text(tag.DNS, 'dns', server);
  return tlvs.text(tag.MAC, 'mac', network.mac);
}

/** Ms since the epoch, as nanoseconds; kept to the microsecond, which is what a number that large holds. */
export function toUnixNs(unixMs: number): bigint {
  if (!Number.isFinite(unixMs) || unixMs < 0) throw invalid('unixMs', `is no time: ${unixMs}`);
  return BigInt(Math.round(unixMs * 1_000)) * 1_000n;
}
