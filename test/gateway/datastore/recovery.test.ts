// Starts after every kind of end: the plan as a table, real damage to files, and a process killed with SIGKILL at random moments.
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import type { PackRow } from '../../../gateway/catalog/packs.ts'
import { spawn } from 'node:child_process'
import { appendFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { fromHex } from '../../../protocol/chunk.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { PACK_BYTES_MAX } from '../../../gateway/packs/format.ts'
import { planRecovery } from '../../../gateway/datastore/recovery.ts'
import type { Dice } from '../../support/model-dice.ts'
import { eventually } from '../../support/temp.ts'
import { testDice } from '../../support/seed.ts'
import {
  addTenant,
  addUpload,
  batchOf,
  chunkId,
  memoryLog,
  openDatastore,
  plainChunk,
  progressAt,
  temporaryFolder,
} from './fixture.ts'

const row = (rest: Partial<PackRow>): PackRow => ({
  id: 1,
  tenant: 't',
  kind: 'data',
  uuid: 'u',
  bytes: 100,
  state: 'open',
  ...rest,
})

const plan = (pack: PackRow, bytes: number | null, header = true) =>
  planRecovery([pack], new Set(bytes === null ? [] : ['t u']), new Map([[1, { bytes, header }]]))
const nothing = { reuse: [], seal: [], forget: [], damaged: [] }
const damaged = (expectedBytes: number, foundBytes: number | null) => [
  { tenant: 't', pack: 'u', expectedBytes, foundBytes },
]

describe('plan', () => {
  test('exactly as long as acknowledged: used on', () => {
    const reuse = [{ id: 1, name: { tenant: 't', pack: 'u' }, kind: 'data', bytes: 100 }]
    expect(plan(row({}), 100)).toEqual({ ...nothing, reuse })
  })
  test('longer: sealed as it is', () => {
    expect(plan(row({}), 101)).toEqual({ ...nothing, seal: [{ id: 1, bytes: 101 }] })
  })
  test('shorter, gone, or with a foreign header: damaged and sealed', () => {
    const seal = [{ id: 1, bytes: 0 }]
    expect(plan(row({}), 99)).toEqual({ ...nothing, seal, damaged: damaged(100, 99) })
    expect(plan(row({}), null)).toEqual({ ...nothing, seal, damaged: damaged(100, null) })
    expect(plan(row({}), 100, false)).toEqual({ ...nothing, seal, damaged: damaged(100, 100) })
  })
  test('nothing acknowledged: without a file forgotten, with one sealed, even half a header', () => {
    expect(plan(row({ bytes: 0 }), null)).toEqual({ ...nothing, forget: [1] })
    expect(plan(row({ bytes: 0 }), 48)).toEqual({ ...nothing, seal: [{ id: 1, bytes: 48 }] })
    expect(plan(row({ bytes: 0 }), 7, false)).toEqual({ ...nothing, seal: [{ id: 1, bytes: 7 }] })
    // made, and killed before its header was written: nothing may be appended where that belongs
    expect(plan(row({ bytes: 0 }), 0, false)).toEqual({ ...nothing, seal: [{ id: 1, bytes: 0 }] })
  })
  test('sealed: left as it is, damaged when gone', () => {
    expect(plan(row({ state: 'sealed' }), 5)).toEqual(nothing)
    expect(plan(row({ state: 'sealed' }), null)).toEqual({ ...nothing, damaged: damaged(100, null) })
  })
  test('a collection had let go of it: left to the next one, whether its file is still there or not', () => {
    const doomed = row({ state: 'doomed' })
    for (const bytes of [100, 7, null]) expect(plan(doomed, bytes)).toEqual(nothing)
  })
  test('full to the last byte: sealed', () => {
    const full = row({ bytes: PACK_BYTES_MAX })
    expect(plan(full, PACK_BYTES_MAX)).toEqual({ ...nothing, seal: [{ id: 1, bytes: PACK_BYTES_MAX }] })
  })
})

const packFiles = async (folder: string): Promise<string[]> =>
  (await readdir(path.join(folder, 'packs'), { recursive: true }))
    .filter((file) => file.endsWith('.pack'))
    .map((file) => path.join(folder, 'packs', file))

/** A folder with one committed chunk in one pack. */
const withOneChunk = async (folder: string): Promise<{ tenant: Tenant; plain: Uint8Array; file: string }> => {
  await using datastore = await openDatastore(folder)
  const tenant = await addTenant(datastore, 'one')
  const plain = plainChunk()
  await using writer = await datastore.tenantStore(tenant).openWriter(await addUpload(folder, tenant))
  await writer.append(batchOf(tenant, [plain]))
  await writer.commit(progressAt(1))
  return { tenant, plain, file: (await packFiles(folder))[0]! }
}

describe('damaged files', () => {
  test('an unacknowledged tail stays as it is, the pack is sealed, the next upload takes another', async () => {
    await using folder = await temporaryFolder()
    const { tenant, plain, file } = await withOneChunk(folder.path)
    await appendFile(file, 'a tail that nobody was told of')
    const before = await readFile(file)
    await using datastore = await openDatastore(folder.path)
    expect(datastore.report).toMatchObject({ reused: 0, sealed: 1, damaged: [] })
    await using writer = await datastore.tenantStore(tenant).openWriter(await addUpload(folder.path, tenant))
    await writer.append(batchOf(tenant, [plainChunk()]))
    await writer.commit(progressAt(1))
    expect(await readFile(file)).toEqual(before)
    expect(await packFiles(folder.path)).toHaveLength(2)
    const { plain: read } = await datastore.tenantStore(tenant).readRecord(chunkId(tenant, plain))
    expect(Buffer.from(read).equals(plain)).toBe(true)
    const packs = await datastore.catalog.packs.list()
    expect(packs[0]).toMatchObject({ state: 'sealed', bytes: before.length })
  })

  test.each(['shortened', 'removed'])('a pack that was %s is reported and never silently used', async (how) => {
    await using folder = await temporaryFolder()
    const { tenant, plain, file } = await withOneChunk(folder.path)
    const { size } = await stat(file)
    if (how === 'shortened') await truncate(file, size - 1)
    else await rm(file)
    const log = memoryLog()
    await using datastore = await openDatastore(folder.path, log)
    const foundBytes = how === 'shortened' ? size - 1 : null
    expect(datastore.report.damaged).toMatchObject([{ expectedBytes: size, foundBytes }])
    expect(log.lines.filter(({ level }) => level === 'error')).toHaveLength(1)
    await expect(datastore.tenantStore(tenant).readRecord(chunkId(tenant, plain))).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
    })
    expect((await datastore.catalog.packs.list())[0]).toMatchObject({ state: 'sealed' })
  })

  test('a row without a file, made just before the end, is forgotten', async () => {
    await using folder = await temporaryFolder()
    const { tenant } = await withOneChunk(folder.path)
    {
      using catalog = openLocal(path.join(folder.path, CATALOG_NAME))
      const uuid = '00000000-0000-4000-8000-000000000000'
      await catalog.packs.add({ tenant: tenant.id, kind: 'nodes', uuid, nowMs: 1 })
    }
    await using datastore = await openDatastore(folder.path)
    expect(datastore.report).toMatchObject({ reused: 1, damaged: [] })
    expect(await datastore.catalog.packs.list()).toHaveLength(1)
  })

  test('unknown files are named and left alone', async () => {
    await using folder = await temporaryFolder()
    const { tenant, file } = await withOneChunk(folder.path)
    const packs = path.join(folder.path, 'packs')
    const other = path.join(packs, tenant.id, '00', '00000000-0000-4000-8000-000000000000.pack')
    await mkdir(path.dirname(other), { recursive: true })
    const misplaced = path.join(packs, tenant.id, '00', path.basename(file).replace(/^../, 'ff'))
    const strangers = [path.join(packs, 'notes.txt'), path.join(packs, tenant.id, 'x'), other, misplaced]
    for (const stranger of strangers) await writeFile(stranger, 'not ours')
    await using datastore = await openDatastore(folder.path)
    expect(datastore.report.unknownCount).toBe(4)
    expect(datastore.report.unknown).toContain('notes.txt')
    for (const stranger of strangers) expect(await readFile(stranger, 'utf8')).toBe('not ours')
  })
})

