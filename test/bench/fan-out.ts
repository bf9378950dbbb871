// What the image tree's fan-out costs: node bytes that one increment writes, for scattered and clustered writes.
//
// Usage: node test/bench/fan-out.ts [--results DIR]
//
// A simulation without disks: a node's size is computed as protocol/image-tree.ts lays it out, with the fan-out as a
// parameter. Every chunk of the disk is present, which is the dearest case: nodes of a disk with holes are smaller.
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { PACK_HEADER_BYTES, PACK_BYTES_MAX, RECORD_HEADER_BYTES } from '../../gateway/packs/format.ts'
import { ID_BYTES } from '../../protocol/chunk.ts'
import { FAN_OUT, NODE_BYTES_MAX } from '../../protocol/image-tree.ts'
import { randomIntegers } from './random.ts'
import { table } from './report.ts'

const GIB = 2 ** 30
const CHUNK_BYTES = 65_536
const FAN_OUTS = [32, 64, 128, 256]
const DISKS = [
  { name: '100 GiB', bytes: 100 * GIB },
  { name: '1 TiB', bytes: 1024 * GIB },
]
const WRITE_COUNTS = [100, 1000, 10_000]

/** Writes that lie behind one another in a clustered pattern, each in the next chunk: 1 MiB in a row. */
const CLUSTER_WRITES = 16

/** One row of the chunk index with its page overhead: 1.2 GB were measured for 20 million rows. */
const INDEX_ROW_BYTES = 60

const LEVEL_BYTES = 1

type Pattern = 'scattered' | 'clustered'

/** Bytes of a node with so many present children. */
const nodeBytes = (fanOut: number, present: number): number => LEVEL_BYTES + fanOut / 8 + present * ID_BYTES

/** Levels of the tree over so many chunks. */
const levelsOf = (fanOut: number, chunks: number): number => {
  let levels = 1
  for (let span = fanOut; span < chunks; span *= fanOut) levels += 1
  return levels
}

/** The chunks that an increment has to replace. */
const dirtyChunks = (chunks: number, writes: number, pattern: Pattern): Set<number> => {
  const integer = randomIntegers(writes)
  const dirty = new Set<number>()
  if (pattern === 'scattered') {
    for (let write = 0; write < writes; write++) dirty.add(integer(chunks))
    return dirty
  }
  for (let write = 0; write < writes; write += CLUSTER_WRITES) {
    const start = integer(chunks - CLUSTER_WRITES)
    for (let next = 0; next < Math.min(CLUSTER_WRITES, writes - write); next++) dirty.add(start + next)
  }
  return dirty
}

interface Cost {
  readonly nodes: number
  /** In packs, record headers included. */
  readonly packBytes: number
  readonly indexBytes: number
}

/** What the nodes above some chunks cost; with all chunks it is the whole tree. */
const costOf = (fanOut: number, chunks: number, dirty: ReadonlySet<number>): Cost => {
  let nodes = 0
  let packBytes = 0
  let below = dirty
  let width = chunks
  for (let level = 0; level < levelsOf(fanOut, chunks); level++) {
    const above = new Set<number>()
    for (const child of below) above.add(Math.floor(child / fanOut))
    for (const index of above) {
      packBytes += RECORD_HEADER_BYTES + nodeBytes(fanOut, Math.min(fanOut, width - index * fanOut))
    }
    nodes += above.size
    below = above
    width = Math.ceil(width / fanOut)
  }
  return { nodes, packBytes, indexBytes: nodes * INDEX_ROW_BYTES }
}

interface Result extends Cost {
  readonly disk: string
  readonly pattern: Pattern
  readonly writes: number
  readonly fanOut: number
  readonly levels: number
  readonly dirtyChunks: number
  readonly bytesPerChunk: number
}

const simulate = (): Result[] =>
  DISKS.flatMap(({ name, bytes }) =>
    (['scattered', 'clustered'] as const).flatMap((pattern) =>
      WRITE_COUNTS.flatMap((writes) => {
        const chunks = bytes / CHUNK_BYTES
        const dirty = dirtyChunks(chunks, writes, pattern)
        return FAN_OUTS.map((fanOut): Result => {
          const cost = costOf(fanOut, chunks, dirty)
          const bytesPerChunk = Math.round((cost.packBytes + cost.indexBytes) / dirty.size)
          const levels = levelsOf(fanOut, chunks)
          return { disk: name, pattern, writes, fanOut, levels, dirtyChunks: dirty.size, ...cost, bytesPerChunk }
        })
      }),
    ),
  )

