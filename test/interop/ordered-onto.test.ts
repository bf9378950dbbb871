// Orders of the gateway onto images that are there: only what differs is written, nothing outside of the allowed places, and an
// order that ends half way is completed by the same one. Method: a real agent, real images, and whoever ends it meanwhile.
import { copyFile, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import type { Restore, RestoreHow } from '../../protocol/restores.ts'
import { loopDevice } from '../agent/restore/devices.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { startMachine } from '../support/qemu.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

const SIZE_BYTES = 40 * MIB + 1536
const CHUNK_BYTES = 64 * KIB

/** Slow enough for an order to be met while it writes, in bytes a second. */
const SLOW = 4 * MIB

const dice = new Dice(82)
const CONTENT = Buffer.concat([dice.bytes(20 * MIB), Buffer.alloc(2 * MIB), dice.bytes(18 * MIB + 1536)])
const OTHER = dice.bytes(MIB)

/** Three chunks of it are others; one of these is zero in the point. */
const damaged = (): Buffer => {
  const bytes = Buffer.from(CONTENT)
  bytes.fill(1, MIB, MIB + 10)
  bytes.fill(2, 21 * MIB, 21 * MIB + CHUNK_BYTES)
  bytes.fill(3, SIZE_BYTES - 100)
  return bytes
}
const DIFFER_BYTES = 2 * CHUNK_BYTES + (SIZE_BYTES % CHUNK_BYTES)

let stand: Stand
let target: Host
let point: string
let allowed: TempFolder
let outside: TempFolder
let folder: string
let count = 0

beforeAll(async () => {
  stand = await Stand.start()
  const source = await stand.addHost()
  target = await stand.addHost()
  allowed = await tempFolder()
  outside = await tempFolder()
  await source.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: CONTENT },
    { id: 'vdb', format: 'raw', size: MIB, content: OTHER },
  ])
  await source.start()
  await target.start(allowing([]))
  point = (await source.backup('db1')).point
})

beforeEach(async () => {
  folder = allowed.join(`test-${(count += 1)}`)
  await mkdir(folder)
})

afterEach(() => {
  target.link.bytesPerSecond = null
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
  await allowed[Symbol.asyncDispose]()
  await outside[Symbol.asyncDispose]()
})

const allowing = (devices: readonly string[]) => ({
  tables: ['[restore]', `folders = ${JSON.stringify([allowed.path])}`, `devices = ${JSON.stringify(devices)}`],
})

const disk = (to: string, how: RestoreHow = 'onto', name = 'vda') => ({ disk: name, to, format: null, how })

const start = async (to: string | ReturnType<typeof disk>[], how?: RestoreHow, overwrite = false): Promise<string> => {
  const disks = typeof to === 'string' ? [disk(to, how)] : to
  const asked = { point, agent: target.agentId, disks, overwrite }
  return (await (await stand.peer('operator')).call('restores.start', asked)).restore
}

const ended = async (restore: string): Promise<Restore> =>
  (await stand.peer('viewer')).open('restores.watch', { restore }).result

const failure = async (work: Promise<unknown>): Promise<VarveError> =>
  work.then(
    () => expect.unreachable('it was not refused'),
    (thrown: unknown) => asVarveError(thrown),
  )

const look = async (to: string, how: RestoreHow = 'onto') => {
  const places = [{ to, size: SIZE_BYTES, format: null, how }]
  return (await (await stand.peer('operator')).call('restores.places', { agent: target.agentId, places })).places[0]!
}

const qcow2Of = async (file: string, content: Buffer): Promise<void> => {
  await writeFile(outside.join('raw'), content)
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', outside.join('raw'), file])
}

const sameAs = async (file: string, content: Buffer): Promise<boolean> => {
  await writeFile(outside.join('wanted'), content)
  const said = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', outside.join('wanted'), file]).catch(
    (error: unknown) => String(error),
  )
  return said.includes('identical')
}

/** Starts one that has to fetch all of the disk, and waits until it has written some. */
const halfWay = async (to: string): Promise<string> => {
  target.link.bytesPerSecond = SLOW
  const restore = await start(to)
  await eventually(async () => {
    const { restores } = await (await stand.peer('viewer')).call('restores.list', { limit: 1 })
    return (restores[0]?.disks[0]?.writtenBytes ?? 0) > 0
  })
  return restore
}

