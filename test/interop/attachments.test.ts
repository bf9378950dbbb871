// Whole machines under real backups: flash, TPM state and files of the host go with each point, come back by name exactly,
// and are shared, verified, healed, pruned and rebuilt like disks.
import { createHash } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import * as v from 'valibot'
import { asVarveError } from '../../protocol/errors.ts'
import { ATTACHMENT_BYTES_MAX } from '../../protocol/limits.ts'
import { METHODS } from '../../protocol/methods.ts'
import { CATALOG_NAME } from '../../gateway/datastore/datastore.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand, TENANT } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const CHUNK = 64 * KIB

const flash = (unit: number, file: string, readonly: 'on' | 'off'): string[] => [
  '-drive',
  `if=pflash,unit=${unit},format=raw,readonly=${readonly},file=${file}`,
]

interface Machine extends AsyncDisposable {
  readonly stand: Stand
  readonly host: Host
  readonly etc: string
  readonly tpm: string
  readonly firmware: Buffer
}

/** A machine with firmware, flash that its guest writes, a TPM's folder, and a folder of the host that is attached. */
const startMachine = async (dice: Dice): Promise<Machine> => {
  const stand = await Stand.start()
  const host = await stand.addHost()
  const [etc, tpm, code, vars] = ['etc', 'tpm', 'code.fd', 'vars.fd'].map((name) => stand.folder.join(name)) as [
    string,
    string,
    string,
    string,
  ]
  const firmware = dice.bytes(256 * KIB)
  for (const folder of [etc, tpm, path.join(etc, 'sub')]) await mkdir(folder)
  await writeFile(code, firmware)
  await writeFile(vars, Buffer.alloc(128 * KIB, 0xff))
  await writeFile(path.join(etc, 'one'), 'first')
  await writeFile(path.join(etc, 'empty'), '')
  await writeFile(path.join(etc, 'sub', 'large'), dice.bytes(3 * MIB + 77))
  await writeFile(path.join(tpm, 'tpm2-00.permall'), dice.bytes(5000))
  const secret = ['-object', 'secret,id=s0,data=hunter2']
  await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 4 * MIB, content: dice.bytes(4 * MIB) }], {
    qemu: { extra: [...flash(0, code, 'on'), ...flash(1, vars, 'off'), ...secret] },
  })
  await host.start({ attach: [etc, stand.folder.join('nowhere')], tpmState: tpm })
  return { stand, host, etc, tpm, firmware, [Symbol.asyncDispose]: () => stand[Symbol.asyncDispose]() }
}

const shown = async (stand: Stand, point: string) => {
  const answer = await (await stand.peer()).call('points.get', { point })
  return { ...answer, names: answer.point.attachments.map(({ name }) => name) }
}

/** An attachment by the command, as a new file. */
const restored = async ({ stand, host }: Machine, point: string, name: string): Promise<Buffer> => {
  const to = stand.folder.join(`restored-${createHash('sha256').update(`${point}${name}`).digest('hex')}`)
  await rm(to, { force: true })
  await host.done('restore', point, '--attachment', name, '--to', to)
  expect((await stat(to)).mode & 0o777).toBe(0o600)
  return await readFile(to)
}

const writeFlash = async ({ host }: Machine, offset: number): Promise<void> => {
  const line = `qemu-io pflash1 "write -P 0x5a ${offset} 4096"`
  await host.machine('db1').qemu.control.execute('human-monitor-command', { 'command-line': line })
}