interface Acknowledged {
  readonly ids: Set<string>
  readonly positions: Map<string, number>
}

/**
 * Runs the child until it is killed at a random moment, in the last round once anything was acknowledged; collects what it
 * printed as acknowledged.
 */
const runAndKill = async (folder: string, acknowledged: Acknowledged, dice: Dice, last: boolean): Promise<void> => {
  const args = [path.join(import.meta.dirname, 'crash-child.ts'), folder, String(dice.below(2 ** 30))]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('exit', (_, signal) => resolve(signal)))
  const lines = createInterface({ input: child.stdout })
  const ready = new Promise<void>((resolve) => lines.once('line', () => resolve()))
  const read = (async () => {
    for await (const line of lines) {
      const [what, name, position] = line.split(' ')
      if (what === 'id') acknowledged.ids.add(name!)
      if (what === 'at') acknowledged.positions.set(name!, Number(position))
    }
  })()
  // one time in four the kill falls into the start, with its recovery
  if (dice.below(4) > 0) await Promise.race([ready, ended])
  // beside other load no round may have come that far
  if (last) await eventually(() => acknowledged.ids.size > 0)
  await sleep(1 + dice.below(699))
  child.kill('SIGKILL')
  expect(await ended).toBe('SIGKILL')
  await read
}

describe('kill -9', () => {
  test('everything acknowledged before random kills reads back, and every start works by itself', async () => {
    const dice = testDice()
    await using folder = await temporaryFolder()
    const acknowledged: Acknowledged = { ids: new Set(), positions: new Map() }
    const checked = new Set<string>()
    for (let round = 0; round < 10; round++) {
      await runAndKill(folder.path, acknowledged, dice, round === 9)
      await using datastore = await openDatastore(folder.path)
      expect(datastore.report).toMatchObject({ damaged: [], unknown: [] })
      const tenant = await datastore.catalog.tenants.byName({ name: 'crash' })
      if (tenant === null) continue
      const store = datastore.tenantStore(tenant)
      for (const id of acknowledged.ids) {
        if (checked.has(id)) continue
        await store.readRecord(fromHex(id))
        checked.add(id)
      }
      for (const [job, position] of acknowledged.positions) {
        const { uploads } = (await datastore.catalog.jobs.get({ tenant: tenant.id, job }))!
        expect(uploads[0]!.position).toBeGreaterThanOrEqual(position)
      }
    }
    // once more at the end: later runs and recoveries hurt nothing that earlier ones wrote
    await using datastore = await openDatastore(folder.path)
    const tenant = (await datastore.catalog.tenants.byName({ name: 'crash' }))!
    for (const id of acknowledged.ids) await datastore.tenantStore(tenant).readRecord(fromHex(id))
    expect(acknowledged.ids.size).toBeGreaterThan(0)
  })
})
