// Attachments in a real datastore: checked when they are announced, no disks anywhere, and kept, verified, collected, healed and
// rebuilt as disks are.
import { randomBytes, randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { ATTACHMENT_READ, checkAttachments } from '../../../gateway/catalog/attachments.ts'
import type { MachineRow } from '../../../gateway/catalog/machines.ts'
import { decodeManifest } from '../../../gateway/catalog/manifest.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { EMPTY_STATE, encodeState } from '../../../gateway/chains/image-builder.ts'
import { confirmRoots } from '../../../gateway/maintenance/confirm-roots.ts'
import { rebuild } from '../../../gateway/maintenance/rebuild.ts'
import { usageOf } from '../../../gateway/maintenance/usage.ts'
import { verifyPoints } from '../../../gateway/maintenance/verify.ts'
import { serveDownload } from '../../../gateway/restore/serve-download.ts'
import { chunkCount } from '../../../protocol/chunk.ts'
import type { VarveError } from '../../../protocol/errors.ts'
import { ATTACHMENT_BYTES_MAX, ATTACHMENTS_BYTES_MAX } from '../../../protocol/limits.ts'
import { LOAD } from '../../../protocol/methods.ts'
import type { MissingAttachment } from '../../../protocol/attachments.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import { Damager } from '../../support/damage.ts'
import { codeOf } from '../auth/test-authority.ts'
import { BEGUN, fullDisk, incrementalDisk, startJob } from '../catalog.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { addTenant, batchOf, CHUNK_BYTES, memoryLog, progressAt, treeOf } from '../datastore/fixture.ts'
import { collected, contextOf, packBytes, randomDisk, removePoints } from '../maintenance/stand.ts'

type Files = Readonly<Record<string, Uint8Array>>

const MISSING: MissingAttachment[] = [{ name: 'nvram', reason: 'there is no such file' }]

const plainsOf = (content: Uint8Array): (Uint8Array | null)[] =>
  Array.from({ length: chunkCount(content.length, CHUNK_BYTES) }, (_, index) => {
    const plain = content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)
    return plain.some((byte) => byte !== 0) ? plain : null
  })

/** Stores an image of a job as an upload does. */
const store = async (stand: Stand, job: string, name: string, machine: string, plains: Plains): Promise<void> => {
  const { datastore, tenant } = stand
  await using writer = await datastore.tenantStore(tenant).openWriter({ job, disk: name, machine })
  const present = plains.filter((plain) => plain !== null)
  if (present.length > 0) await writer.append(batchOf(tenant, present))
  const { root, nodes } = treeOf(tenant, stand.refs(plains))
  writer.addNodes(nodes)
  await writer.commit(progressAt(plains.length, { finished: true, root }))
}

const begin = (
  stand: Stand,
  job: { id: string; agent: string },
  files: Files,
  disks = [fullDisk('vda', 2 * CHUNK_BYTES)],
) =>
  stand.datastore.catalog.jobs.begin({
    job: job.id,
    agent: job.agent,
    begun: { ...BEGUN, missing: MISSING },
    disks,
    attachments: Object.entries(files).map(([name, { length: size }]) => ({ name, size })),
    state: encodeState(EMPTY_STATE),
    nowMs: 2 ** 50,
  })

/** A committed restore point of a machine with a disk of two chunks and these files. */
const pointOf = async (
  stand: Stand,
  machine: MachineRow,
  files: Files,
  disk: Plains = randomDisk(2),
): Promise<string> => {
  const id = await startJob(stand.datastore.catalog, stand.tenant, machine, { full: true })
  expect(await begin(stand, { id, agent: machine.agent }, files, [fullDisk('vda', 2 * CHUNK_BYTES, 'requested')])).toBe(
    null,
  )
  await store(stand, id, 'vda', machine.name, disk)
  for (const [name, content] of Object.entries(files))
    if (content.length > 0) await store(stand, id, name, machine.name, plainsOf(content))
  await stand.commit({ id, machine })
  return id
}

