// Every call on a real libvirt. Goal: what libvirt does and says is what the types promise. Method: a libvirtd of its own in
// each of its two modes, and domains without a system; a scripted daemon where a real one cannot be made to ask for a proof.
import { existsSync } from 'node:fs'
import { mkdir, stat } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { LIBVIRT_CODES } from '../../../agent/libvirt/codes.ts'
import { LibvirtConnection } from '../../../agent/libvirt/connection.ts'
import { isLibvirtError, type LibvirtCode } from '../../../agent/libvirt/errors.ts'
import type { LibvirtEvent } from '../../../agent/libvirt/types.ts'
import { attributeOf, childrenOf, elementAt, readXml, textAt, xml } from '../../../agent/libvirt/xml.ts'
import { XdrWriter } from '../../../agent/libvirt/xdr.ts'
import { blockPull, createSnapshot, managedSave, resizeDisk, setThreshold } from '../../support/libvirt-calls.ts'
import { startLibvirt, type TestDomainDisk, type TestLibvirt } from '../../support/libvirt.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { HANDSHAKE, refusal, startDaemon } from './scripted-daemon.ts'

const MIB = 1024 * 1024

const disk = (folder: TempFolder, target: string, format: 'qcow2' | 'raw' = 'qcow2'): TestDomainDisk => ({
  target,
  format,
  file: folder.join(`${target}.${format}`),
  size: 4 * MIB,
})

const refusedWith = async (call: Promise<unknown>, ...codes: LibvirtCode[]): Promise<string> => {
  const error = await call.catch((thrown: unknown) => thrown)
  if (!isLibvirtError(error, ...codes)) throw new Error(`not refused with ${codes.join()}`, { cause: error })
  return error.message
}

/** A pull backup of vda, to a socket and a scratch image in a folder that QEMU can write to. */
const backupTo = async (libvirt: TestLibvirt, folder: TempFolder, since: string | null = null): Promise<string> => {
  const place = folder.join('b')
  await mkdir(place, { recursive: true })
  await libvirt.give(place)
  return xml`<domainbackup mode='pull'>${since === null ? null : xml`<incremental>${since}</incremental>`}
<server transport='unix' socket='${place}/nbd'/>
<disks><disk name='vda' backup='yes' type='file' exportname='vda'><scratch file='${place}/scratch'/></disk></disks>
</domainbackup>`.text
}

const checkpointOf = (name: string): string =>
  xml`<domaincheckpoint><name>${name}</name><disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>`
    .text

test.each(['session', 'system'] as const)('domains are found and described (%s)', async (mode) => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path, mode })
  await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
  expect(connection.version).toBeGreaterThan(7_002_000)
  expect(await connection.hypervisorVersion()).toBeGreaterThan(4_002_000)
  expect(await connection.listAllDomains()).toEqual([])
  const machine = await libvirt.define({ name: 'db ü&1', disks: [disk(folder, 'vda'), disk(folder, 'vdb', 'raw')] })
  const off = await connection.domainByName('db ü&1')
  expect(off).toEqual({ name: 'db ü&1', uuid: machine.domain.uuid, id: null })
  for (const uuid of [off.uuid.toUpperCase(), off.uuid.replaceAll('-', '')])
    expect(await connection.domainByUuid(uuid)).toEqual(off)
  await refusedWith(connection.domainByName('none'), LIBVIRT_CODES.noDomain)
  await refusedWith(connection.domainByUuid('00000000-0000-0000-0000-000000000001'), LIBVIRT_CODES.noDomain)
  await expect(connection.domainByUuid('x')).rejects.toMatchObject({ code: 'PARAMS_INVALID' })
  expect(await connection.domainState(off)).toEqual({ state: 'shut-off', reason: 'unknown' })
  await machine.start()
  const on = await connection.domainByName('db ü&1')
  expect(on.id).toBeGreaterThan(0)
  expect(await connection.listAllDomains({ active: true })).toEqual([on])
  expect(await connection.listAllDomains({ active: false })).toEqual([])
  expect(await connection.domainState(on)).toEqual({ state: 'paused', reason: 'user' })
  expect(await connection.domainInfo(on)).toEqual({
    state: 'paused',
    memoryMaxBytes: 64 * MIB,
    memoryBytes: 64 * MIB,
    cpus: 1,
  })
  const domain = readXml(await connection.domainXml(on), { root: 'domain' })
  expect(attributeOf(domain, 'id')).toBe(String(on.id))
  expect(textAt(domain, 'uuid')).toBe(off.uuid)
  expect(childrenOf(elementAt(domain, 'devices')!, 'disk').length).toBe(2)
  const next = readXml(await connection.domainXml(on, { inactive: true, secure: true, migratable: true }), {
    root: 'domain',
  })
  expect(attributeOf(next, 'id')).toBeNull()
  expect(await connection.isPersistent(on)).toBe(true)
  expect(await connection.autostart(on)).toBe(false)
  await machine.setAutostart(true)
  expect(await connection.autostart(on)).toBe(true)
  expect(await connection.diskErrors(on)).toEqual([])
  await machine.resume()
  expect(await connection.domainState(on)).toEqual({ state: 'running', reason: 'unpaused' })
  await machine.suspend()
  await connection.resume(on)
  expect((await connection.domainState(on)).state).toBe('running')
  await machine.destroy()
  expect(await connection.domainState(on)).toEqual({ state: 'shut-off', reason: 'destroyed' })
})

