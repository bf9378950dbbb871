// A whole machine comes back into a folder: all disks and attachments or none, a script that starts it, and what is broken off
// goes on where it was.
import { chmod, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { QmpClient } from '../../agent/qmp/client.ts'
import { listDisks } from '../../agent/qmp/disks.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

const dice = new Dice(81)
const CONTENT = new Map([
  ['vda', Buffer.concat([dice.bytes(9 * MIB), Buffer.alloc(30 * MIB), dice.bytes(9 * MIB + 1536)])],
  ['vdb', dice.bytes(20 * MIB)],
])

let stand: Stand
let host: Host
let point: string
let folder: TempFolder
/** Not there yet. */
let to: string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  const [etc, code] = [stand.folder.join('note'), stand.folder.join('code.fd')]
  await writeFile(etc, 'a file of the host')
  await writeFile(code, dice.bytes(256 * KIB))
  const disks = [...CONTENT].map(([id, content]) => ({
    id,
    format: id === 'vda' ? ('qcow2' as const) : ('raw' as const),
    size: content.length,
    content,
  }))
  const extra = [
    '-drive',
    `if=pflash,unit=0,format=raw,readonly=on,file=${code}`,
    '-netdev',
    'user,id=net0',
    '-device',
    'virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01',
    '-uuid',
    '6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d111',
  ]
  await host.addMachine('db1', disks, { qemu: { extra } })
  await host.start({ attach: [etc] })
  point = (await host.backup('db1')).point
})

beforeEach(async () => {
  await folder?.[Symbol.asyncDispose]()
  folder = await tempFolder()
  to = folder.join('machine')
  host.link.bytesPerSecond = null
})

afterAll(async () => {
  await folder[Symbol.asyncDispose]()
  await stand[Symbol.asyncDispose]()
})

interface Answer {
  readonly size: number
  readonly bytesReceived: number
  readonly keptBytes: number
  readonly disks: readonly { name: string; to: string; size: number; format: string; keptBytes: number }[]
  readonly attachments: readonly { name: string; to: string }[]
  readonly defined: { kind: string; file: string; name: string; uuid: string; remarks: string[] } | null
}

const answerOf = (stdout: string): Answer => JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Answer

const contentOf = async (file: string): Promise<Buffer> => {
  const raw = folder.join('plain.raw')
  await run('qemu-img', ['convert', '-O', 'raw', file, raw])
  const bytes = await readFile(raw)
  await rm(raw)
  return bytes
}

const expectContent = async (format = 'qcow2'): Promise<void> => {
  for (const [disk, content] of CONTENT)
    expect([disk, (await contentOf(path.join(to, `${disk}.${format}`))).equals(content)]).toEqual([disk, true])
}

test('disks, attachments and a script that starts it; nothing else in the folder', async () => {
  const done = await host.done('restore', point, '--to', to, '--define', '--json')
  const answer = answerOf(done.stdout)
  expect(answer.disks.map(({ name, to: file, format }) => [name, file, format])).toEqual([
    ['vda', path.join(to, 'vda.qcow2'), 'qcow2'],
    ['vdb', path.join(to, 'vdb.qcow2'), 'qcow2'],
  ])
  await expectContent()
  expect((await readdir(to)).toSorted()).toEqual(['attachments', 'start.sh', 'vda.qcow2', 'vdb.qcow2'])
  const note = path.join(to, 'attachments', `file:${stand.folder.join('note')}`)
  expect(await readFile(note, 'utf8')).toBe('a file of the host')
  expect((await stat(to)).mode & 0o777).toBe(0o711)
  expect((await stat(path.join(to, 'vda.qcow2'))).mode & 0o777).toBe(0o600)
  const { defined } = answer
  expect(defined).toMatchObject({ kind: 'qemu', name: 'test', uuid: '6a1f0a5e-54f7-4a3a-8f0e-2b1f37c1d111' })

  const script = path.join(to, 'start.sh')
  const text = await readFile(script, 'utf8')
  // nothing of the machine that it was
  expect(text).not.toContain(host.folder)
  const pidFile = folder.join('pid')
  await run(script, ['-daemonize', '-pidfile', pidFile])
  try {
    await using client = await QmpClient.connect({ path: path.join(to, 'qmp.sock') })
    const { disks } = await listDisks(client)
    expect(disks.map(({ name, size }) => [name, size])).toEqual(
      [...CONTENT].map(([name, { length }]) => [name, length]),
    )
  } finally {
    process.kill(Number(await readFile(pidFile, 'utf8')), 'SIGKILL')
  }
})

test('with a name and ids of its own', async () => {
  await host.done('restore', point, '--to', to, '--define', '--name', 'db1 copy, new', '--new-ids', '--format', 'raw')
  await expectContent('raw')
  const text = await readFile(path.join(to, 'start.sh'), 'utf8')
  expect(text).toContain("-name 'guest=db1 copy,, new'")
  expect(text).not.toMatch(/6a1f0a5e|52:54:00:00:00:01/u)
  expect(text).toMatch(/mac=52:54:00:/u)
})

