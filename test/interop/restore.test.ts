// Restores of one machine's disks to files, qcow2 images and block devices: exact, or nothing under the final name.
import { chmod, chown, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { BlockDeviceTarget } from '../../agent/restore/raw-target.ts'
import { commitTarget } from '../../agent/restore/target.ts'
import { hex } from '../../protocol/chunk.ts'
import { RECORD } from '../../gateway/packs/format.ts'
import { indexedRecords } from '../support/catalog-damage.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

const SIZE_BYTES = 24 * MIB + 1536

const dice = new Dice(80)
const CONTENT = Buffer.concat([dice.bytes(9 * MIB), Buffer.alloc(6 * MIB), dice.bytes(9 * MIB + 1536)])

let stand: Stand
let host: Host
let point: string
/** A new one for each test. */
let folder: TempFolder

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: CONTENT },
    { id: 'vdb', format: 'raw', size: 64 * KIB },
  ])
  await host.start()
  point = (await host.backup('db1')).point
})

beforeEach(async () => {
  await folder?.[Symbol.asyncDispose]()
  folder = await tempFolder()
  host.link.bytesPerSecond = null
})

afterAll(async () => {
  await folder[Symbol.asyncDispose]()
  await stand[Symbol.asyncDispose]()
})

const restoreTo = (file: string, ...flags: string[]): string[] => [
  'restore',
  point,
  '--disk',
  'vda',
  '--to',
  file,
  ...flags,
]

/** Waits until a restore that was just started has received so much. */
const received = async (bytes: number): Promise<void> => {
  const before = host.link.downBytes
  await eventually(() => host.link.downBytes - before >= bytes)
}

test('a raw file is sparse where the disk is zero, and equal everywhere', async () => {
  const file = folder.join('out.raw')
  await host.done(...restoreTo(file))
  expect((await readFile(file)).equals(CONTENT)).toBe(true)
  expect((await stat(file)).blocks * 512).toBeLessThan(SIZE_BYTES - 5 * MIB)
  expect(await readdir(folder.path)).toEqual(['out.raw'])
})

test('an existing file is refused and left alone; --force replaces it', async () => {
  const file = folder.join('out.raw')
  await writeFile(file, 'precious')
  const refused = await host.run(...restoreTo(file))
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('TARGET_EXISTS') })
  expect(await readFile(file, 'utf8')).toBe('precious')
  await host.done(...restoreTo(file, '--force'))
  expect((await readFile(file)).equals(CONTENT)).toBe(true)
  expect(await readdir(folder.path)).toEqual(['out.raw'])
})

test('a qcow2 image has the same content', async () => {
  const file = folder.join('out.qcow2')
  await host.done(...restoreTo(file, '--format', 'qcow2'))
  const raw = folder.join('expected.raw')
  await writeFile(raw, CONTENT)
  expect(await run('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', raw, file])).toContain('identical')
  await run('qemu-img', ['check', '-q', file])
  expect((await readdir(folder.path)).toSorted()).toEqual(['expected.raw', 'out.qcow2'])
})

test('a disk of nothing but zeroes is restored as such', async () => {
  const file = folder.join('zero.raw')
  const { stdout } = await host.done('restore', point, '--disk', 'vdb', '--to', file, '--json')
  expect(JSON.parse(stdout)).toMatchObject({ point, disk: 'vdb', size: 64 * KIB, bytesReceived: 0 })
  expect((await readFile(file)).equals(Buffer.alloc(64 * KIB))).toBe(true)
})

test('an unknown point, an unknown disk and a folder as target are refused with nothing made', async () => {
  const file = folder.join('out.raw')
  const unknown = await host.run('restore', 'ffffffff', '--disk', 'vda', '--to', file)
  expect(unknown).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') })
  const noDisk = await host.run('restore', point, '--disk', 'vdz', '--to', file)
  expect(noDisk).toMatchObject({ code: 1, stderr: expect.stringContaining('it has: vda, vdb') })
  const inFolder = await host.run(...restoreTo(folder.path, '--force'))
  expect(inFolder).toMatchObject({ code: 2, stderr: expect.stringContaining('TARGET_INVALID') })
  expect(await readdir(folder.path)).toEqual([])
})