test('a comparison says how much differs and writes nothing; then only that is written', async () => {
  const raw = `${folder}/vda.raw`
  const qcow2 = `${folder}/vdb.qcow2`
  await writeFile(raw, damaged())
  const off = Buffer.from(OTHER)
  off.fill(9, 0, 4)
  await qcow2Of(qcow2, off)
  const before = await stat(raw)
  const both = (how: RestoreHow) => [disk(raw, how), disk(qcow2, how, 'vdb')]
  expect(await look(raw)).toMatchObject({ there: 'file', thereBytes: SIZE_BYTES, format: 'raw', error: null })
  const compared = await ended(await start(both('compare')))
  expect(compared).toMatchObject({ state: 'done', error: null })
  expect(compared.disks).toMatchObject([
    { how: 'compare', doneBytes: SIZE_BYTES, differBytes: DIFFER_BYTES, writtenBytes: 0, bytesReceived: 0 },
    { how: 'compare', doneBytes: MIB, differBytes: CHUNK_BYTES, writtenBytes: 0, bytesReceived: 0 },
  ])
  expect((await readFile(raw)).equals(damaged())).toBe(true)
  expect((await stat(raw)).mtimeMs).toBe(before.mtimeMs)
  const done = await ended(await start(both('onto')))
  expect(done).toMatchObject({ state: 'done', error: null })
  expect(done.disks).toMatchObject([
    { how: 'onto', format: 'raw', differBytes: DIFFER_BYTES, writtenBytes: DIFFER_BYTES },
    { how: 'onto', format: 'qcow2', differBytes: CHUNK_BYTES, writtenBytes: CHUNK_BYTES },
  ])
  // a chunk that is zero in the point is not fetched
  expect(done.disks[0]!.bytesReceived).toBeLessThan(2 * CHUNK_BYTES)
  expect((await readFile(raw)).equals(CONTENT)).toBe(true)
  expect((await stat(raw)).ino).toBe(before.ino)
  expect(await sameAs(qcow2, OTHER)).toBe(true)
  expect((await readdir(folder)).toSorted()).toEqual(['vda.raw', 'vdb.qcow2'])
  const { events } = await (await stand.peer('viewer')).call('events.list', { kinds: ['restore.done'] })
  expect(events.map(({ data }) => data['restore'])).toEqual([done.id])
  expect(events[0]!.text).toContain('that differed were written')
  // what equals the point is left as it is
  const again = await ended(await start(raw))
  expect(again.disks[0]).toMatchObject({ differBytes: 0, writtenBytes: 0 })
})

test('one that is refused leaves no restore, and says why: not there, in use, of another size, or where it may not be', async () => {
  const to = `${folder}/vda.raw`
  const none = await failure(start(to))
  expect([none.code, none.message]).toEqual(['TARGET_INVALID', expect.stringContaining('does not exist')])
  expect(none.message).not.toContain('--')
  expect(await look(to)).toMatchObject({ there: null, error: { code: 'TARGET_INVALID' } })
  await writeFile(to, damaged().subarray(0, MIB))
  const small = await failure(start(to))
  expect([small.code, small.message]).toEqual([
    'TARGET_INVALID',
    expect.stringContaining('"overwrite" makes it larger'),
  ])
  expect((await stat(to)).size).toBe(MIB)
  const compared = await ended(await start(to, 'compare', true))
  expect([compared.state, (await stat(to)).size]).toEqual(['done', MIB])
  expect((await ended(await start(to, 'onto', true))).state).toBe('done')
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
  {
    await using qemu = await startMachine({
      folder: outside.path,
      disks: [{ id: 'vda', file: to, format: 'raw', size: SIZE_BYTES }],
    })
    expect(qemu).toBeDefined()
    expect((await look(to)).error?.code).toBe('TARGET_IN_USE')
    for (const how of ['compare', 'onto'] as const) expect((await failure(start(to, how))).code).toBe('TARGET_IN_USE')
  }
  await writeFile(outside.join('victim'), damaged())
  await symlink(outside.join('victim'), `${folder}/link`)
  for (const place of [outside.join('victim'), `${folder}/link`])
    expect((await failure(start(place))).code).toBe('RESTORE_FORBIDDEN')
  expect((await readFile(outside.join('victim'))).equals(damaged())).toBe(true)
  const mixed = await failure(start([disk(to), disk(`${folder}/new`, 'new', 'vdb')]))
  expect(mixed.code).toBe('PARAMS_INVALID')
  const { restores } = await (await stand.peer('viewer')).call('restores.list', { state: 'running' })
  expect(restores).toEqual([])
})