test.concurrent(
  'a machine comes back whole: disks, flash, firmware, TPM and files, each as it was at its point',
  async () => {
    await using machine = await startMachine(new Dice(12))
    const { stand, host, etc, tpm, firmware } = machine
    const one = (await host.backup('db1')).point
    const [file, large] = [`file:${etc}/one`, `file:${etc}/sub/large`]
    const first = {
      [file]: Buffer.from('first'),
      [large]: await readFile(path.join(etc, 'sub', 'large')),
      [`file:${etc}/empty`]: Buffer.alloc(0),
      'swtpm/tpm2-00.permall': await readFile(path.join(tpm, 'tpm2-00.permall')),
      pflash0: firmware,
    }
    const before = await shown(stand, one)
    expect(before.names.toSorted()).toEqual([...Object.keys(first), 'command-line'].toSorted())
    expect(before.missing).toEqual([{ name: `file:${stand.folder.join('nowhere')}`, reason: 'there is no such file' }])
    // flash that the guest writes is a disk: it comes at the instant
    expect(before.point.disks.map(({ name, size }) => [name, size])).toEqual([
      ['pflash1', 128 * KIB],
      ['vda', 4 * MIB],
    ])

    await writeFile(path.join(etc, 'one'), 'second, and longer')
    await rm(path.join(etc, 'empty'))
    await writeFlash(machine, 8192)
    const two = (await host.backup('db1')).point
    const after = await shown(stand, two)
    expect(after.names).not.toContain(`file:${etc}/empty`)
    // what did not change is stored once
    expect(after.point.bytesStored).toBeLessThan(CHUNK)
    for (const [name, content] of Object.entries(first))
      expect([name, await restored(machine, one, name)]).toEqual([name, content])
    expect((await restored(machine, two, file)).toString()).toBe('second, and longer')
    expect(await restored(machine, two, large)).toEqual(first[large])
    const command = (await restored(machine, two, 'command-line')).toString()
    expect(command).toContain('qemu-system-x86_64')
    expect(command).toContain('data=<removed>')
    expect(command).not.toContain('hunter2')

    const [flashOne, flashTwo] = [
      (await stand.restore(one)).get('pflash1')!,
      (await stand.restore(two)).get('pflash1')!,
    ]
    expect(flashOne.every((byte) => byte === 0xff)).toBe(true)
    expect(flashTwo.subarray(8192, 8192 + 4096).every((byte) => byte === 0x5a)).toBe(true)
    expect(await host.residue()).toEqual({ scratch: [], journal: [], sockets: [] })
    expect(await readdir(path.join(host.stateFolder, 'attachments'))).toEqual([])

    // people see them
    expect((await host.done('points')).stdout).toMatch(/ATTACHMENTS[^]*pflash0 256 KiB[^]*missing/)
    expect((await stand.done('point', 'show', two, '--tenant', TENANT)).stdout).toContain('attachment pflash0: 256 KiB')
  },
)

test.concurrent('all of a point into a folder: nothing outside of it, nothing replaced unasked', async () => {
  await using machine = await startMachine(new Dice(13))
  const { stand, host, etc } = machine
  const { point } = await host.backup('db1')
  const folder = stand.folder.join('out')
  const done = await host.done('restore', point, '--attachments', folder, '--json')
  const answer = JSON.parse(done.stdout.trimEnd().split('\n').at(-1)!) as {
    attachments: { name: string; to: string }[]
  }
  expect(answer.attachments.map(({ name }) => name)).toEqual((await shown(stand, point)).names)
  for (const { name, to } of answer.attachments) expect(to).toBe(path.join(folder, name))
  expect(await readFile(path.join(folder, `file:${etc}`, 'sub', 'large'))).toEqual(
    await readFile(path.join(etc, 'sub', 'large')),
  )
  expect((await stat(path.join(folder, 'swtpm'))).mode & 0o777).toBe(0o700)
  const again = await host.run('restore', point, '--attachments', folder)
  expect([again.code, again.stderr]).toEqual([5, expect.stringContaining('TARGET_EXISTS')])
  await writeFile(path.join(folder, 'pflash0'), 'spoiled')
  await host.done('restore', point, '--attachments', folder, '--force')
  expect(await readFile(path.join(folder, 'pflash0'))).toEqual(machine.firmware)

  // a link in the folder leads nowhere else
  const elsewhere = stand.folder.join('elsewhere')
  await mkdir(elsewhere)
  const linked = stand.folder.join('linked')
  await mkdir(linked)
  await symlink(elsewhere, path.join(linked, 'swtpm'))
  const refused = await host.run('restore', point, '--attachments', linked)
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('TARGET_INVALID')])
  expect(await readdir(elsewhere)).toEqual([])

  const unknown = await host.run('restore', point, '--attachment', 'pflash9', '--to', stand.folder.join('x'))
  expect(unknown.stderr).toContain('pflash0')
  const disk = await host.run('restore', point, '--attachment', 'vda', '--to', stand.folder.join('x'))
  expect(disk.stderr).toContain('it is a disk: --disk')
  for (const args of [
    [],
    ['--disk', 'vda'],
    ['--disk', 'vda', '--attachment', 'pflash0', '--to', 'x'],
    ['--attachments', folder, '--to', 'x'],
  ])
    expect((await host.run('restore', point, ...args)).code).toBe(2)
})