test('what is there is not replaced, and then nothing is written at all', async () => {
  await host.done('restore', point, '--attachments', to)
  await writeFile(path.join(to, 'vdb.qcow2'), 'mine')
  const before = (await readdir(to)).toSorted()
  const refused = await host.run('restore', point, '--to', to)
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('vdb.qcow2 exists') })
  expect((await readdir(to)).toSorted()).toEqual(before)
  await symlink('/etc', path.join(to, 'attachments'))
  const led = await host.run('restore', point, '--to', to, '--force')
  expect(led).toMatchObject({ code: 2, stderr: expect.stringContaining('symbolic link') })
  expect(await readFile(path.join(to, 'vdb.qcow2'), 'utf8')).toBe('mine')
  await rm(path.join(to, 'attachments'))
  await host.done('restore', point, '--to', to, '--force')
  await expectContent()
})

test('Ctrl-C leaves nothing, not even the folder', async () => {
  host.link.bytesPerSecond = 8 * MIB
  const restore = host.command('restore', point, '--to', to)
  await eventually(async () => (await readdir(to).catch(() => [])).some((name) => name.startsWith('.varve-restore-')))
  expect((await restore.end('SIGINT')).code).toBe(130)
  expect(await readdir(folder.path)).toEqual([])
})

const usedBytes = async (): Promise<number> => {
  const names = (await readdir(to).catch(() => [])).filter((name) => name.endsWith('.partial'))
  const used = await Promise.all(names.map(async (name) => (await stat(path.join(to, name))).blocks * 512))
  return used.reduce((sum, bytes) => sum + bytes, 0)
}

test.for(['raw', 'qcow2'])('killed and interrupted, a %s restore goes on where it was', async (format) => {
  const args = ['restore', point, '--to', to, '--resume', '--format', format]
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    const before = await usedBytes()
    host.link.bytesPerSecond = 16 * MIB
    const restore = host.command(...args)
    await eventually(async () => (await usedBytes()) > before + 6 * MIB)
    await restore.end(signal)
    expect((await readdir(to)).filter((name) => !name.endsWith('.partial') && name !== 'attachments')).toEqual([])
  }
  // qemu-nbd of a killed one ends by itself
  const there = await usedBytes()
  host.link.bytesPerSecond = null
  const untouched = await host.run('restore', point, '--disk', 'vda', '--to', path.join(to, `vda.${format}`))
  expect(untouched.code).toBe(0)
  await rm(path.join(to, `vda.${format}`))
  const answer = await eventually(async () => {
    const { code, stdout, stderr } = await host.run(...args, '--json')
    // the server of the killed one holds its image a moment longer
    return code === 0 ? answerOf(stdout) : stderr.includes('in use') ? null : Promise.reject(new Error(stderr))
  })
  expect(answer.keptBytes).toBeGreaterThan(8 * MIB)
  // random bytes are not compressed: what is received is what was not there
  const content = [...CONTENT.values()].reduce((sum, { length }) => sum + length, 0) - 30 * MIB
  expect(answer.bytesReceived).toBeLessThan(content - 8 * MIB)
  expect(there).toBeGreaterThan(12 * MIB)
  await expectContent(format)
  expect((await readdir(to)).filter((name) => name.endsWith('.partial'))).toEqual([])
})

test('what was kept is believed in nothing: other bytes, another size, somebody else’s file', async () => {
  const args = ['restore', point, '--to', to, '--resume', '--format', 'raw', '--json']
  await host.done('restore', point, '--to', to, '--format', 'raw')
  const files = ['vda', 'vdb'].map((disk) => path.join(to, `${disk}.raw`)) as [string, string]
  const [vda, vdb] = [await readFile(files[0]), await readFile(files[1])]
  await rm(to, { recursive: true })
  await run('mkdir', [to])
  // one byte is wrong in the middle, and behind the end of what is right there is something where zeroes belong
  vda[2 * MIB + 5]! ^= 1
  vda.fill(0x55, 10 * MIB, 12 * MIB)
  await writeFile(`${files[0]}.partial`, vda)
  await writeFile(`${files[1]}.partial`, Buffer.concat([vdb, Buffer.alloc(MIB, 7)]))
  const answer = answerOf((await host.done(...args)).stdout)
  await expectContent('raw')
  expect(answer.disks.map(({ keptBytes }) => keptBytes)).toEqual([2 * MIB, 20 * MIB])

  await rm(files[0])
  await rm(files[1])
  await rm(path.join(to, 'attachments'), { recursive: true })
  await writeFile(folder.join('secret'), 'not ours')
  await symlink(folder.join('secret'), `${files[0]}.partial`)
  const refused = await host.run(...args)
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('remove it') })
  expect(await readFile(folder.join('secret'), 'utf8')).toBe('not ours')
})

test('a full file system is said before anything is written', async () => {
  const small = folder.join('small')
  await run('mkdir', [small])
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small])
  try {
    await chmod(small, 0o755)
    const refused = await host.run('restore', point, '--to', path.join(small, 'machine'))
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/16\.0 MiB free.*takes 38\.\d MiB/u) })
    expect(await readdir(small)).toEqual([])
  } finally {
    await run('umount', [small])
  }
})
