// Restores that the gateway orders: two real agents, a real QEMU's disks, and whoever dies meanwhile. Method: every way a restore
// may end is brought about, and then the folder has either the exact disk or nothing.
import { mkdir, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { asVarveError, type VarveError } from '../../protocol/errors.ts'
import type { Event } from '../../protocol/events.ts'
import type { Restore } from '../../protocol/restores.ts'
import { loopDevice, tinyFileSystem } from '../agent/restore/devices.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { startMachine } from '../support/qemu.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

// more than all buffers on the way hold, so that what is ordered later reaches an agent that is still writing
const SIZE_BYTES = 50 * MIB + 1536

/** Slow enough for a restore to be met half way, in bytes a second. */
const SLOW = 12 * MIB

const dice = new Dice(81)
const CONTENT = Buffer.concat([dice.bytes(24 * MIB), Buffer.alloc(2 * MIB), dice.bytes(24 * MIB + 1536)])
const OTHER = dice.bytes(MIB)

let stand: Stand
/** Has the machine. */
let source: Host
/** Restores it. */
let target: Host
let point: string
/** The folder that the target's agent allows, one for all tests, and what a test may use outside of it. */
let allowed: TempFolder
let outside: TempFolder
let folder: string
let count = 0

beforeAll(async () => {
  stand = await Stand.start()
  source = await stand.addHost()
  target = await stand.addHost()
  allowed = await tempFolder()
  outside = await tempFolder()
  await source.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: CONTENT },
    { id: 'vdb', format: 'raw', size: MIB, content: OTHER },
  ])
  await source.start()
  await target.start(allowing([allowed.path]))
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

const allowing = (folders: readonly string[], devices: readonly string[] = []) => ({
  tables: ['[restore]', `folders = ${JSON.stringify(folders)}`, `devices = ${JSON.stringify(devices)}`],
})

const disk = (to: string, name = 'vda', format: 'raw' | 'qcow2' | null = null) => ({ disk: name, to, format })

