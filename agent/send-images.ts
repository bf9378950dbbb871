// Sends all images of a lease to the gateway, disks first, over however many connections it takes.
import type { Chunking } from '../protocol/methods.ts'
import type { Peer } from '../protocol/peer.ts'
import type { Throttle } from '../protocol/host/throttle.ts'
import type { Announcement } from './announcement.ts'
import type { Attached } from './attachments/spool.ts'
import { uploadAttachment } from './attachments/upload.ts'
import type { Lease } from './drivers/driver.ts'
import { discardUnasked } from './image/discard-unasked.ts'
import { uploadImage } from './image/upload-disk.ts'
import type { Pace } from './pace.ts'
import type { GatewayLink } from './session/link.ts'
import type { Traffic } from './status/traffic.ts'
import type { Steps } from './steps.ts'

export interface SendImages {
  readonly job: string
  readonly lease: Pick<Lease, 'disks'>
  /** A limit for what is read of disks. */
  readonly readThrottle: Throttle
  readonly attached: Attached
  readonly announcement: Announcement
  readonly keys: Chunking
  readonly link: GatewayLink
  readonly throttle: Throttle
  readonly signal: AbortSignal
  /** How long the gateway may be away, in milliseconds. */
  readonly awayMs: number
  readonly steps: Steps
  readonly traffic: Traffic
  readonly pace: Pace
}

/** Does works beside one another: the first that fails ends the others, and is thrown once all of them have ended. */
const together = async (
  signal: AbortSignal,
  ...works: readonly ((signal: AbortSignal) => Promise<void>)[]
): Promise<void> => {
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  await Promise.all(works.map((work) => work(either).catch((thrown: unknown) => failed.abort(thrown))))
  failed.signal.throwIfAborted()
}

/**
 * Resolves with the bytes read of disks once all is durable at the gateway; CONNECTION_LOST when it was away for too long. Small
 * files go beside the disks: over a long link each takes as many round trips as a disk.
 */
export const sendImages = async (sending: SendImages): Promise<number> => {
  const { job, lease, attached, announcement, keys, link, throttle, signal, awayMs, steps, traffic, pace } = sending
  const { readThrottle } = sending
  const onSent = (bytes: number): void => {
    traffic.sent(bytes)
    steps.sent(bytes)
  }
  const repeat = (signal: AbortSignal, work: (peer: Peer, signal: AbortSignal) => Promise<void>): Promise<void> =>
    link.repeat((peer) => announcement.before(peer, signal, (until) => work(peer, until)), signal, awayMs)
  let bytesRead = 0
  const sendDisks = async (signal: AbortSignal): Promise<void> => {
    await discardUnasked(lease, keys.chunkBytes)
    for (const disk of lease.disks) {
      const upload = (count: (bytes: number) => void): Promise<unknown> => {
        const onRead = (bytes: number): void => {
          bytesRead += bytes
          count(bytes)
          traffic.read(bytes)
        }
        const options = { ...keys, job, disk, throttle, readThrottle, pace, onRead, onSent }
        return repeat(signal, (peer, signal) => uploadImage({ ...options, peer, signal }))
      }
      await steps.time('disk', upload, disk.name)
    }
  }
  const sendFiles = async (signal: AbortSignal): Promise<void> => {
    if (attached.files.length === 0) return
    // what is read of disks is what a point costs its machine: small files do not count
    const options = { ...keys, job, throttle, pace, onRead: () => {}, onSent }
    await steps.time('attachments', async () => {
      for (const file of attached.files)
        await repeat(signal, (peer, signal) => uploadAttachment({ ...options, peer, signal }, file))
    })
  }
  await together(signal, sendDisks, sendFiles)
  // where there was nothing to send
  await repeat(signal, async () => {})
  return bytesRead
}