interface WholeTree {
  readonly disk: string
  readonly fanOut: number
  readonly levels: number
  readonly nodes: number
  readonly bytes: number
}

/** The tree that a first full writes. */
const wholeTrees = (): WholeTree[] =>
  DISKS.flatMap(({ name, bytes }) =>
    FAN_OUTS.map((fanOut) => {
      let width = bytes / CHUNK_BYTES
      let nodes = 0
      let total = 0
      while (nodes === 0 || width > 1) {
        const above = Math.ceil(width / fanOut)
        nodes += above
        total += above * (RECORD_HEADER_BYTES + INDEX_ROW_BYTES + nodeBytes(fanOut, 0)) + width * ID_BYTES
        width = above
      }
      return { disk: name, fanOut, levels: levelsOf(fanOut, bytes / CHUNK_BYTES), nodes, bytes: total }
    }),
  )

const kibibytes = (bytes: number): string => (bytes / 1024).toFixed(0)

const incrementTable = (results: readonly Result[]): string => {
  const groups = Map.groupBy(results, ({ disk, pattern, writes }) => `${disk}, ${writes} ${pattern} writes`)
  const heading = ['KiB of nodes and index, for one increment', ...FAN_OUTS.map((fanOut) => `fan-out ${fanOut}`)]
  const rows = [...groups].map(([name, group]) => [
    name,
    ...group.map(({ packBytes, indexBytes, nodes }) => `${kibibytes(packBytes + indexBytes)} in ${nodes}`),
  ])
  return table([...heading], rows)
}

const shareTable = (results: readonly Result[]): string => {
  const scattered = results.filter(({ pattern, writes }) => pattern === 'scattered' && writes === 1000)
  const rows = scattered.map(({ disk, fanOut, levels, bytesPerChunk }) => [
    disk,
    String(fanOut),
    String(levels),
    String(bytesPerChunk),
    `${((100 * bytesPerChunk) / CHUNK_BYTES).toFixed(1)} %`,
  ])
  return table(
    ['disk, 1,000 scattered writes', 'fan-out', 'levels', 'bytes per changed chunk', 'of a 64 KiB chunk'],
    rows,
  )
}

const wholeTable = (trees: readonly WholeTree[]): string =>
  table(
    ['whole tree', 'fan-out', 'levels', 'nodes', 'MiB with index'],
    trees.map(({ disk, fanOut, levels, nodes, bytes }) => [
      disk,
      String(fanOut),
      String(levels),
      String(nodes),
      (bytes / 2 ** 20).toFixed(1),
    ]),
  )

const main = async (): Promise<void> => {
  const { values } = parseArgs({
    options: { results: { type: 'string', default: path.join(import.meta.dirname, 'results') } },
  })
  if (nodeBytes(FAN_OUT, FAN_OUT) !== NODE_BYTES_MAX) throw new Error('the node format is not the one simulated here')
  const date = new Date().toISOString().slice(0, 10)
  const increments = simulate()
  const trees = wholeTrees()
  const text = `# fan-out, ${date}

A simulation: every chunk present, ${CHUNK_BYTES / 1024} KiB chunks; a node is ${LEVEL_BYTES} byte + a bitmap + ${ID_BYTES} bytes a child, its record in a pack
${RECORD_HEADER_BYTES} bytes more and its index row ${INDEX_ROW_BYTES}. Clustered: runs of ${CLUSTER_WRITES} neighbouring chunks. "KiB in N" is bytes in N nodes.
Pack headers (${PACK_HEADER_BYTES} bytes in ${PACK_BYTES_MAX / 2 ** 20} MiB) are left out.

${incrementTable(increments)}

${shareTable(increments)}

${wholeTable(trees)}
`
  console.log(text)
  await mkdir(values.results, { recursive: true })
  const name = path.join(values.results, `${date}-fan-out`)
  await writeFile(`${name}.json`, `${JSON.stringify({ what: 'fan-out', date, increments, trees }, null, 2)}\n`)
  await writeFile(`${name}.md`, text)
}

await main()
