// Reads at any places of an image: nodes that prove it, the chunks of a range, damage of one request only, and bounds.
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { serveReads } from '../../../gateway/restore/serve-reads.ts'
import { MemoryBudget } from '../../../gateway/memory/budget.ts'
import { equalBytes, hex } from '../../../protocol/chunk.ts'
import { decodeNode, nodeKey } from '../../../protocol/image-tree.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { READS_AT_ONCE_MAX } from '../../../protocol/limits.ts'
import { ASK, FOUND, type Down, type Up } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
import { retainedBytes } from '../../protocol/memory.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { randomDisk } from '../maintenance/stand.ts'

type Answer = Down<'image.read'>

const read = async (
  stand: Stand,
  point: string,
  asked: Iterable<Up<'image.read'>> | AsyncIterable<Up<'image.read'>>,
  {
    disk = 'vda',
    onlyAgent = null,
    onSend = async () => {},
    keep = true,
  }: {
    disk?: string
    onlyAgent?: string | null
    onSend?: (answer: Answer) => Promise<void>
    keep?: boolean
  } = {},
): Promise<Answer[]> => {
  const { datastore, tenant } = stand
  const answers: Answer[] = []
  const messages = (async function* () {
    yield* asked
  })()
  await serveReads({
    datastore,
    tenant,
    onlyAgent,
    params: { point, disk },
    account: new MemoryBudget().account(tenant.id, 'reader'),
    begun: async () => {},
    call: {
      messages,
      signal: new AbortController().signal,
      sendHeld: async (answer) => {
        if (keep) answers.push(structuredClone(answer))
        await onSend(answer)
      },
    },
  })
  return answers
}

const numbered = (answers: readonly Answer[], number: number): Answer =>
  answers.find((answer) => answer[0] !== FOUND.start && answer[1] === number)!

const plainsOf = (answer: Answer): Uint8Array[] => {
  if (answer[0] !== FOUND.chunks) throw new Error(`answered with ${answer[0]}`)
  return answer[2].length === 0
    ? []
    : splitChunks({ heads: answer[2], stored: answer[3] }).map((one) => new Uint8Array(plainOf(one)))
}

const PLAINS = (): Plains => [...randomDisk(100), ...Array<null>(300).fill(null), ...randomDisk(40)]

test('nodes prove the way from the root to each chunk, and a range of chunks has those that are not zero', async () => {
  await using stand = await Stand.open()
  const plains = PLAINS()
  const { id, root } = await stand.point(await stand.machine('db1'), plains)
  const answers = await read(stand, id, [
    [ASK.nodes, 1, 1, 0, 1],
    [ASK.nodes, 2, 0, 0, 64],
    [ASK.chunks, 3, 98, 10],
    [ASK.chunks, 4, 150, 64],
    [ASK.chunks, 5, 430, 20],
  ])
  const { idKey, chunkBytes } = stand.tenant
  const size = plains.length * CHUNK_BYTES
  expect(answers[0]).toEqual([FOUND.start, { size, chunkBytes, root, idKey }])
  const key = nodeKey(keyedHash, idKey)
  const [, , [top]] = numbered(answers, 1) as [number, number, Uint8Array[]]
  expect(equalBytes(keyedHash(key, top!), root!)).toBe(true)
  const below = decodeNode(top!).children.filter((child) => child !== null)
  const [, , leaves] = numbered(answers, 2) as [number, number, Uint8Array[]]
  expect(leaves.map((leaf) => hex(keyedHash(key, leaf)))).toEqual(below.map(hex))
  expect(plainsOf(numbered(answers, 3))).toEqual(plains.slice(98, 100).map((plain) => new Uint8Array(plain!)))
  expect(plainsOf(numbered(answers, 4))).toEqual([])
  expect(plainsOf(numbered(answers, 5))).toEqual(plains.slice(430, 440).map((plain) => new Uint8Array(plain!)))
})

test('damage fails the requests that come upon it, and no others', async () => {
  await using stand = await Stand.open()
  const plains = PLAINS()
  const { id } = await stand.point(await stand.machine('db1'), plains)
  const damager = new Damager(stand.folder)
  await damager.flip(damager.chunkId(plains[7]!))
  const answers = await read(stand, id, [
    [ASK.chunks, 1, 0, 7],
    [ASK.chunks, 2, 7, 1],
    [ASK.chunks, 3, 8, 40],
  ])
  expect(plainsOf(numbered(answers, 1))).toHaveLength(7)
  expect(numbered(answers, 2)).toMatchObject([FOUND.failed, 2, { code: 'DATA_DAMAGED' }])
  expect(plainsOf(numbered(answers, 3))).toHaveLength(40)
})

test('what is not there or not allowed is refused', async () => {
  await using stand = await Stand.open()
  const { id } = await stand.point(await stand.machine('db1'), PLAINS())
  const asked = (request: Up<'image.read'>): Promise<string> => codeOf(read(stand, id, [request]))
  expect(await codeOf(read(stand, id, [], { disk: 'vdz' }))).toBe('NOT_FOUND')
  expect(await codeOf(read(stand, id, [], { onlyAgent: 'another' }))).toBe('NOT_FOUND')
  expect(await asked([ASK.nodes, 1, 2, 0, 1])).toBe('STREAM_INVALID')
  expect(await asked([ASK.nodes, 1, 0, 1, 1])).toBe('STREAM_INVALID')
  expect(await asked([ASK.chunks, 1, 440, 1])).toBe('STREAM_INVALID')
})

test('a caller that takes no answers has a bounded number of them made', async () => {
  await using stand = await Stand.open()
  const { id } = await stand.point(await stand.machine('db1'), PLAINS())
  let taken = 0
  let open = 0
  const asked = Array.from({ length: 100 }, (_, number): Up<'image.read'> => [ASK.chunks, number, number % 90, 1])
  const answers = await read(stand, id, asked, {
    onSend: async (answer) => {
      if (answer[0] === FOUND.start) return
      open = Math.max(open, ++taken)
      await new Promise((resolve) => setImmediate(resolve))
      taken--
    },
  })
  expect(answers).toHaveLength(101)
  expect(open).toBeLessThanOrEqual(READS_AT_ONCE_MAX)
})

test('nothing of what was answered is kept, however long the call takes', async () => {
  await using stand = await Stand.open()
  const { id } = await stand.point(await stand.machine('db1'), PLAINS())
  const [first, last] = [2000, 22_000]
  let taken = 0
  const asked = (async function* (): AsyncGenerator<Up<'image.read'>> {
    for (let number = 0; number < last; number++) {
      if (number % 100 === 0) await turn()
      if (number === first) taken = -retainedBytes()
      yield [ASK.chunks, number, 200, 1]
    }
    await turn()
    taken += retainedBytes()
  })()
  await read(stand, id, asked, { keep: false })
  expect(taken / (last - first)).toBeLessThan(100)
})
