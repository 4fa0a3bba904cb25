import { randomBytes } from 'node:crypto';
import type { SyncAcks } from './connection.ts';
import { breach } from './failures.ts';
import type { GuestHello } from './guest-channel.ts';
import { nonceBytes, protocolVersion, tag } from './protocol.ts';
import { required, TlvReader } from './wire/tlv-reader.ts';

/** Where the counter stands in a nonce; what is before it is random, and the same for one connection. */
const counterOffset = nonceBytes - 4;

/** The SYNCs of one connection: any of them may be the one that is answered first, and the others still follow. */
export class Handshake implements SyncAcks {
  /** The first answer's TLVs. */
  readonly answered: Promise<Buffer>;
  readonly #answered = Promise.withResolvers<Buffer>();
  readonly #prefix = randomBytes(counterOffset);
  #sent = 0;

  constructor() {
    this.answered = this.#answered.promise;
  }

  /** Payload of the next SYNC, with a nonce of its own. */
  nextSync(): Buffer {
    const payload = Buffer.allocUnsafe(nonceBytes + 4);
    payload.set(this.#prefix);
    payload.writeUInt32LE(this.#sent++, counterOffset);
    payload.writeUInt32LE(protocolVersion, nonceBytes);
    return payload;
  }

  accept(payload: Uint8Array): 'in-step' | 'hunting' {
    if (!this.isOurs(payload)) return 'hunting';
    this.#answered.resolve(Buffer.from(payload.subarray(nonceBytes)));
    return 'in-step';
  }

  isOurs(payload: Uint8Array): boolean {
    if (payload.length < nonceBytes) return false;
    const nonce = Buffer.from(payload.subarray(0, nonceBytes));
    return (
      nonce.readUInt32LE(counterOffset) < this.#sent && this.#prefix.equals(nonce.subarray(0, counterOffset))
    );
  }

  /** What the agent says of itself. @throws AlcoveError `GuestProtocol` */
  hello(answer: Buffer): GuestHello {
    const tlvs = new TlvReader(answer);
    const protocol = required(tlvs.u32(tag.PROTOCOL), 'its protocol version');
    if (protocol !== protocolVersion) {
      throw breach(`protocol version ${protocol}; this program speaks ${protocolVersion}`);
    }
    const bootId = required(tlvs.text(tag.BOOT_ID, 64), 'its boot id');
    if (!/^[0-9a-f]{32}$/.test(bootId)) throw breach('a boot id that is none');
    return {
      protocol,
      agentVersion: required(tlvs.text(tag.VERSION, 64), 'its version'),
      bootId,
      ready: tlvs.u8(tag.READY) === 1,
      kernelRelease: tlvs.text(tag.KERNEL, 128) ?? '',
    };
  }
}