test('a transient domain is one that nobody defined', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const machine = await libvirt.startTransient({ name: 'passing', disks: [disk(folder, 'vda')] })
  expect(await libvirt.control.isPersistent(machine.domain)).toBe(false)
  await machine.destroy()
  await refusedWith(libvirt.control.domainState(machine.domain), LIBVIRT_CODES.noDomain)
})

test('a pull backup with a checkpoint, from begin to abort, and an increment of it', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const { control } = libvirt
  const machine = await libvirt.define({ name: 'db1', disks: [disk(folder, 'vda'), disk(folder, 'vdb', 'raw')] })
  const { domain } = machine
  const full = await backupTo(libvirt, folder)
  expect(await refusedWith(control.backupBegin(domain, full, null), LIBVIRT_CODES.operationUnsupported)).toMatch(
    /inactive domain/,
  )
  await machine.start()
  await machine.guestWrite('vda', 7, 0, MIB)
  await refusedWith(control.backupXml(domain), LIBVIRT_CODES.noBackup)
  expect(await control.jobStats(domain)).toMatchObject({ type: 'none' })
  const events: LibvirtEvent[] = []
  control.subscribe((event) => void events.push(event))
  await control.backupBegin(domain, full, checkpointOf('cp1'))
  expect((await stat(folder.join('b/nbd'))).isSocket()).toBe(true)
  const running = readXml(await control.backupXml(domain), { root: 'domainbackup' })
  expect(attributeOf(running, 'mode')).toBe('pull')
  await machine.guestWrite('vda', 8, 0, MIB)
  const job = await control.jobStats(domain)
  expect(job).toMatchObject({ type: 'unbounded', operation: 'backup', success: null })
  expect(job.scratchUsed).toBeGreaterThan(0)
  expect(job.scratchTotal).toBe(4 * MIB)
  expect(await control.blockJobInfo(domain, 'vda')).toMatchObject({ type: 'backup' })
  await control.abortJob(domain)
  await eventually(() => events.some(({ kind }) => kind === 'job-completed'))
  expect(events.filter(({ kind }) => kind === 'job-completed')).toEqual([
    expect.objectContaining({
      domain: expect.objectContaining({ name: 'db1' }),
      job: expect.objectContaining({ operation: 'backup' }),
    }),
  ])
  expect(await control.jobStats(domain, { completed: true, keepCompleted: true })).toMatchObject({
    operation: 'backup',
  })
  expect(existsSync(folder.join('b/scratch'))).toBe(false)
  const increment = await backupTo(libvirt, folder, 'cp1')
  await control.backupBegin(domain, increment, checkpointOf('cp2'), { timeoutMs: 60_000 })
  await control.abortJob(domain)
  expect(await refusedWith(control.backupBegin(domain, await backupTo(libvirt, folder, 'none'), null))).toMatch(/none/)
  expect(await control.blockJobInfo(domain, 'vda')).toBeNull()
})