test.each(['raw', 'qcow2'])(
  'Ctrl-C of a restore to %s leaves neither the final nor a temporary file',
  async (format) => {
    host.link.bytesPerSecond = 4 * MIB
    const command = host.command(...restoreTo(folder.join('out'), '--format', format))
    await received(6 * MIB)
    const temporary = await readdir(folder.path)
    expect(temporary).toHaveLength(1)
    expect(temporary).not.toContain('out')
    command.signal('SIGINT')
    expect((await command.ended).code).toBe(130)
    expect(await readdir(folder.path)).toEqual([])
  },
)

test('a restore goes on where it was when the gateway is killed and started again', async () => {
  host.link.bytesPerSecond = 6 * MIB
  const file = folder.join('out.raw')
  const command = host.command(...restoreTo(file, '--json'))
  await received(6 * MIB)
  await stand.endGateway('SIGKILL')
  await stand.startGateway()
  const { code, stdout, stderr } = await command.ended
  expect({ code, stderr }).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(/waiting for the gateway: .* is back\n$/su),
  })
  const { bytesReceived } = JSON.parse(stdout) as { bytesReceived: number }
  expect(bytesReceived).toBeLessThan(18.1 * MIB)
  expect((await readFile(file)).equals(CONTENT)).toBe(true)
})

/** A loop device over a file, null where this machine allows none. */
const loopDevice = async (file: string): Promise<{ device: string; detach: () => Promise<unknown> } | null> => {
  try {
    const device = (await run('losetup', ['--find', '--show', file])).trim()
    return { device, detach: () => run('losetup', ['--detach', device]) }
  } catch {
    return null
  }
}

test('a block device is written only with --force, whole, zeroes included', async () => {
  const file = folder.join('device')
  await writeFile(file, Buffer.alloc(SIZE_BYTES + MIB, 0xff))
  const loop = await loopDevice(file)
  if (loop === null) {
    // without devices, what a device's target does can be seen on a file
    await using target = await BlockDeviceTarget.open(file, SIZE_BYTES)
    await target.write(0, CONTENT.subarray(0, 9 * MIB))
    await target.zero(9 * MIB, 6 * MIB)
    await target.write(15 * MIB, CONTENT.subarray(15 * MIB))
    await commitTarget(target)
  } else
    try {
      const refused = await host.run(...restoreTo(loop.device))
      expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('TARGET_EXISTS') })
      expect((await readFile(file)).every((byte) => byte === 0xff)).toBe(true)
      const wrongFormat = await host.run(...restoreTo(loop.device, '--force', '--format', 'qcow2'))
      expect(wrongFormat).toMatchObject({ code: 2, stderr: expect.stringContaining('TARGET_INVALID') })
      await host.done(...restoreTo(loop.device, '--force'))
    } finally {
      await loop.detach()
    }
  const written = await readFile(file)
  expect(written.subarray(0, SIZE_BYTES).equals(CONTENT)).toBe(true)
  expect(written.subarray(SIZE_BYTES).every((byte) => byte === 0xff)).toBe(true)
})

test('a block device that is too small is refused before a byte of it is written', async () => {
  const file = folder.join('device')
  await writeFile(file, Buffer.alloc(4 * MIB, 0xff))
  const loop = await loopDevice(file)
  if (loop === null) await expect(BlockDeviceTarget.open(file, SIZE_BYTES)).rejects.toThrow(/smaller/)
  else
    try {
      const refused = await host.run(...restoreTo(loop.device, '--force'))
      expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('smaller') })
    } finally {
      await loop.detach()
    }
  expect((await readFile(file)).every((byte) => byte === 0xff)).toBe(true)
})

test('the disk of a running machine is refused whatever is said, and the machine is named', async () => {
  const disk = path.join(host.folder, 'db1', 'vda.qcow2')
  const before = await readFile(disk)
  const refused = await host.run(...restoreTo(disk, '--force'))
  expect(refused).toMatchObject({ code: 5, stdout: '' })
  expect(refused.stderr).toMatch(/machine "db1" has it open .*--force does not override this \(TARGET_IN_USE\)/u)
  expect((await readFile(disk)).equals(before)).toBe(true)
})

