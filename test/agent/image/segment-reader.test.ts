// What reading segments asks of a disk: how much at once, and what that costs a real server in memory that is faulted in.
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { READ_BYTES, READS_MAX, SegmentReader } from '../../../agent/image/segment-reader.ts'
import { SEGMENT_READ_BYTES, type ChunkRun } from '../../../agent/image/segments.ts'
import { NbdClient } from '../../../agent/nbd/client.ts'
import { tempFolder } from '../../support/temp.ts'
import { startQemuNbd } from '../nbd/qemu-nbd.ts'

const CHUNK = 64 * 1024
const SEGMENT_CHUNKS = SEGMENT_READ_BYTES / CHUNK
const PAGE_BYTES = 4096

/** A reader of a disk that answers only when it is told to. */
class HeldDisk {
  readonly reads: { readonly offset: number; readonly length: number; readonly answer: () => void }[] = []
  readonly reader: SegmentReader

  constructor(size: number) {
    const readInto = (offset: number, bytes: Buffer): Promise<void> =>
      new Promise((resolve) => this.reads.push({ offset, length: bytes.length, answer: resolve }))
    this.reader = new SegmentReader({ size, chunkBytes: CHUNK, idKey: new Uint8Array(32), readInto })
  }

  /** Answers the reads that are under way, and gives their lengths. */
  async answer(): Promise<number[]> {
    const reads = this.reads.splice(0)
    for (const { answer } of reads) answer()
    await new Promise((resolve) => setImmediate(resolve))
    return reads.map(({ length }) => length)
  }
}

const whole = (position: number, count = SEGMENT_CHUNKS): ChunkRun[] => [{ kind: 'read', position, count }]

test('reads the first long range by one request and all others by shorter ones, a segment of them at once', async () => {
  const disk = new HeldDisk(5 * SEGMENT_READ_BYTES)
  const short = disk.reader.read(0, whole(0, SEGMENT_CHUNKS / 2), false)
  const long = disk.reader.read(1, whole(SEGMENT_CHUNKS), false)
  const later = disk.reader.read(2, whole(2 * SEGMENT_CHUNKS), false)
  expect(await disk.answer()).toEqual(Array.from({ length: SEGMENT_READ_BYTES / 2 / READ_BYTES }, () => READ_BYTES))
  await short
  expect(await disk.answer()).toEqual([SEGMENT_READ_BYTES])
  await long
  expect(await disk.answer()).toEqual(Array.from({ length: SEGMENT_READ_BYTES / READ_BYTES }, () => READ_BYTES))
  await later
  expect(disk.reads).toEqual([])
})

test('reads scattered chunks in their order, so many at once', async () => {
  const disk = new HeldDisk(4 * SEGMENT_READ_BYTES)
  const runs = Array.from({ length: SEGMENT_CHUNKS }, (_, at): ChunkRun => ({
    kind: 'read',
    position: at * 2,
    count: 1,
  }))
  const read = disk.reader.read(0, runs, false)
  const [first] = disk.reads
  first!.answer()
  await new Promise((resolve) => setImmediate(resolve))
  // each that is answered lets in another
  expect(disk.reads.map(({ offset }) => offset)).toEqual(
    Array.from({ length: READS_MAX + 1 }, (_, at) => at * 2 * CHUNK),
  )
  await disk.answer()
  await disk.answer()
  expect((await read).zero).toHaveLength(SEGMENT_CHUNKS)
})

const faultsOf = async (pid: number): Promise<number> => {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[7])
}

test('the server keeps the memory of requests: far fewer pages are faulted in than are read', async () => {
  await using temp = await tempFolder()
  const segments = 32
  const size = segments * SEGMENT_READ_BYTES
  await writeFile(temp.join('disk.raw'), randomBytes(size))
  await using nbd = await startQemuNbd(temp, '--read-only', '--format=raw', temp.join('disk.raw'))
  await using client = await NbdClient.connect({ socketPath: nbd.socketPath, exportName: 'disk', contexts: [] })
  const readInto = (offset: number, bytes: Buffer): Promise<void> => client.readInto(offset, bytes)
  const reader = new SegmentReader({ size, chunkBytes: CHUNK, idKey: new Uint8Array(32), readInto })
  const before = await faultsOf(nbd.pid)
  // as a thread of an upload does it: several at once
  let next = 0
  const lane = async (): Promise<void> => {
    for (let number = next++; number < segments; number = next++)
      await reader.read(number, whole(number * SEGMENT_CHUNKS), false)
  }
  await Promise.all([lane(), lane(), lane(), lane()])
  expect(((await faultsOf(nbd.pid)) - before) * PAGE_BYTES).toBeLessThan(size / 2)
})
