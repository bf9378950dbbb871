// Drills as tests tell them, without having made one.
import { deflateSync } from 'node:zlib'
import type { DrillOutcome } from '../../protocol/drills.ts'

export const drillOutcome = (rest: Partial<DrillOutcome> = {}): DrillOutcome => ({
  verdict: 'passed',
  reason: 'its guest agent answered',
  check: 'guest-agent',
  host: 'h1',
  startedMs: 1,
  firmwareMs: 2,
  evidenceMs: 3,
  durationMs: 4,
  bootLimitMs: 5,
  accelerator: 'tcg',
  memoryBytes: 6,
  cpus: 1,
  bytesReceived: 7,
  bytesWritten: 8,
  remarks: ['its TPM was left out'],
  ...rest,
})

export const FAILED: Partial<DrillOutcome> = { verdict: 'failed', evidenceMs: null, reason: 'it said nothing' }

const part = (type: string, data: Uint8Array): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  return Buffer.concat([length, Buffer.from(type), data, Buffer.alloc(4)])
}

/** A picture of one pixel that is taken; larger by so many bytes. */
export const drillPicture = (more = 0): Uint8Array => {
  const header = Buffer.alloc(13)
  header.set([0, 0, 0, 1, 0, 0, 0, 1, 8, 2])
  const parts = [part('IHDR', header), part('IDAT', deflateSync(Buffer.alloc(4))), part('IDAT', Buffer.alloc(more))]
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return new Uint8Array(Buffer.concat([signature, ...parts, part('IEND', Buffer.alloc(0))]))
}
