// What a machine says is unchanged, held against the image before: on a real datastore, and with damage in it.
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { compareChunks, Comparisons } from '../../../gateway/jobs/compare.ts'
import type { Log } from '../../../protocol/host/log.ts'
import { ID_BYTES } from '../../../protocol/chunk.ts'
import type { VarveError } from '../../../protocol/errors.ts'
import { FAN_OUT, type Ref } from '../../../protocol/image-tree.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { sizeOf, Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES, nodeOf, plainChunk } from '../datastore/fixture.ts'

const ZERO = new Uint8Array(ID_BYTES)

/** Chunks of three leaf nodes; every seventh is zero, and so is a whole leaf. */
const mixed = (): Plains =>
  Array.from({ length: 3 * FAN_OUT + 5 }, (_, index) =>
    index % 7 === 0 || (index >= FAN_OUT && index < 2 * FAN_OUT) ? null : plainChunk(),
  )

interface Compared {
  readonly root: Ref
  readonly plains: Plains
  readonly told: VarveError[]
  ask(entries: readonly (readonly [position: number, id: Uint8Array])[]): ReturnType<typeof compareChunks>
  /** The id that the image has there. */
  idAt(position: number): Uint8Array
}

const compared = async (stand: Stand, plains: Plains): Promise<Compared> => {
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const told: VarveError[] = []
  const image = { root, size: sizeOf(plains), chunkBytes: CHUNK_BYTES }
  return {
    root,
    plains,
    told,
    ask: (entries) => {
      const store = stand.datastore.tenantStore(stand.tenant)
      const asked = {
        positions: entries.map(([position]) => position),
        ids: Buffer.concat(entries.map(([, id]) => id)),
      }
      return compareChunks(store, image, asked, async (error) => {
        told.push(error)
        await store.quarantine.enterError(error)
      })
    },
    idAt: (position) => {
      const plain = plains[position]!
      return plain === null ? ZERO : stand.idOf(plain)
    },
  }
}

test('what is equal, different, zero there and zero here', async () => {
  await using stand = await Stand.open()
  const { plains, ask, idAt, told } = await compared(stand, mixed())
  const all = plains.map((_, position) => [position, idAt(position)] as const)
  expect(await ask(all)).toEqual({ compared: plains.length, different: [] })
  // in any order
  expect(await ask(all.toReversed())).toEqual({ compared: plains.length, different: [] })
  const other = new Uint8Array(randomBytes(ID_BYTES))
  const answer = await ask([
    [0, ZERO],
    [7, other],
    [8, ZERO],
    [9, other],
    [10, idAt(11)],
    [FAN_OUT + 3, other],
    [FAN_OUT + 4, ZERO],
    [plains.length - 1, idAt(plains.length - 1)],
    [plains.length - 2, other],
  ])
  expect(answer).toEqual({ compared: 9, different: [7, 8, 9, 10, FAN_OUT + 3, plains.length - 2] })
  expect(told).toEqual([])
})

test('the agent of a running job is told what its base holds, from the end on', async () => {
  await using stand = await Stand.open()
  const plains = mixed()
  const machine = await stand.machine('db1')
  await stand.point(machine, plains)
  const { catalog } = stand.datastore
  const job = crypto.randomUUID()
  const start = { id: job, tenant: stand.tenant.id, machine: machine.name, agent: machine.agent, subject: 's' }
  await catalog.jobs.start({ ...start, full: false, compare: false, nowMs: 2 ** 41 })
  const comparisons = new Comparisons({
    datastore: stand.datastore,
    log: { error: () => undefined } as unknown as Log,
    onProgress: () => undefined,
  })
  const disk = 'vda'
  const ask = (before: number, limit: number) =>
    comparisons.content(stand.tenant, machine.agent, { job, disk, before, limit })
  const held = plains.flatMap((plain, position) => (plain === null ? [] : [position])).toReversed()
  expect(await ask(plains.length, 1000)).toEqual({ positions: held, next: null })
  expect(await ask(2 ** 40, 2)).toEqual({ positions: held.slice(0, 2), next: held[1] })
  expect(await ask(held[4]!, 1)).toMatchObject({ positions: [held[5]] })
  expect(await ask(0, 9)).toEqual({ positions: [], next: null })
  const other = comparisons.content(stand.tenant, crypto.randomUUID(), { job, disk, before: 9, limit: 9 })
  expect(await codeOf(other)).toBe('NOT_FOUND')
  await catalog.jobs.fail({ job, agent: machine.agent, code: 'X', message: '', nowMs: 2 ** 41 })
  expect(await codeOf(ask(9, 9))).toBe('JOB_ENDED')
})

