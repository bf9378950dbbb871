// What the form of stored chunks costs and gives: ways to compress the bench's image, each over the same pieces in turns.
import { constants } from 'node:zlib'
import { open } from 'node:fs/promises'
import { randomBytesOf } from './random.ts'
import { CHUNK_BYTES_DEFAULT } from '../../protocol/chunk.ts'
import { ownBytes } from '../../protocol/host/bytes.ts'
import { compressed, compressionOf, decompressed, type Compression } from '../../protocol/host/zstd.ts'
import { benchImage } from './image.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB

/** Bytes that are read at once, and all that is looked at, but for zeroes. */
const PIECE_BYTES = 16 * MIB
const LOOKED_AT_BYTES = 512 * MIB
const QUICK_BYTES = 16 * MIB

const RANDOM_BYTES = 32 * MIB

/** zstd's level with tables of so many entries, as powers of two, in a window of as many bytes as a frame has. */
const level = (
  number: number,
  tables?: { readonly hash: number; readonly chain: number; readonly window: number },
): Compression => ({
  [constants.ZSTD_c_compressionLevel]: number,
  ...(tables === undefined
    ? {}
    : {
        [constants.ZSTD_c_windowLog]: tables.window,
        [constants.ZSTD_c_hashLog]: tables.hash,
        [constants.ZSTD_c_chainLog]: tables.chain,
      }),
})

interface Way {
  readonly title: string
  readonly frameBytes: number
  readonly compression: Compression
}

const way = (kib: number, title: string, compression: Compression): Way => ({
  title: `${kib} KiB, ${title}`,
  frameBytes: kib * KIB,
  compression,
})

const ALONE = way(64, 'as a chunk alone', compressionOf(64 * KIB))
const TOGETHER = way(256, 'as a bundle of four', compressionOf(256 * KIB))

const WAYS: readonly Way[] = [
  ALONE,
  TOGETHER,
  way(64, 'level 3', level(3)),
  way(128, 'level 1', level(1)),
  way(256, 'level 1', level(1)),
  way(256, 'level 2', level(2)),
  way(256, 'level 3', level(3)),
  way(256, 'level 3, tables of 2^14', level(3, { hash: 14, chain: 14, window: 18 })),
  way(512, 'level 3, tables of 2^15', level(3, { hash: 15, chain: 15, window: 19 })),
]

interface Counted {
  compressSeconds: number
  decompressSeconds: number
  plainBytes: number
  storedBytes: number
  /** Of the plain bytes, those that did not compress. */
  rawBytes: number
}

const cpuSeconds = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1e6
}

/** Compresses a piece that lies at `offset` of its disk in frames that begin at multiples of their size, and back. */
const count = (counted: Counted, piece: Uint8Array, offset: number, { frameBytes, compression }: Way): void => {
  const frames: { readonly frame: Uint8Array; readonly plainLength: number }[] = []
  const beganAt = cpuSeconds()
  for (let at = 0; at < piece.length;) {
    const end = Math.min(piece.length, at + frameBytes - ((offset + at) % frameBytes))
    const plain = piece.subarray(at, end)
    const frame = compressed(plain, compression)
    if (frame === null) counted.rawBytes += plain.length
    else frames.push({ frame: ownBytes(frame), plainLength: plain.length })
    counted.storedBytes += frame?.length ?? plain.length
    at = end
  }
  const packedAt = cpuSeconds()
  for (const { frame, plainLength } of frames) decompressed(frame, plainLength)
  counted.compressSeconds += packedAt - beganAt
  counted.decompressSeconds += cpuSeconds() - packedAt
  counted.plainBytes += piece.length
}

/** Runs of chunks that are not zero, of at most PIECE_BYTES. */
async function* pieces(file: string, size: number): AsyncGenerator<{ offset: number; bytes: Uint8Array }> {
  await using handle = await open(file)
  const zeroes = Buffer.alloc(CHUNK_BYTES_DEFAULT)
  for (let at = 0; at < size; at += PIECE_BYTES) {
    const bytes = Buffer.alloc(Math.min(PIECE_BYTES, size - at))
    await handle.read(bytes, 0, bytes.length, at)
    let from = 0
    for (let chunk = 0; chunk <= bytes.length; chunk += CHUNK_BYTES_DEFAULT) {
      const isData = chunk < bytes.length && !bytes.subarray(chunk, chunk + CHUNK_BYTES_DEFAULT).equals(zeroes)
      if (isData) continue
      if (chunk > from) yield { offset: at + from, bytes: bytes.subarray(from, chunk) }
      from = chunk + CHUNK_BYTES_DEFAULT
    }
  }
}

const counters = (): Counted[] =>
  WAYS.map(() => ({ compressSeconds: 0, decompressSeconds: 0, plainBytes: 0, storedBytes: 0, rawBytes: 0 }))

const megabytes = (bytes: number, seconds: number): string => (seconds === 0 ? '-' : (bytes / 1e6 / seconds).toFixed(0))

const rowsOf = (all: readonly Counted[]): string[][] =>
  all.map((one, index) => [
    WAYS[index]!.title,
    megabytes(one.plainBytes, one.compressSeconds),
    megabytes(one.plainBytes - one.rawBytes, one.decompressSeconds),
    ((100 * one.storedBytes) / one.plainBytes).toFixed(2),
    ((100 * one.storedBytes) / all[0]!.storedBytes).toFixed(1),
  ])

export const run = async (context: ScenarioContext): Promise<Report> => {
  const { cache, quick, rounds, signal, say } = context
  const { raw, size } = await benchImage(cache, (quick ? 1 : 4) * GIB, signal)
  const [programs, random] = [counters(), counters()]
  const most = quick ? QUICK_BYTES : LOOKED_AT_BYTES
  for (let round = 0; round < (quick ? 1 : rounds); round++) {
    say(`round ${round + 1}`)
    let seen = 0
    for await (const { offset, bytes } of pieces(raw, size)) {
      signal.throwIfAborted()
      for (const [index, one] of WAYS.entries()) count(programs[index]!, bytes, offset, one)
      if ((seen += bytes.length) >= most) break
    }
    const noise = randomBytesOf(round, quick ? MIB : RANDOM_BYTES)
    for (const [index, one] of WAYS.entries()) count(random[index]!, noise, 0, one)
  }
  const of = (way: Way): Counted => programs[WAYS.indexOf(way)]!
  const speed = ({ plainBytes, compressSeconds }: Counted): number => plainBytes / compressSeconds
  const heading = ['frame', 'compress, MB/s', 'decompress, MB/s', 'size, %', 'of a chunk alone, %']
  return {
    tables: [
      { title: 'Programs and libraries', heading, rows: rowsOf(programs) },
      { title: 'Random bytes', heading, rows: rowsOf(random) },
    ],
    goals: [
      judge('stored bytes, bundles / chunks alone', of(TOGETHER).storedBytes / of(ALONE).storedBytes, { atMost: 0.92 }),
      judge('speed of compressing, bundles / chunks alone', speed(of(TOGETHER)) / speed(of(ALONE)), null),
    ],
    notes: [
      'MB of plain bytes for each CPU second of one thread, with contexts that live; all ways in turns over the same pieces.',
    ],
    details: { ways: WAYS.map(({ title }) => title), programs, random },
  }
}