const read = async ({ datastore, tenant }: Stand, point: string, disk: string, of = tenant): Promise<Buffer> => {
  const parts: Buffer[] = []
  let size = 0
  const params = { point, disk, position: 0, skipDamaged: false }
  await serveDownload({ datastore, tenant: of, onlyAgent: null, params }, async (message) => {
    if (message[0] === LOAD.start) ({ size } = message[1])
    else if (message[0] === LOAD.zero) parts.push(Buffer.alloc(message[1] * CHUNK_BYTES))
    else if (message[0] === LOAD.chunks)
      for (const chunk of splitChunks({ heads: message[1], stored: structuredClone(message[2]) }))
        parts.push(Buffer.from(plainOf(chunk)))
  })
  return Buffer.concat(parts).subarray(0, size)
}

const find = ({ datastore, tenant }: Stand, prefix: string) =>
  datastore.catalog.points.find({ tenant: tenant.id, agent: null, prefix })

const FILES: Files = {
  'domain.xml': Buffer.from('<domain/>'),
  autostart: Buffer.alloc(0),
  'file:/etc/zeroes': Buffer.alloc(CHUNK_BYTES + 5),
  'swtpm/state': randomBytes(3 * CHUNK_BYTES + 777),
}

const expectFiles = async (stand: Stand, point: string, files: Files): Promise<void> => {
  const found = await find(stand, point)
  expect(found.attachments.map(({ name, size }) => [name, size])).toEqual(
    Object.entries(files).map(([name, { length }]) => [name, length]),
  )
  expect(found.disks.map(({ name }) => name)).toEqual(['vda'])
  expect([found.missing, found.missingAttachments]).toEqual([MISSING, 1])
  for (const [name, content] of Object.entries(files))
    expect([name, await read(stand, point, name)]).toEqual([name, Buffer.from(content)])
}

describe('what is announced', () => {
  const refused = (...args: Parameters<typeof checkAttachments>): string | null => {
    try {
      checkAttachments(...args)
      return null
    } catch (error) {
      return (error as VarveError).code
    }
  }
  const disks = [{ name: 'vda' }]
  const file = (name: string, size = 1) => ({ name, size })

  test('a name belongs to one disk, attachment or missing file', () => {
    expect(refused(disks, [file('a'), file('b')], [{ name: 'c', reason: 'r' }])).toBe(null)
    expect(refused(disks, [file('vda')], [])).toBe('UPLOAD_INVALID')
    expect(refused(disks, [file('a'), file('a')], [])).toBe('UPLOAD_INVALID')
    expect(refused(disks, [file('a')], [{ name: 'a', reason: 'r' }])).toBe('UPLOAD_INVALID')
  })

  test('no attachment is a folder of another one, which could not be restored beside it', () => {
    expect(refused(disks, [file('a'), file('a/b')], [])).toBe('UPLOAD_INVALID')
    expect(refused(disks, [file('a/b/c'), file('x'), file('a')], [])).toBe('UPLOAD_INVALID')
    expect(refused(disks, [file('a/b'), file('ab'), file('a.b'), file('a/c')], [])).toBe(null)
    // what is missing is written nowhere: a folder of which not all could be had
    expect(refused(disks, [file('a/b')], [{ name: 'a', reason: 'r' }])).toBe(null)
    expect(refused([{ name: 'a' }], [file('a/b')], [])).toBe(null)
  })

  test('together they have at most 256 MiB', () => {
    const most = Array.from({ length: ATTACHMENTS_BYTES_MAX / ATTACHMENT_BYTES_MAX }, (_, index) =>
      file(`a${index}`, ATTACHMENT_BYTES_MAX),
    )
    expect(refused(disks, most, [])).toBe(null)
    expect(refused(disks, [...most, file('b')], [])).toBe('UPLOAD_INVALID')
  })

  test('the same announcement again changes nothing, another one is refused', async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('db1')
    const job = { id: await startJob(stand.datastore.catalog, stand.tenant, machine), agent: machine.agent }
    const files = { a: Buffer.alloc(3), b: Buffer.alloc(0) }
    for (let round = 0; round < 2; round++) expect(await begin(stand, job, files)).toBe(null)
    expect(await codeOf(begin(stand, job, { ...files, a: Buffer.alloc(4) }))).toBe('UPLOAD_INVALID')
    expect(await codeOf(begin(stand, job, { a: files.a }))).toBe('UPLOAD_INVALID')
    // an empty one is whole, the others have to come
    expect(await codeOf(stand.commit({ id: job.id, machine }))).toBe('IMAGE_INCOMPLETE')
    await store(stand, job.id, 'vda', 'db1', randomDisk(2))
    expect(await codeOf(stand.commit({ id: job.id, machine }))).toBe('IMAGE_INCOMPLETE')
    await store(stand, job.id, 'a', 'db1', [null])
    await stand.commit({ id: job.id, machine })
    expect((await find(stand, job.id)).attachments).toMatchObject([{ name: 'a' }, { name: 'b' }])
  })

  test('a point of attachments alone is none', async () => {
    await using stand = await Stand.open()
    const machine = await stand.machine('db1')
    const job = { id: await startJob(stand.datastore.catalog, stand.tenant, machine), agent: machine.agent }
    expect(await codeOf(begin(stand, job, { a: Buffer.alloc(1) }, []))).toBe('UPLOAD_INVALID')
  })
})

