// The chunk index: who has what, what a commit does at once, and letting go of a damaged record.
import { HAVE, type RecordCommit } from '../../../../gateway/catalog/records.ts'
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { RECORD, RECORD_HEADER_BYTES, recordBytes } from '../../../../gateway/packs/format.ts'
import { CODEC } from '../../../../protocol/chunk.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, beginJob, fullDisk, startJob } from '../../catalog.ts'

const record = (pack: number, offset: number, type: RecordCommit['records'][number]['type'] = RECORD.chunk) => ({
  pack,
  offset,
  storedLength: 10,
  plainLength: 20,
  codec: CODEC.zstd,
  type,
  parts: 1,
  place: 0,
})

const setUp = async () => {
  const authority = await testAuthority()
  const { catalog, acme, other } = authority
  const host = await addAgent(catalog, acme)
  for (const name of ['one', 'two']) await addMachine(catalog, acme, host, name)
  const pack = await catalog.packs.add({ tenant: acme.id, kind: 'data', uuid: 'p1', nowMs: 1 })
  const ids = randomBytes(96)
  const commit = (rest: Partial<RecordCommit> = {}) =>
    catalog.records.commit({
      tenant: acme.id,
      machine: 'one',
      ids,
      records: [record(pack, 0), record(pack, 62), record(pack, 124, RECORD.node)],
      packs: [{ id: pack, bytes: 186, sealed: false }],
      upload: null,
      progress: null,
      ...rest,
    })
  const have = async (tenant: string, machine: string) => [...(await catalog.records.have({ tenant, machine, ids }))]
  return { authority, catalog, acme, other, ids, commit, have, [Symbol.asyncDispose]: authority[Symbol.asyncDispose] }
}

test('a chunk is its machine’s own, another’s, or absent; a node is no chunk; tenants share nothing', async () => {
  await using setting = await setUp()
  const { commit, have, acme, other, catalog, ids } = setting
  expect(await have(acme.id, 'one')).toEqual([HAVE.absent, HAVE.absent, HAVE.absent])
  expect(await commit()).toBe(3 * (RECORD_HEADER_BYTES + 10))
  expect(await have(acme.id, 'one')).toEqual([HAVE.own, HAVE.own, HAVE.absent])
  expect(await have(acme.id, 'two')).toEqual([HAVE.other, HAVE.other, HAVE.absent])
  expect(await have(other.id, 'one')).toEqual([HAVE.absent, HAVE.absent, HAVE.absent])
  expect([...(await catalog.records.indexed({ tenant: acme.id, ids }))]).toEqual([1, 1, 1])
  expect(await catalog.records.locate({ tenant: other.id, ids })).toEqual([null, null, null])
  expect(await catalog.records.locate({ tenant: acme.id, ids: ids.subarray(32, 64) })).toEqual([
    {
      pack: 'p1',
      offset: 62,
      storedLength: 10,
      plainLength: 20,
      codec: CODEC.zstd,
      type: RECORD.chunk,
      parts: 1,
      place: 0,
    },
  ])
})

test('parts of a record share its bytes, so that all of them are the record', async () => {
  await using setting = await setUp()
  const { commit, acme, catalog } = setting
  const part = (place: number) => ({ ...record(1, 0), parts: 3, place })
  expect(await commit({ records: [part(0), part(1), part(2)] })).toBe(recordBytes(10, 3))
  const { bytes } = await catalog.collection.page({ tenant: acme.id, after: null, end: null })
  expect([...bytes].reduce((sum, one) => sum + one, 0)).toBe(recordBytes(10, 3))
  expect(Math.max(...bytes) - Math.min(...bytes)).toBeLessThanOrEqual(1)
})

test('the first of two rows stays, and only new ones count as stored', async () => {
  await using setting = await setUp()
  const { commit, have, acme } = setting
  await commit()
  expect(await commit({ machine: 'two' })).toBe(0)
  expect(await have(acme.id, 'one')).toEqual([HAVE.own, HAVE.own, HAVE.absent])
})

test('what is let go of is absent for everyone, until it comes again', async () => {
  await using setting = await setUp()
  const { commit, have, acme, other, ids, catalog } = setting
  await commit()
  await catalog.collection.sweep({ tenant: other.id, ids })
  expect(await have(acme.id, 'one')).toEqual([HAVE.own, HAVE.own, HAVE.absent])
  await catalog.collection.sweep({ tenant: acme.id, ids: ids.subarray(0, 32) })
  expect(await have(acme.id, 'one')).toEqual([HAVE.absent, HAVE.own, HAVE.absent])
  await commit({ machine: 'two' })
  expect(await have(acme.id, 'two')).toEqual([HAVE.own, HAVE.other, HAVE.absent])
})

test('an upload moves with its records or not at all', async () => {
  await using setting = await setUp()
  const { commit, have, catalog, acme } = setting
  const progress = {
    position: 3,
    state: new Uint8Array([9]),
    bytesSent: 4,
    changedBytes: 5,
    finished: false,
    root: null,
  }
  const upload = { job: 'none', disk: 'vda' }
  expect(await codeOf(commit({ upload, progress }))).toBe('JOB_ENDED')
  expect(await have(acme.id, 'one')).toEqual([HAVE.absent, HAVE.absent, HAVE.absent])
  const agent = await addAgent(catalog, acme)
  const job = await startJob(catalog, acme, await addMachine(catalog, acme, agent, 'a'))
  await beginJob(catalog, { id: job, agent }, [fullDisk('vda', 8192)])
  const stored = await commit({ upload: { job, disk: 'vda' }, progress })
  const row = await catalog.jobs.upload({ job, agent, disk: 'vda' })
  expect(row).toMatchObject({ position: 3, bytesSent: 4, changedBytes: 5, finished: false, bytesStored: stored })
})