const start = async (to: string | ReturnType<typeof disk>[], overwrite = false): Promise<string> => {
  const disks = typeof to === 'string' ? [disk(to)] : to
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

const listed = async (restore: string): Promise<Restore | undefined> => {
  const { restores } = await (await stand.peer('viewer')).call('restores.list', {})
  return restores.find(({ id }) => id === restore)
}

/** Starts one over a slow link, and waits until it is half way. */
const halfWay = async (to: string, overwrite = false): Promise<string> => {
  target.link.bytesPerSecond = SLOW
  const restore = await start(to, overwrite)
  await eventually(async () => ((await listed(restore))?.disks[0]?.doneBytes ?? 0) > MIB)
  return restore
}

const events = async (): Promise<readonly Event[]> =>
  (await (await stand.peer('viewer')).call('events.list', { kinds: ['restore.done', 'restore.failed'] })).events

test('disks come to another host as they were: raw and qcow2, all or none, followed and told', async () => {
  const raw = `${folder}/vda.img`
  const qcow2 = `${folder}/vdb.qcow2`
  const restore = await start([disk(raw), disk(qcow2, 'vdb')])
  const done = await ended(restore)
  expect(done).toMatchObject({
    state: 'done',
    error: null,
    machine: 'db1',
    point,
    overwrite: false,
    by: expect.any(String),
  })
  expect(done.disks).toMatchObject([
    { disk: 'vda', to: raw, format: 'raw', size: SIZE_BYTES, doneBytes: SIZE_BYTES },
    { disk: 'vdb', to: qcow2, format: 'qcow2', doneBytes: MIB },
  ])
  expect((await readFile(raw)).equals(CONTENT)).toBe(true)
  await writeFile(outside.join('vdb.raw'), OTHER)
  const compared = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', outside.join('vdb.raw'), qcow2])
  expect(compared).toContain('identical')
  expect((await readdir(folder)).toSorted()).toEqual(['vda.img', 'vdb.qcow2'])
  await eventually(async () => (await events())[0]?.data['restore'] === restore)
  expect((await events())[0]).toMatchObject({ kind: 'restore.done', severity: 'info', machine: 'db1' })
  const { entries } = await (await stand.peer('auditor')).call('audit.list', {})
  const of = entries.filter((entry) => JSON.stringify(entry).includes(restore))
  expect(of.map(({ action, outcome }) => [action, outcome])).toEqual(
    expect.arrayContaining([
      ['restores.start', 'ok'],
      ['restores.end', 'ok'],
    ]),
  )
})

test('an agent reads what is not its own only while it restores just that', async () => {
  const foreign = (): Promise<unknown> =>
    target.run('restore', point, '--disk', 'vda', '--to', outside.join('stolen'), '--json')
  expect(await foreign()).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') })
  const restore = await halfWay(`${folder}/vda`)
  // points.get stays closed to it, and the command asks that first
  expect(await foreign()).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') })
  target.link.bytesPerSecond = null
  expect((await ended(restore)).state).toBe('done')
  expect(await foreign()).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') })
})

test('places that the configuration does not name are refused, whatever way leads there', async () => {
  await symlink(outside.path, `${folder}/out`)
  await symlink(outside.join('victim'), `${folder}/file`)
  await writeFile(outside.join('victim'), 'precious')
  const ways = [
    outside.join('new'),
    `${folder}/../../../../../../../../${outside.join('new')}`,
    `${folder}/out/new`,
    `${folder}/file`,
    allowed.path,
    '/dev/null',
  ]
  for (const to of ways) {
    const error = await failure(start(to, true))
    expect([to, error.code]).toEqual([to, 'RESTORE_FORBIDDEN'])
    expect(error.message).toContain('[restore]')
  }
  expect(await readFile(outside.join('victim'), 'utf8')).toBe('precious')
  const { restores } = await (await stand.peer('viewer')).call('restores.list', { state: 'running' })
  expect(restores).toEqual([])
  // what is forbidden says nothing of what is there
  const [there, none] = await Promise.all(
    [outside.join('victim'), outside.join('nothing')].map((to) => failure(start(to))),
  )
  expect(there!.message.replace('victim', '')).toBe(none!.message.replace('nothing', ''))
})

test('by default nothing is allowed, and a reload takes what is', async () => {
  const before = allowing([allowed.path])
  await target.reload({ tables: [] })
  const error = await failure(start(`${folder}/vda`))
  expect([error.code, error.message]).toEqual(['RESTORE_FORBIDDEN', expect.stringContaining('allows no restore')])
  const owner = await stand.peer('owner')
  const none = await owner.call('restores.places', { agent: target.agentId, places: [] })
  expect(none).toMatchObject({ folders: [], devices: [] })
  await target.reload(before)
  expect((await ended(await start(`${folder}/vda`))).state).toBe('done')
})

test('what is there is kept, replaced only by wish, and never while it is in use', async () => {
  const to = `${folder}/vda.raw`
  await writeFile(to, 'precious')
  const places = [{ to, size: SIZE_BYTES, format: null }]
  const operator = await stand.peer('operator')
  const look = async (): Promise<unknown> =>
    (await operator.call('restores.places', { agent: target.agentId, places })).places[0]
  expect(await look()).toMatchObject({ to, path: to, there: 'file', thereBytes: 8, format: 'raw', error: null })
  const kept = await failure(start(to))
  expect([kept.code, kept.message]).toEqual(['TARGET_EXISTS', expect.not.stringContaining('--force')])
  expect((await readFile(to)).equals(Buffer.from('precious'))).toBe(true)
  expect((await ended(await start(to, true))).state).toBe('done')
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
  await using qemu = await startMachine({
    folder: outside.path,
    disks: [{ id: 'vda', file: to, format: 'raw', size: SIZE_BYTES }],
  })
  expect(await look()).toMatchObject({ error: { code: 'TARGET_IN_USE' } })
  expect((await failure(start(to, true))).code).toBe('TARGET_IN_USE')
  await qemu[Symbol.asyncDispose]()
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
})

test('a device is written only where the configuration names it', async () => {
  await writeFile(outside.join('device'), Buffer.alloc(52 * MIB, 7))
  await using loop = await loopDevice(outside.join('device'))
  expect(loop).not.toBeNull()
  const { path } = loop!
  expect((await failure(start(path, true))).code).toBe('RESTORE_FORBIDDEN')
  await symlink(path, `${folder}/link`)
  expect((await failure(start(`${folder}/link`, true))).code).toBe('RESTORE_FORBIDDEN')
  await target.reload(allowing([allowed.path], [path.replace(/.$/u, '*')]))
  expect((await failure(start(path))).code).toBe('TARGET_EXISTS')
  expect((await ended(await start(path, true))).state).toBe('done')
  await target.reload(allowing([allowed.path]))
  const written = await readFile(outside.join('device'))
  expect(written.subarray(0, SIZE_BYTES).equals(CONTENT)).toBe(true)
})

test('who cancels it gets an empty folder, and what was to be replaced stays', async () => {
  const to = `${folder}/vda`
  await writeFile(to, 'precious')
  const restore = await halfWay(to, true)
  expect((await readdir(folder)).length).toBe(2)
  await (await stand.peer('operator')).call('restores.cancel', { restore })
  expect(await ended(restore)).toMatchObject({ state: 'failed', error: { code: 'CANCELLED' } })
  await eventually(async () => (await readdir(folder)).length === 1)
  expect((await readFile(to)).equals(Buffer.from('precious'))).toBe(true)
  expect((await failure((await stand.peer('operator')).call('restores.cancel', { restore }))).code).toBe('JOB_ENDED')
})

test('a second restore into one file is refused, and so are two disks of one restore', async () => {
  const to = `${folder}/vda`
  const restore = await halfWay(to)
  expect((await failure(start(to))).code).toBe('TARGET_IN_USE')
  await symlink(folder, `${folder}-link`)
  const twice = [disk(`${folder}/new`), disk(`${folder}-link/new`, 'vdb')]
  expect((await failure(start(twice))).code).toBe('TARGET_IN_USE')
  target.link.bytesPerSecond = null
  expect((await ended(restore)).state).toBe('done')
  expect(await readdir(folder)).toEqual(['vda'])
})

test('the point of a restore that runs is not removed, and is free afterwards', async () => {
  const owner = await stand.peer('owner')
  const rules = { machine: null, group: null, rules: null, points: [point], dryRun: true }
  const restore = await halfWay(`${folder}/vda`)
  const kept = await owner.call('points.prune', rules).then(
    ({ points }) => JSON.stringify(points),
    (thrown: unknown) => asVarveError(thrown).message,
  )
  expect(kept).toMatch(/in-use|being restored/u)
  target.link.bytesPerSecond = null
  await ended(restore)
})

test('a link that is cut, and a folder that is moved away, end it with nothing left', async () => {
  const cut = await halfWay(`${folder}/vda`)
  target.link.cut()
  expect(await ended(cut)).toMatchObject({ state: 'failed', error: { code: 'AGENT_OFFLINE' } })
  await eventually(async () => (await readdir(folder)).length === 0)
  await eventually(async () => (await target.agent.says(/connected to the gateway/), true))
  const moved = await eventually(async () => halfWay(`${folder}/vda`).catch(() => null))
  await rename(folder, outside.join('moved'))
  await symlink(outside.join('moved'), folder)
  target.link.bytesPerSecond = null
  expect(await ended(moved)).toMatchObject({ state: 'failed', error: { code: 'RESTORE_FORBIDDEN' } })
  expect(await readdir(outside.join('moved'))).toEqual([])
})

test('a full disk ends it with the reason and nothing left', async () => {
  await using tiny = await tinyFileSystem(`${folder}/tiny`, 4 * MIB)
  expect(tiny).not.toBeNull()
  const failed = await ended(await start(`${tiny!.path}/vda`))
  expect(failed).toMatchObject({ state: 'failed', error: { code: 'TARGET_INVALID' } })
  expect(failed.error!.message).toContain('no space left')
  await eventually(async () => (await readdir(tiny!.path)).length === 0)
  await eventually(async () => (await events())[0]?.kind === 'restore.failed')
})

test('who may: a viewer and another tenant may not, and learn nothing', async () => {
  const asked = { point, agent: target.agentId, disks: [disk(`${folder}/vda`)], overwrite: false }
  for (const role of ['viewer', 'auditor'] as const) {
    const peer = await stand.peer(role)
    expect((await failure(peer.call('restores.start', asked))).code).toBe('ROLE_FORBIDDEN')
    expect((await failure(peer.call('restores.places', { agent: target.agentId }))).code).toBe('ROLE_FORBIDDEN')
  }
  const restore = await halfWay(`${folder}/vda`)
  expect((await failure((await stand.peer('viewer')).call('restores.cancel', { restore }))).code).toBe('ROLE_FORBIDDEN')
  const stranger = await stand.peer('owner', 'other')
  expect((await failure(stranger.call('restores.start', asked))).code).toBe('NOT_FOUND')
  expect((await failure(stranger.call('restores.places', { agent: target.agentId }))).code).toBe('NOT_FOUND')
  expect((await failure(stranger.call('restores.cancel', { restore }))).code).toBe('NOT_FOUND')
  expect((await failure(stranger.open('restores.watch', { restore }).result)).code).toBe('NOT_FOUND')
  expect((await stranger.call('restores.list', {})).restores).toEqual([])
  target.link.bytesPerSecond = null
  expect((await ended(restore)).state).toBe('done')
})

test('the commands order it, follow it and list it', async () => {
  const to = `${folder}/vda`
  const ordered = ['restore', point.slice(0, 8), '--tenant', 'acme', '--agent', target.agentId, '--disk', `vda=${to}`]
  const { stdout } = await stand.done(...ordered, '--watch')
  expect(stdout).toContain(`is in ${to}`)
  expect((await readFile(to)).equals(CONTENT)).toBe(true)
  expect(await stand.run(...ordered, '--watch')).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('TARGET_EXISTS'),
  })
  const at = ['restore', 'db1', '--at', 'now', '--tenant', 'acme', '--agent', target.agentId]
  const newest = await stand.done(...at, '--disk', `vda=${to}`, '--overwrite', '--watch')
  expect(newest.stderr).toContain('is the newest of db1')
  const list = await stand.done('restores', 'list', '--tenant', 'acme', '--limit', '1')
  expect(list.stdout).toMatch(/db1.*vda=.*done/u)
  const nobody = await stand.run('restore', point, '--tenant', 'acme', '--agent', 'nobody', '--disk', `vda=${to}`)
  expect(nobody).toMatchObject({ code: 1, stderr: expect.stringContaining('no agent runs on a host "nobody"') })
})

test('a killed agent leaves nothing once it is back', async () => {
  const restore = await halfWay(`${folder}/vda`)
  await target.end('SIGKILL')
  expect(await ended(restore)).toMatchObject({ state: 'failed', error: { code: 'AGENT_OFFLINE' } })
  expect((await readdir(folder)).length).toBe(1)
  await target.start()
  expect(await readdir(folder)).toEqual([])
})

test('a killed gateway has ended it when it is back, and its agent has left nothing', async () => {
  const restore = await halfWay(`${folder}/vda`)
  await stand.endGateway('SIGKILL')
  await eventually(async () => (await readdir(folder)).length === 0)
  await stand.startGateway()
  expect(await ended(restore)).toMatchObject({ state: 'failed', error: { code: 'GOING_AWAY' } })
  target.link.bytesPerSecond = null
  const again = await eventually(() => start(`${folder}/vda`).catch(() => null))
  expect((await ended(again)).state).toBe('done')
  expect((await readFile(`${folder}/vda`)).equals(CONTENT)).toBe(true)
})