test.concurrent(
  'damage of an attachment is found, healed by the next backup, and a rebuilt catalog has them all',
  async () => {
    await using machine = await startMachine(new Dice(14))
    const { stand, host, firmware } = machine
    const damager = new Damager(stand.dataFolder)
    const one = (await host.backup('db1')).point
    const params = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }
    const verify = async () => await (await stand.peer()).open('store.verify', params).result
    await damager.flip(damager.chunkId(firmware.subarray(CHUNK, 2 * CHUNK)))
    expect((await verify()).lost).toMatchObject([{ point: one, disk: 'pflash0', offset: CHUNK, length: CHUNK }])
    const broken = await host.run('restore', one, '--attachment', 'pflash0', '--to', stand.folder.join('x'))
    expect([broken.code, broken.stderr]).toEqual([1, expect.stringContaining('DATA_DAMAGED')])
    const two = (await host.backup('db1')).point
    expect((await shown(stand, two)).point.disks.map(({ kind }) => kind)).toEqual(['incremental', 'incremental'])
    expect(await restored(machine, one, 'pflash0')).toEqual(firmware)
    expect(await verify()).toMatchObject({ good: 2, lostCount: 0 })

    await stand.endGateway('SIGTERM')
    for (const suffix of ['', '-wal', '-shm'])
      await rm(path.join(stand.dataFolder, `${CATALOG_NAME}${suffix}`), { force: true })
    await stand.done('repair', '--rebuild')
    await stand.startGateway()
    await host.agent.says(/connected to the gateway[^]*connected to the gateway/)
    expect(await restored(machine, two, 'pflash0')).toEqual(firmware)
    expect((await shown(stand, two)).missing).toHaveLength(1)

    // both points go, and what they stored goes with them
    const owner = await stand.peer()
    await owner.call('points.prune', { machine: null, group: null, rules: null, points: [one, two], dryRun: false })
    const gone = await owner.open('store.collect', { dryRun: false, thresholdPercent: 90, bytesPerSecond: null }).result
    expect(gone.bytesBefore - gone.bytesAfter).toBeGreaterThan(firmware.length)
    expect(gone.live.records).toBeLessThan(5)
  },
)

test.concurrent('what cannot be had is said in the point, whose disks are exact all the same', async () => {
  const dice = new Dice(15)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const folder = stand.folder.join('etc')
  await mkdir(folder)
  await writeFile(path.join(folder, 'huge'), Buffer.alloc(ATTACHMENT_BYTES_MAX + 1))
  await writeFile(path.join(folder, 'fits'), Buffer.alloc(ATTACHMENT_BYTES_MAX, 1))
  await symlink('/etc/passwd', path.join(folder, 'link'))
  await symlink('fits', path.join(folder, 'inside'))
  const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB, content: dice.bytes(MIB) }])
  await host.start({ attach: [folder] })
  const { point } = await host.backup('db1')
  const { names, missing } = await shown(stand, point)
  expect(names.filter((name) => name !== 'command-line')).toEqual([`file:${folder}/fits`, `file:${folder}/inside`])
  expect(missing).toEqual([
    { name: `file:${folder}/huge`, reason: expect.stringContaining('at most 16.0 MiB') },
    { name: `file:${folder}/link`, reason: expect.stringContaining('leads out of the folder') },
  ])
  expectDisks(await stand.restore(point), machine.snapshot(), 'the point')
})