test('checkpoints are listed, described, made anew and deleted', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const { control } = libvirt
  const machine = await libvirt.startDomain({ name: 'db1', disks: [disk(folder, 'vda')] })
  const { domain } = machine
  expect(await control.listCheckpoints(domain)).toEqual([])
  for (const name of ['z', 'm', 'a']) await control.checkpointCreate(domain, checkpointOf(name))
  const [first, second, third] = await control.listCheckpoints(domain)
  expect([first?.name, second?.name, third?.name]).toEqual(['z', 'm', 'a'])
  expect(await control.checkpointByName(domain, 'm')).toEqual(second)
  expect(await control.checkpointParent(third!)).toEqual(second)
  expect(await control.checkpointParent(first!)).toBeNull()
  const none = { name: 'none', domain }
  await refusedWith(control.checkpointByName(domain, 'none'), LIBVIRT_CODES.noCheckpoint)
  await refusedWith(control.checkpointParent(none), LIBVIRT_CODES.noCheckpoint)
  await machine.guestWrite('vda', 9, 0, MIB)
  const sized = readXml(await control.checkpointXml(first!, { size: true }), { root: 'domaincheckpoint' })
  expect(attributeOf(elementAt(sized, 'disks/disk'), 'size')).toBe(String(MIB))
  expect(elementAt(sized, 'domain')).toBeNull()
  const whole = await control.checkpointXml(first!, { domain: true, secure: true })
  expect(textAt(readXml(whole, { root: 'domaincheckpoint' }), 'domain/name')).toBe('db1')
  await control.checkpointDelete(third!, { metadataOnly: true })
  expect((await control.listCheckpoints(domain)).map(({ name }) => name)).toEqual(['z', 'm'])
  const again = xml`<domaincheckpoint><name>a</name><parent><name>m</name></parent><creationTime>1</creationTime>
<disks><disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>`.text
  expect((await control.checkpointCreate(domain, again, { redefineValidate: true })).name).toBe('a')
  await refusedWith(
    control.checkpointCreate(domain, again.replace('<name>a', '<name>b'), { redefineValidate: true }),
    LIBVIRT_CODES.checkpointInconsistent,
  )
  await control.checkpointDelete(first!)
  await control.checkpointDelete(second!, { children: true })
  expect(await control.listCheckpoints(domain)).toEqual([])
  await refusedWith(control.checkpointDelete(none), LIBVIRT_CODES.noCheckpoint)
})

test('after a crash of QEMU the checkpoint is inconsistent', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const { control } = libvirt
  const machine = await libvirt.startDomain({ name: 'db1', disks: [disk(folder, 'vda')] })
  await control.checkpointCreate(machine.domain, checkpointOf('cp1'))
  await machine.kill9()
  await machine.start()
  const backup = await backupTo(libvirt, folder, 'cp1')
  expect(
    await refusedWith(control.backupBegin(machine.domain, backup, null), LIBVIRT_CODES.checkpointInconsistent),
  ).toMatch(/missing or broken bitmap 'cp1' for disk 'vda'/)
})

test('what is told of disks, snapshots and saved memory', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const { control } = libvirt
  const machine = await libvirt.startDomain({ name: 'db1', disks: [disk(folder, 'vda')] })
  // snapshots lie beside the disk
  await libvirt.give(folder.path)
  const { domain } = machine
  await machine.guestWrite('vda', 7, 0, MIB)
  const info = await control.blockInfo(domain, 'vda')
  expect(info.capacity).toBe(4 * MIB)
  expect(info.physical).toBeGreaterThan(MIB)
  expect(info.allocation).toBeGreaterThan(MIB)
  await resizeDisk(control, domain, 'vda', 8n * BigInt(MIB))
  expect((await control.blockInfo(domain, 'vda')).capacity).toBe(8 * MIB)
  expect(await control.listSnapshots(domain)).toEqual([])
  const events: LibvirtEvent[] = []
  control.subscribe((event) => void events.push(event))
  const diskOnly = 16
  await createSnapshot(control, domain, '<domainsnapshot><name>s1</name></domainsnapshot>', diskOnly)
  expect(await control.listSnapshots(domain)).toEqual([
    { name: 's1', domain: expect.objectContaining({ name: 'db1' }) },
  ])
  await blockPull(control, domain, 'vda')
  const pulled = { kind: 'block-job', disk: 'vda', job: 'pull', state: 'completed' }
  await eventually(() => events.some(({ kind }) => kind === 'block-job'))
  expect(events).toContainEqual(expect.objectContaining(pulled))
  await setThreshold(control, domain, 'vda', BigInt(MIB))
  await machine.guestWrite('vda', 7, 2 * MIB, MIB)
  await eventually(() => events.some(({ kind }) => kind === 'block-threshold'))
  expect(events).toContainEqual(
    expect.objectContaining({ kind: 'block-threshold', device: 'vda', threshold: BigInt(MIB) }),
  )
  await machine.resume()
  expect(await control.hasManagedSave(domain)).toBe(false)
  await managedSave(control, domain)
  expect(await control.hasManagedSave(domain)).toBe(true)
  expect(await control.domainState(domain)).toEqual({ state: 'shut-off', reason: 'saved' })
})

test('a domain without an agent is not frozen', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const { control } = libvirt
  const bare = await libvirt.startDomain({ name: 'bare', disks: [] })
  await bare.resume()
  await refusedWith(control.fsFreeze(bare.domain), LIBVIRT_CODES.argumentUnsupported)
  const devices = xml`<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`
  const deaf = await libvirt.startDomain({ name: 'deaf', disks: [], devices })
  await deaf.resume()
  await refusedWith(control.fsFreeze(deaf.domain, { timeoutMs: 60_000 }), LIBVIRT_CODES.agentUnresponsive)
  await refusedWith(control.fsThaw(deaf.domain), LIBVIRT_CODES.agentUnresponsive)
})