test('an attachment is never a disk: not of a base, a comparison, a job, or the kind of a point', async () => {
  await using stand = await Stand.open()
  const { catalog } = stand.datastore
  const machine = await stand.machine('db1')
  const first = await pointOf(stand, machine, FILES)
  const id = randomUUID()
  const wishes = { subject: 's', full: false, compare: false, nowMs: 50 }
  const started = await catalog.jobs.start({
    id,
    tenant: stand.tenant.id,
    machine: 'db1',
    agent: machine.agent,
    ...wishes,
  })
  expect(started.base).toMatchObject({ point: first, disks: [{ name: 'vda', size: 2 * CHUNK_BYTES }] })
  expect(started.base!.disks).toHaveLength(1)
  expect((await catalog.lost.reread({ tenant: stand.tenant.id, point: first })).map(({ name }) => name)).toEqual([
    'vda',
  ])
  const { agent } = machine
  expect(await codeOf(catalog.jobs.baseImage({ job: id, agent, disk: 'swtpm/state' }))).toBe('NOT_FOUND')
  // what an attachment was called before may be a disk now, and is no image to continue
  const added = fullDisk(
    'swtpm/state',
    FILES['swtpm/state']!.length + 512 - (FILES['swtpm/state']!.length % 512),
    'disk-added',
  )
  const disks = [incrementalDisk('vda', 2 * CHUNK_BYTES), added]
  expect(await begin(stand, { id, agent }, { 'domain.xml': Buffer.from('<new/>') }, disks)).toBe(null)
  expect(await catalog.jobs.upload({ job: id, agent, disk: 'swtpm/state' })).toMatchObject({ hasBase: false })
  expect(await catalog.jobs.upload({ job: id, agent, disk: 'domain.xml' })).toMatchObject({
    hasBase: false,
    attachment: true,
  })
  for (const [name, chunks] of [
    ['vda', 2],
    ['swtpm/state', 4],
    ['domain.xml', 1],
  ] as const)
    await store(stand, id, name, 'db1', randomDisk(chunks))
  await stand.commit({ id, machine })
  const point = await find(stand, id)
  expect([point.kind, point.reason, point.disks.length, point.attachments.length]).toEqual([
    'incremental',
    'disk-added',
    2,
    1,
  ])
})