test('a name says the format, and a file that is replaced keeps its owner and rights', async () => {
  const file = folder.join('out.QCOW2')
  await writeFile(file, 'old')
  await chmod(file, 0o640)
  if (process.getuid?.() === 0) await chown(file, 64_055, 64_055)
  const before = await stat(file)
  const { stdout } = await host.done('restore', point, '--disk', 'vdb', '--to', file, '--force', '--json')
  expect(JSON.parse(stdout)).toMatchObject({ format: 'qcow2' })
  expect(await run('qemu-img', ['info', file])).toContain('file format: qcow2')
  const { uid, gid, mode } = await stat(file)
  expect({ uid, gid, mode }).toEqual({ uid: before.uid, gid: before.gid, mode: before.mode })
  const other = await host.run(...restoreTo(folder.join('out.vmdk')))
  expect(other).toMatchObject({ code: 2, stderr: expect.stringContaining('qemu-img convert') })
})

test.each(['raw', 'qcow2'])(
  'what a killed restore to %s left is removed and told by what comes next',
  async (format) => {
    host.link.bytesPerSecond = 4 * MIB
    const command = host.command(...restoreTo(folder.join('out'), '--format', format))
    await received(6 * MIB)
    const [left] = await readdir(folder.path)
    command.signal('SIGKILL')
    await command.ended
    expect(await readdir(folder.path)).toEqual([left])
    host.link.bytesPerSecond = null
    if (format === 'raw') {
      const next = await host.done('restore', point, '--disk', 'vdb', '--to', folder.join('other'))
      expect(next.stderr).toContain(`removed ${folder.join(left!)}`)
      expect(await readdir(folder.path)).toEqual(['other'])
    } else {
      await host.end('SIGTERM')
      await host.start()
      await host.agent.says(/removed .*\.varve-restore-/)
      expect(await readdir(folder.path)).toEqual([])
    }
  },
)

test('a place that cannot take the disk is told with the way out, and left as it is', async () => {
  const wrong: [string, RegExp][] = [
    ['', /the target has no name/u],
    [`${folder.path}/`, /names a folder: name a file in it/u],
    [folder.path, /is a folder: name a file in it/u],
    [folder.join('no', 'out.raw'), /no\/out.raw: its folder does not exist: make it first/u],
    ['/dev/null', /neither a file nor a block device/u],
    ['/proc/out.raw', /cannot write \/proc\/out.raw: /u],
    [folder.join('x'.repeat(256)), /255 bytes/u],
  ]
  const outcomes = await Promise.all(wrong.map(([to]) => host.run(...restoreTo(to, '--force'))))
  for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
    expect({ code, stdout }, wrong[index]![0]).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(wrong[index]![1])
    expect(stderr).not.toContain('INTERNAL')
  }
  expect(await readdir(folder.path)).toEqual([])
  const long = folder.join('x'.repeat(250))
  await host.done('restore', point, '--disk', 'vdb', '--to', long)
  expect((await stat(long)).size).toBe(64 * KIB)
})

// the last one: it damages the datastore that the tests share
test('a flipped bit in a pack fails the restore with the range that is lost, and nothing under the final name', async () => {
  // an attachment is smaller than what the disk holds
  const chunks = indexedRecords(stand.dataFolder, RECORD.chunk).sort((one, other) => other.stored - one.stored)
  const { id } = chunks[0]!
  await new Damager(stand.dataFolder).flip(id)
  const failed = await host.run(...restoreTo(folder.join('out.raw')))
  expect(failed.code).toBe(1)
  expect(failed.stderr).toContain('DATA_DAMAGED')
  expect(failed.stderr).toMatch(
    /disk vda of restore point .* is damaged: (\d+) bytes in 1 range cannot be read \(\1 at \d+\)/,
  )
  expect(stand.gateway.stderr).toContain(hex(id))
  expect(await readdir(folder.path)).toEqual([])
})