test.concurrent('a killed agent goes on with the files of the instant, though they changed', async () => {
  const dice = new Dice(16)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const file = stand.folder.join('file')
  await writeFile(file, 'at the instant')
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'raw', size: 8 * MIB, content: dice.bytes(8 * MIB) },
  ])
  await host.start({ attach: [file], bandwidth: '2 MiB' })
  const disks = machine.snapshot()
  const job = await stand.startBackup('db1')
  await stand.durable(job, MIB)
  await host.end('SIGKILL')
  await writeFile(file, 'changed, and of another length')
  await host.start({ bandwidth: '512 MiB' })
  expect((await stand.ended(job)).state).toBe('committed')
  const to = stand.folder.join('restored')
  await host.done('restore', job, '--attachment', `file:${file}`, '--to', to)
  expect(await readFile(to, 'utf8')).toBe('at the instant')
  expectDisks(await stand.restore(job), disks, 'the point')
})

test.concurrent(
  'another tenant, and another host, cannot read them; too many are refused by the protocol',
  async () => {
    const dice = new Dice(17)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const file = stand.folder.join('file')
    await writeFile(file, 'ours')
    await chmod(file, 0o600)
    await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB, content: dice.bytes(MIB) }])
    await host.start({ attach: [file] })
    const { point } = await host.backup('db1')
    const theirs = await stand.addHost({ name: 'theirs', tenant: 'other' })
    const neighbour = await stand.addHost({ name: 'neighbour' })
    for (const one of [theirs, neighbour]) {
      await one.writeConfig()
      const refused = await one.run('restore', point, '--attachment', `file:${file}`, '--to', stand.folder.join('x'))
      expect([one.name, refused.code, refused.stderr]).toEqual([one.name, 1, expect.stringContaining('NOT_FOUND')])
    }
    const other = await stand.peer('owner', 'other')
    const download = other.open('image.download', { point, disk: `file:${file}`, position: 0, skipDamaged: false })
    await expect(download.result.catch((thrown: unknown) => asVarveError(thrown).code)).resolves.toBe('NOT_FOUND')
    const many = Array.from({ length: 257 }, (_, index) => ({ name: `a${index}`, size: 1 }))
    expect(v.safeParse(METHODS['backup.begin'].params.entries.attachments, many).success).toBe(false)
  },
)

test.concurrent(
  'a machine that is off has the same files with its point, but for what only a process tells',
  async () => {
    const dice = new Dice(18)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const file = stand.folder.join('file')
    await writeFile(file, 'running')
    const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB, content: dice.bytes(MIB) }])
    await host.start({ attach: [file], tpmState: file, whileOff: true })
    const running = (await host.backup('db1')).point
    await machine.qemu.quit()
    await writeFile(file, 'off')
    const off = await host.backup('db1')
    expect(off.disks.map(({ kind }) => kind)).toEqual(['incremental'])
    expect((await shown(stand, running)).names).toEqual(['command-line', 'swtpm', `file:${file}`])
    const { names, missing } = await shown(stand, off.point)
    expect(names).toEqual(['swtpm', `file:${file}`])
    expect(missing).toEqual([
      { name: 'command-line', reason: expect.stringContaining('no process of this host listens') },
    ])
    for (const [point, text] of [
      [running, 'running'],
      [off.point, 'off'],
    ] as const) {
      const to = stand.folder.join(`restored-${text}`)
      await host.done('restore', point, '--attachment', `file:${file}`, '--to', to)
      expect(await readFile(to, 'utf8')).toBe(text)
    }
  },
)