test('the manifest says what the rows say, and the catalog confirms it', async () => {
  await using stand = await Stand.open()
  const id = await pointOf(stand, await stand.machine('db1'), FILES)
  const { catalog } = stand.datastore
  const tenant = stand.tenant.id
  const { manifest } = (await catalog.points.roots({ tenant, point: id }))!
  const written = decodeManifest((await stand.datastore.tenantStore(stand.tenant).readRecord(manifest)).plain)
  const { version: _v, tenant: _t, state: _s, ...content } = written
  expect(content.attachments.map(({ name }) => name)).toEqual(Object.keys(FILES))
  expect(content.missing).toEqual(MISSING)
  expect(await catalog.points.manifest({ tenant, point: id })).toEqual(content)
  await confirmRoots(contextOf(stand), await catalog.collection.roots({ tenant }))
})

test('equal files of two points are stored once, are held by either, and go with the last', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const disk = randomDisk(2)
  const first = await pointOf(stand, machine, FILES, disk)
  const second = await pointOf(stand, machine, FILES, disk)
  expect((await find(stand, second)).bytesStored).toBe(0)
  const { rows } = await usageOf(contextOf(stand), { machine: null, points: true })
  const size = Object.values(FILES).reduce((sum, { length }) => sum + length, 0)
  expect(rows.filter(({ scope }) => scope === 'disk')).toMatchObject([
    { disk: '(attachments)', points: 2, logicalBytes: 2 * size },
    { disk: 'vda', points: 2 },
  ])
  removePoints(stand, first)
  await collected(stand)
  await expectFiles(stand, second, FILES)
  const before = await packBytes(stand)
  removePoints(stand, second)
  await collected(stand)
  expect(await packBytes(stand)).toBeLessThan(before - FILES['swtpm/state']!.length)
})

test('another tenant finds neither the point nor its files', async () => {
  await using stand = await Stand.open()
  const id = await pointOf(stand, await stand.machine('db1'), FILES)
  const other = await addTenant(stand.datastore, 'other')
  expect(await codeOf(read(stand, id, 'domain.xml', other))).toBe('NOT_FOUND')
  expect(await codeOf(read(stand, id, 'nowhere'))).toBe('NOT_FOUND')
})

test('damage is found, named with the file, and healed by the next point that has it', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const id = await pointOf(stand, machine, FILES)
  const damager = new Damager(stand.folder)
  await damager.flip(damager.chunkId(FILES['swtpm/state']!.subarray(0, CHUNK_BYTES)))
  const all = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }
  const report = await verifyPoints(contextOf(stand), all)
  expect(report.lost).toMatchObject([{ point: id, disk: 'swtpm/state', offset: 0, length: CHUNK_BYTES }])
  expect((await find(stand, id)).lostBytes).toBe(CHUNK_BYTES)
  expect(await codeOf(read(stand, id, 'swtpm/state'))).toBe('DATA_DAMAGED')
  expect(await read(stand, id, 'domain.xml')).toEqual(FILES['domain.xml'])
  // the base's disks are not what is lost
  expect(await stand.datastore.catalog.lost.reread({ tenant: stand.tenant.id, point: id })).toMatchObject([
    { reread: [] },
  ])
  await pointOf(stand, machine, FILES)
  await expectFiles(stand, id, FILES)
  expect(await verifyPoints(contextOf(stand), all)).toMatchObject({ lostCount: 0, good: 2 })
})

test('a catalog that is built from packs alone has them all', async () => {
  await using stand = await Stand.open()
  const id = await pointOf(stand, await stand.machine('db1'), FILES)
  await stand.datastore.tenantStore(stand.tenant).writeState()
  await stand.datastore[Symbol.asyncDispose]()
  for (const suffix of ['', '-wal', '-shm'])
    await rm(path.join(stand.folder, `${CATALOG_NAME}${suffix}`), { force: true })
  expect(await rebuild({ folder: stand.folder, log: memoryLog() })).toMatchObject({ points: 1, missingRecords: 0 })
  await stand.reopen()
  await expectFiles(stand, id, FILES)
  const { tenant } = stand
  await confirmRoots(contextOf(stand), await stand.datastore.catalog.collection.roots({ tenant: tenant.id }))
  expect(await stand.datastore.catalog.condition.examine({ trusted: false })).toEqual([])
  expect(ATTACHMENT_READ).toEqual({ kind: 'full', reason: 'requested' })
})
