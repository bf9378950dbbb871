// Sends all images of a lease to the gateway, disks first, over however many connections it takes.
import type { Chunking } from '../protocol/methods.ts'
import type { Throttle } from '../protocol/host/throttle.ts'
import type { Attached } from './attachments/spool.ts'
import { uploadAttachment } from './attachments/upload.ts'
import type { Lease } from './drivers/driver.ts'
import { uploadImage } from './image/upload.ts'
import type { Pace } from './pace.ts'
import type { GatewayLink } from './session/link.ts'
import type { Traffic } from './status/traffic.ts'
import type { Steps } from './steps.ts'

export interface SendImages {
  readonly job: string
  readonly lease: Pick<Lease, 'disks'>
  readonly attached: Attached
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

/** Resolves with the bytes read of disks once all is durable at the gateway; CONNECTION_LOST when it was away for too long. */
export const sendImages = async (sending: SendImages): Promise<number> => {
  const { job, lease, attached, keys, link, throttle, signal, awayMs, steps, traffic, pace } = sending
  const onSent = (bytes: number): void => {
    traffic.sent(bytes)
    steps.sent(bytes)
  }
  let bytesRead = 0
  for (const disk of lease.disks) {
    const upload = (count: (bytes: number) => void): Promise<unknown> => {
      const onRead = (bytes: number): void => {
        bytesRead += bytes
        count(bytes)
        traffic.read(bytes)
      }
      const options = { ...keys, job, disk, throttle, signal, pace, onRead, onSent }
      return link.repeat((peer) => uploadImage({ ...options, peer }), signal, awayMs)
    }
    await steps.time('disk', upload, disk.name)
  }
  if (attached.files.length === 0) return bytesRead
  // what is read of disks is what a point costs its machine: small files do not count
  const options = { ...keys, job, throttle, signal, pace, onRead: () => {}, onSent }
  await steps.time('attachments', async () => {
    for (const file of attached.files)
      await link.repeat((peer) => uploadAttachment({ ...options, peer }, file), signal, awayMs)
  })
  return bytesRead
}