test('an image whose header names another file is refused, and so is what an interrupted one left elsewhere', async () => {
  const victim = outside.join('precious')
  await writeFile(victim, Buffer.alloc(SIZE_BYTES, 5))
  const backed = `${folder}/backed.qcow2`
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', victim, '-F', 'raw', backed])
  const split = `${folder}/split.qcow2`
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${victim},data_file_raw=on`,
    split,
    `${SIZE_BYTES}`,
  ])
  await writeFile(victim, Buffer.alloc(SIZE_BYTES, 5))
  for (const [place, says] of [
    [backed, 'a backing file'],
    [split, 'its data in another file'],
  ] as const) {
    expect((await look(place)).error).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining(says) })
    for (const how of ['compare', 'onto'] as const) {
      const error = await failure(start(place, how))
      expect([error.code, error.message]).toEqual(['TARGET_INVALID', expect.stringContaining(says)])
    }
  }
  await symlink(victim, `${folder}/vda.raw.varve-incomplete`)
  expect((await look(`${folder}/vda.raw`)).error?.code).toBe('RESTORE_FORBIDDEN')
  expect((await failure(start(`${folder}/vda.raw`))).code).toBe('RESTORE_FORBIDDEN')
  expect((await readFile(victim)).equals(Buffer.alloc(SIZE_BYTES, 5))).toBe(true)
})

test('a device is compared and written where the configuration names it', async () => {
  await writeFile(outside.join('device'), Buffer.concat([damaged(), Buffer.alloc(2 * MIB - 1536, 7)]))
  await using loop = await loopDevice(outside.join('device'))
  expect(loop).not.toBeNull()
  const { path } = loop!
  expect((await failure(start(path))).code).toBe('RESTORE_FORBIDDEN')
  await target.reload(allowing([path]))
  expect(await look(path)).toMatchObject({ there: 'device', error: null })
  const done = await ended(await start(path))
  expect([done.state, done.disks[0]!.differBytes]).toEqual(['done', DIFFER_BYTES])
  await target.reload(allowing([]))
  const written = await readFile(outside.join('device'))
  expect(written.subarray(0, SIZE_BYTES).equals(CONTENT)).toBe(true)
  expect(written.subarray(SIZE_BYTES).every((byte) => byte === 7)).toBe(true)
})

test('one that is ended while it writes says what it leaves, which no machine takes for whole, and the same order completes', async () => {
  const to = `${folder}/vda.raw`
  await writeFile(to, Buffer.alloc(SIZE_BYTES, 1))
  const cancelled = await halfWay(to)
  await (await stand.peer('operator')).call('restores.cancel', { restore: cancelled })
  const end = await ended(cancelled)
  expect(end).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  expect(end.error!.message).toContain('.varve-incomplete')
  expect(await readdir(folder)).toEqual(['vda.raw.varve-incomplete'])
  // its agent may still be ending it
  const cut = await eventually(() => halfWay(to).catch(() => null))
  target.link.cut()
  const lost = await ended(cut)
  expect(lost).toMatchObject({ state: 'failed', error: { code: 'AGENT_OFFLINE' } })
  expect(lost.error!.message).toContain('.varve-incomplete')
  expect(await readdir(folder)).toEqual(['vda.raw.varve-incomplete'])
  target.link.bytesPerSecond = null
  await eventually(async () => (await look(to).catch(() => null))?.error === null)
  const done = await ended(await eventually(() => start(to).catch(() => null)))
  expect(done.state).toBe('done')
  expect(done.disks[0]!.writtenBytes).toBeLessThanOrEqual(SIZE_BYTES)
  expect(await readdir(folder)).toEqual(['vda.raw'])
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
})

test('a folder that is moved away while it compares ends it before anything is written', async () => {
  const to = `${folder}/vda.raw`
  const other = Buffer.alloc(SIZE_BYTES, 1)
  await writeFile(to, other)
  await mkdir(outside.join('else'))
  await copyFile(to, outside.join('else', 'vda.raw'))
  // the tree's nodes take seconds
  target.link.bytesPerSecond = 512
  const restore = await start(to)
  await rename(folder, outside.join('moved'))
  await symlink(outside.join('else'), folder)
  target.link.bytesPerSecond = null
  expect(await ended(restore)).toMatchObject({ state: 'failed', error: { code: 'RESTORE_FORBIDDEN' } })
  for (const where of ['moved', 'else'])
    expect((await readFile(outside.join(where, 'vda.raw'))).equals(other)).toBe(true)
})

test('the commands order it, and say what was found', async () => {
  const to = `${folder}/vda.raw`
  await writeFile(to, damaged())
  const ordered = ['restore', point, '--tenant', 'acme', '--agent', target.agentId, '--disk', `vda=${to}`, '--watch']
  const dry = await stand.done(...ordered, '--onto', '--dry-run')
  expect(dry.stdout).toMatch(/differ from disk vda of db1 .*nothing was written/u)
  expect((await readFile(to)).equals(damaged())).toBe(true)
  const done = await stand.done(...ordered, '--onto')
  expect(done.stdout).toMatch(/differed, .* written/u)
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
  expect(await stand.run(...ordered, '--dry-run')).toMatchObject({
    stderr: expect.stringContaining('--dry-run is for --onto'),
  })
})