test('an image of zeroes', async () => {
  await using stand = await Stand.open()
  const { ask, root } = await compared(stand, [null, null, null])
  expect(root).toBeNull()
  const other = new Uint8Array(randomBytes(ID_BYTES))
  expect(
    await ask([
      [0, ZERO],
      [1, other],
      [2, ZERO],
    ]),
  ).toEqual({ compared: 3, different: [1] })
})

test('an image whose last chunk is short', async () => {
  await using stand = await Stand.open()
  const { ask, idAt } = await compared(stand, [plainChunk(), new Uint8Array(512).fill(3)])
  expect(
    await ask([
      [0, idAt(0)],
      [1, idAt(1)],
    ]),
  ).toEqual({ compared: 2, different: [] })
})

test('a chunk of zeroes is 32 zero bytes, whole or short, and never its own id', async () => {
  await using stand = await Stand.open()
  const { ask } = await compared(stand, [null, plainChunk(), new Uint8Array(512).fill(3)])
  const [whole, short] = [stand.idOf(new Uint8Array(CHUNK_BYTES)), stand.idOf(new Uint8Array(512))]
  for (const [position, id] of [
    [0, whole],
    [1, whole],
    [2, short],
  ] as const)
    expect(await codeOf(ask([[position, id]]))).toBe('PARAMS_INVALID')
  // the zeroes of another length are only another id
  expect(
    await ask([
      [0, short],
      [2, whole],
    ]),
  ).toEqual({ compared: 2, different: [0, 2] })
})

describe('what does not fit', () => {
  test.each([
    ['fewer ids than positions', [0, 1], ID_BYTES],
    ['more ids than positions', [0], 2 * ID_BYTES],
    ['half an id', [0], ID_BYTES - 1],
    ['no ids', [0], 0],
    ['a position behind the end', [0, 3], 2 * ID_BYTES],
    ['a position far behind the end', [2 ** 40], ID_BYTES],
  ])('%s', async (_, positions, bytes) => {
    await using stand = await Stand.open()
    const store = stand.datastore.tenantStore(stand.tenant)
    const image = { root: null, size: 2 * CHUNK_BYTES + 512, chunkBytes: CHUNK_BYTES }
    const asked = { positions, ids: new Uint8Array(bytes) }
    expect(await codeOf(compareChunks(store, image, asked, async () => undefined))).toBe('PARAMS_INVALID')
  })
})

describe('damage in the image', () => {
  const damaged = (stand: Stand) =>
    stand.datastore.catalog.damage.page({ tenant: stand.tenant.id, after: null, limit: 9 })

  test('of a tree node: nothing is compared, and its record goes into quarantine as what it is', async () => {
    await using stand = await Stand.open()
    const made = await compared(stand, mixed())
    const [first] = (await nodeOf(stand.datastore.tenantStore(stand.tenant), made.root!)).children
    // nothing of it is in memory any more
    await stand.reopen()
    await new Damager(stand.folder).flip(first!)
    const other = new Uint8Array(randomBytes(ID_BYTES))
    // a part of the image with whole nodes is compared as ever
    expect(await made.ask([[2 * FAN_OUT + 1, other]])).toEqual({ compared: 1, different: [2 * FAN_OUT + 1] })
    expect(made.told).toEqual([])
    expect(
      await made.ask([
        [1, other],
        [2 * FAN_OUT + 1, other],
      ]),
    ).toEqual({ compared: 0, different: [] })
    expect(made.told).toMatchObject([{ code: 'DATA_DAMAGED' }])
    expect(await damaged(stand)).toMatchObject([{ type: 'node', id: Buffer.from(first!).toString('hex') }])
  })

  test('of a chunk says nothing: ids are compared, and not bytes', async () => {
    await using stand = await Stand.open()
    const made = await compared(stand, mixed())
    await new Damager(stand.folder).flip(made.idAt(1))
    expect(await made.ask([[1, made.idAt(1)]])).toEqual({ compared: 1, different: [] })
    expect(await damaged(stand)).toEqual([])
  })

  test('a store that cannot be read is an error, and no damage', async () => {
    const failure = Object.assign(new Error('no such disk'), { code: 'EIO' })
    const image = { root: new Uint8Array(ID_BYTES).fill(1), size: CHUNK_BYTES, chunkBytes: CHUNK_BYTES }
    const told: VarveError[] = []
    const asked = compareChunks(
      { nodes: { cached: () => Promise.reject(failure) }, zeroId: () => new Uint8Array(ID_BYTES).fill(9) },
      image,
      { positions: [0], ids: ZERO },
      async (error) => void told.push(error),
    )
    await expect(asked).rejects.toBe(failure)
    expect(told).toEqual([])
  })
})
