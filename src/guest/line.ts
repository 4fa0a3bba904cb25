import { connect, type Socket } from 'node:net';
import { FrameDecoder } from './wire/frame-decoder.ts';

/** A connected socket that reads straight into its decoder's buffer. */
export class Line {
  readonly decoder = new FrameDecoder();
  /** Told how many bytes were read into the decoder's space. */
  onRead: (count: number) => void = () => {};
  #socket: Socket | undefined;

  /** The socket, once {@link connect} has resolved. */
  get socket(): Socket {
    if (!this.#socket) throw new TypeError('the line is not connected');
    return this.#socket;
  }

  /** Tries once. Rejects with the system's error. */
  connect(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({
        path,
        onread: {
          buffer: () => this.decoder.space(),
          callback: (count) => {
            this.onRead(count);
            return true;
          },
        },
      });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        this.#socket = socket;
        resolve();
      });
    });
  }
}