test('events tell a domain’s life, to whoever listens still', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
  const told: string[] = []
  const others: LibvirtEvent[] = []
  connection.subscribe((event) => void (event.kind === 'lifecycle' && told.push(`${event.event} ${event.detail}`)))
  connection.subscribe((event) => void others.push(event))()
  const machine = await libvirt.startDomain({ name: 'db1', disks: [] })
  await machine.resume()
  await machine.suspend()
  await machine.kill9()
  await machine.start()
  await machine.destroy()
  await machine.undefine()
  await eventually(() => told.includes('undefined other'))
  expect(told).toEqual([
    'defined other',
    'started booted',
    'suspended paused',
    'resumed unpaused',
    'suspended paused',
    'stopped failed',
    'started booted',
    'suspended paused',
    'shutdown other',
    'stopped destroyed',
    'undefined other',
  ])
  expect(others).toEqual([])
})

test('a daemon that stands still is noticed, one that is killed at once', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const still = await LibvirtConnection.open({ uri: libvirt.uri, pingEveryMs: 50 })
  await using killed = await LibvirtConnection.open({ uri: libvirt.uri })
  // it is asked for signs of life, and gives them
  await new Promise((resolve) => void setTimeout(resolve, 500))
  expect(await still.listAllDomains()).toEqual([])
  process.kill(libvirt.pid, 'SIGSTOP')
  expect(await still.closed).toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringMatching(/no sign of life/),
  })
  await expect(LibvirtConnection.open({ uri: libvirt.uri, timeoutMs: 100 })).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringContaining('did not answer within 100 ms'),
  })
  process.kill(libvirt.pid, 'SIGCONT')
  await libvirt.stop('SIGKILL')
  expect(await killed.closed).toMatchObject({ code: 'LIBVIRT_UNAVAILABLE' })
  await expect(LibvirtConnection.open({ uri: libvirt.uri })).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    details: { errno: 'ECONNREFUSED' },
  })
})

test('signs of life that libvirt asks for are given: an idle connection stays', async () => {
  await using folder = await tempFolder()
  const often = 'keepalive_interval = 3\nkeepalive_count = 1\n'
  await using libvirt = await startLibvirt({ folder: folder.path, libvirtdConf: often })
  await using connection = await LibvirtConnection.open({ uri: libvirt.uri })
  await new Promise((resolve) => void setTimeout(resolve, 9_000))
  expect(await connection.listAllDomains()).toEqual([])
})

test('a uri that cannot be is refused before anything is opened', async () => {
  await expect(LibvirtConnection.open({ uri: 'qemu+ssh://host/system' })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  })
})

test('a daemon of another mode says so', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  const uri = libvirt.uri.replace('session', 'system')
  await expect(LibvirtConnection.open({ uri })).rejects.toMatchObject({
    code: 'LIBVIRT_ERROR',
    message: expect.stringContaining('try qemu:///session'),
  })
})

test.each<[string, number, Buffer | null, RegExp | null]>([
  ['a password', 1, null, /SASL/],
  ['something that is not known', 7, null, /SASL/],
  ['polkit, which allows it', 2, new XdrWriter().i32(1).bytes(), null],
  ['polkit, which does not', 2, null, /polkit does not allow it/],
])('a daemon that asks for %s', async (_what, type, polkit, why) => {
  await using folder = await tempFolder()
  const authPolkit = 70
  await using daemon = await startDaemon(folder.join('s'), (message, client) => {
    const { procedure } = message.header
    if (procedure === 66) return client.answer(message, new XdrWriter().u32(1).u32(type).bytes())
    if (procedure !== authPolkit) return client.answer(message, HANDSHAKE.get(procedure)!)
    return polkit === null
      ? client.answer(message, refusal(45, 'authentication failed'), { status: 1 })
      : client.answer(message, polkit)
  })
  const opened = LibvirtConnection.open({ uri: `qemu:///system?socket=${daemon.path}` })
  if (why === null) (await opened).close()
  else await expect(opened).rejects.toMatchObject({ code: 'LIBVIRT_UNAVAILABLE', message: expect.stringMatching(why) })
})

test('an event that was not asked for ends the connection', async () => {
  await using folder = await tempFolder()
  await using daemon = await startDaemon(folder.join('s'), (message, client) => {
    const { header } = message
    if (header.procedure !== 273) return client.answer(message, HANDSHAKE.get(header.procedure)!)
    const notice = { program: 0x2000_8087, version: 1, procedure: 6, type: 2, serial: 1, status: 0 }
    return client.send({ header: notice, payload: Buffer.alloc(0) })
  })
  const connection = await LibvirtConnection.open({ uri: `qemu:///system?socket=${daemon.path}` })
  await expect(connection.listAllDomains()).rejects.toMatchObject({ code: 'LIBVIRT_PROTOCOL' })
})
