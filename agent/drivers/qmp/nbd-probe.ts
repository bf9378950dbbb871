// Checks whether an NBD server listens on a unix socket; where it must connect for that it disconnects cleanly.

import { createConnection } from 'node:net'
import { behindDoor, isListenerSeen } from '../nbd-door.ts'

/** How long a server may take to greet and to say goodbye, in milliseconds. */
const PROBE_LIMIT_MS = 2_000

/** Bytes of a newstyle greeting: NBDMAGIC, IHAVEOPT, handshake flags. */
const GREETING_BYTES = 18

/** Client flags (fixed newstyle, no zeroes), then IHAVEOPT, option ABORT, no data; without it QEMU logs an error. */
const GOODBYE = Buffer.from(['00000003', '49484156454f5054', '00000002', '00000000'].join(''), 'hex')

const accepts = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createConnection({ path })
    let connected = false
    let greetingBytes = 0
    const settle = (): void => {
      socket.destroy()
      resolve(connected)
    }
    socket.setTimeout(PROBE_LIMIT_MS, settle)
    socket.on('connect', () => {
      connected = true
    })
    socket.on('data', (chunk: Buffer) => {
      const greeted = greetingBytes >= GREETING_BYTES
      greetingBytes += chunk.length
      if (greeted) settle()
      else if (greetingBytes >= GREETING_BYTES) socket.write(GOODBYE)
    })
    socket.on('error', settle)
    socket.on('close', settle)
  })

/**
 * Whether something listens on `socketPath`, also behind a closed door; in a private folder that can only be the lease's own
 * server. It is connected to only where it cannot be seen without.
 */
export const nbdServerListens = async (socketPath: string): Promise<boolean> =>
  (await isListenerSeen(socketPath)) || (await accepts(socketPath)) || (await accepts(behindDoor(socketPath)))
