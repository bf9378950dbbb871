// Differential restores against a real gateway: what they write onto files, qcow2 images and block devices, and what they refuse.
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { markProcess } from '../../agent/process-mark.ts'
import { loopDevice } from '../agent/restore/devices.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const SIZE_BYTES = 40 * MIB + 1536
const CHUNK_BYTES = 64 * KIB
/** How often the disk is changed and backed up: the points that random restores choose from. */
const POINTS = 4

const dice = new Dice(81)
const contents: Buffer[] = [
  Buffer.concat([
    dice.bytes(9 * MIB),
    Buffer.alloc(6 * MIB),
    Buffer.alloc(16 * MIB, dice.bytes(KIB)),
    dice.bytes(9 * MIB + 1536),
  ]),
]
const points: string[] = []

/** Where the second point differs: a chunk that was data, one that was zero, one that became zero, and the last one. */
const WRITES = [
  [3 * MIB + 4096, dice.bytes(4096)],
  [10 * MIB, dice.bytes(CHUNK_BYTES)],
  [20 * MIB, Buffer.alloc(CHUNK_BYTES)],
  [40 * MIB + 512, dice.bytes(1024)],
] as const

let stand: Stand
let host: Host

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: contents[0]! },
  ])
  await host.start()
  points.push((await host.backup('db1')).point)
  for (let point = 1; point < POINTS; point++) {
    const content = Buffer.from(contents.at(-1)!)
    const writes =
      point === 1
        ? WRITES
        : Array.from({ length: 12 }, () => {
            const bytes = dice.below(3) === 0 ? Buffer.alloc(256 * KIB) : dice.bytes(512 * (1 + dice.below(200)))
            return [512 * dice.below((SIZE_BYTES - bytes.length) / 512), bytes] as const
          })
    for (const [offset, bytes] of writes) {
      await machine.write('vda', offset, bytes)
      content.set(bytes, offset)
    }
    contents.push(content)
    points.push((await host.backup('db1')).point)
  }
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

interface Report {
  readonly bytesRead: number
  readonly bytesDiffering: number
  readonly bytesReceived: number
  readonly bytesWritten: number
  readonly bytesZeroed: number
  readonly ranges: readonly { readonly offset: number; readonly length: number }[]
  readonly rangeCount: number
}

const onto = async (point: number, image: string, ...flags: readonly string[]): Promise<Report> => {
  const { stdout } = await host.done('restore', points[point]!, '--disk', 'vda', '--onto', image, ...flags, '--json')
  return JSON.parse(stdout) as Report
}

const refused = async (point: number, image: string, ...flags: readonly string[]): Promise<string> => {
  const { code, stderr } = await host.run('restore', points[point]!, '--disk', 'vda', '--onto', image, ...flags)
  expect(code).not.toBe(0)
  return stderr
}

/** The first point's content in a file. */
const rawOf = async (name: string, point = 0): Promise<string> => {
  const file = stand.folder.join(name)
  await writeFile(file, contents[point]!)
  return file
}

/** The mark of a process that is gone. */
const deadWriter = async (): Promise<unknown> => {
  const child = spawn('sleep', ['600'])
  await once(child, 'spawn')
  const mark = markProcess(child.pid)
  child.kill('SIGKILL')
  await once(child, 'exit')
  return mark
}

const DIFFERING = [3 * MIB, 10 * MIB, 20 * MIB].map((offset) => ({ offset, length: CHUNK_BYTES }))

test('only what differs is fetched and written, a dry run says it, and a second run finds nothing', async () => {
  const file = await rawOf('vm.raw')
  const before = await stat(file)
  const figures = {
    bytesDiffering: 3 * CHUNK_BYTES + 1536,
    bytesWritten: 2 * CHUNK_BYTES + 1536,
    bytesZeroed: CHUNK_BYTES,
    ranges: [...DIFFERING, { offset: 40 * MIB, length: 1536 }],
    rangeCount: 4,
  }
  expect(await onto(1, file, '--dry-run')).toMatchObject({ ...figures, bytesReceived: 0, dryRun: true })
  expect((await readFile(file)).equals(contents[0]!)).toBe(true)
  expect((await stat(file)).mtimeMs).toBe(before.mtimeMs)
  const done = await onto(1, file)
  expect(done).toMatchObject(figures)
  expect(done.bytesReceived).toBeGreaterThan(CHUNK_BYTES)
  expect(done.bytesReceived).toBeLessThan(3 * CHUNK_BYTES)
  expect((await readFile(file)).equals(contents[1]!)).toBe(true)
  // the same file, and not a new one in its place
  expect((await stat(file)).ino).toBe(before.ino)
  expect(await onto(1, file)).toMatchObject({ bytesDiffering: 0, bytesReceived: 0, rangeCount: 0 })
  const { stdout } = await host.done('restore', points[0]!, '--disk', 'vda', '--onto', file)
  expect(stdout).toMatch(/vda of db1 .* is on .*vm\.raw \(raw\): .* in 4 ranges differed/u)
  expect((await readFile(file)).equals(contents[0]!)).toBe(true)
})

test('a qcow2 image with a backing file and a bitmap stays one: only its own clusters are written, and recorded', async () => {
  const backing = await rawOf('backing.raw')
  const image = stand.folder.join('vm.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'raw', image])
  await run('qemu-img', ['bitmap', '--add', image, 'since'])
  expect(await onto(1, image)).toMatchObject({ bytesDiffering: 3 * CHUNK_BYTES + 1536 })
  const whole = await rawOf('whole.raw', 1)
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', image, whole])
  expect((await readFile(backing)).equals(contents[0]!)).toBe(true)
  await run('qemu-img', ['check', '-q', image])
  // the bitmap has the writes of the restore: what it says since the first point leads back to it
  const back = await onto(0, image, '--base', points[0]!, '--bitmap', 'since')
  expect(back.bytesDiffering).toBe(3 * CHUNK_BYTES + 1536)
  expect(back.bytesRead).toBeLessThan(100 * CHUNK_BYTES)
  await run('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', image, backing])
})

test('with a base only what may differ is looked at; a base that is wrong is found out before anything is written', async () => {
  const file = await rawOf('based.raw')
  const done = await onto(2, file, '--base', points[0]!)
  expect(done.bytesRead).toBeLessThan(SIZE_BYTES / 2)
  expect((await readFile(file)).equals(contents[2]!)).toBe(true)
  const other = stand.folder.join('other.raw')
  await writeFile(other, dice.bytes(SIZE_BYTES))
  const before = await readFile(other)
  expect(await refused(2, other, '--base', points[0]!)).toMatch(/is not what --base says/u)
  expect((await readFile(other)).equals(before)).toBe(true)
  // nor is one that is too long cut off before
  const long = stand.folder.join('long.raw')
  const longer = Buffer.concat([before, dice.bytes(MIB)])
  await writeFile(long, longer)
  expect(await refused(2, long, '--force', '--base', points[0]!)).toMatch(/is not what --base says/u)
  expect((await readFile(long)).equals(longer)).toBe(true)
  await onto(2, long, '--force')
  expect((await readFile(long)).equals(contents[2]!)).toBe(true)
  expect(await refused(2, file, '--base', points[0]!, '--bitmap', 'b')).toMatch(/no qcow2 image/u)
  const image = stand.folder.join('no-bitmap.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', image, String(SIZE_BYTES)])
  expect(await refused(2, image, '--base', points[0]!, '--bitmap', 'b')).toMatch(/has no bitmap "b"/u)
})

test('images in use, of another size or of an unclear format are refused and left as they are', async () => {
  // the disk of a machine that runs
  const running = path.join(host.folder, 'db1', 'vda.qcow2')
  expect(existsSync(running)).toBe(true)
  expect(await refused(1, running, '--dry-run')).toMatch(/machine "db1" has it open .*\(TARGET_IN_USE\)/u)
  expect(await refused(1, running)).toMatch(/TARGET_IN_USE/u)
  const small = stand.folder.join('small.raw')
  await writeFile(small, contents[0]!.subarray(0, 30 * MIB + 512))
  expect(await refused(1, small)).toMatch(/--force makes it larger/u)
  // a dry run does not make it larger
  await onto(1, small, '--force', '--dry-run')
  expect((await stat(small)).size).toBe(30 * MIB + 512)
  await onto(1, small, '--force')
  expect((await readFile(small)).equals(contents[1]!)).toBe(true)
  await truncate(small, 50 * MIB)
  expect(await refused(0, small)).toMatch(/--force cuts it off/u)
  await onto(0, small, '--force')
  expect((await readFile(small)).equals(contents[0]!)).toBe(true)
  const unclear = stand.folder.join('vm.img')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', unclear, String(SIZE_BYTES)])
  expect(await refused(1, unclear)).toMatch(/say --format raw or --format qcow2/u)
  await onto(1, unclear, '--format', 'qcow2')
  const parted = stand.folder.join('parted.qcow2')
  const dataFile = await rawOf('data.raw')
  const how = `data_file=${dataFile},data_file_raw=on`
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', how, parted, String(SIZE_BYTES)])
  expect(await refused(1, parted)).toMatch(/has its content in another file, .*data\.raw/u)
  expect(await refused(1, stand.folder.join('none.raw'))).toMatch(/does not exist: --onto/u)
  expect(await refused(1, stand.folder.path)).toMatch(/neither a file nor a block device/u)
  await using _reader = await open(small, 'r+')
  const holder = spawn('sleep', ['60'], { stdio: ['ignore', _reader.fd, 'ignore'] })
  try {
    expect(await refused(1, small)).toMatch(/sleep \(process .*\(TARGET_IN_USE\)/u)
  } finally {
    holder.kill()
  }
  expect((await readFile(small)).equals(contents[0]!)).toBe(true)
})

test('a block device takes a disk and keeps what is behind it, and is refused where it is mounted or too small', async () => {
  const file = stand.folder.join('device.img')
  const tail = dice.bytes(8 * MIB)
  await writeFile(file, Buffer.concat([contents[0]!, tail.subarray(0, 48 * MIB - SIZE_BYTES)]))
  await using device = await loopDevice(file)
  if (device === null) return
  expect(await onto(1, device.path)).toMatchObject({ bytesDiffering: 3 * CHUNK_BYTES + 1536 })
  const content = await readFile(file)
  expect(content.subarray(0, SIZE_BYTES).equals(contents[1]!)).toBe(true)
  expect(content.subarray(SIZE_BYTES).equals(tail.subarray(0, 48 * MIB - SIZE_BYTES))).toBe(true)
  // one that another restore has half written is no base, whatever it is said to be
  const note = { target: device.path, temporary: null, onto: true, volume: null, writer: await deadWriter() }
  const notes = path.join(host.folder, 'state', 'restores')
  await mkdir(notes, { recursive: true })
  await writeFile(path.join(notes, `${randomUUID()}.json`), JSON.stringify(note))
  expect(await refused(2, device.path, '--base', points[1]!)).toMatch(/was cut off, so it is no restore point/u)
  await onto(2, device.path)
  expect(await onto(1, device.path, '--base', points[2]!)).not.toMatchObject({ bytesDiffering: 0 })
  const little = stand.folder.join('little.img')
  await writeFile(little, Buffer.alloc(16 * MIB))
  await using small = await loopDevice(little)
  expect(await refused(1, small!.path, '--force')).toMatch(/fewer than the disk's/u)
})

test('killed or interrupted while it writes, the file has another name, and the same command completes it', async () => {
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    const file = stand.folder.join(`cut-${signal}.raw`)
    const incomplete = `${file}.varve-incomplete`
    await writeFile(file, Buffer.alloc(SIZE_BYTES, 7))
    const link = stand.folder.join(`link-${signal}`)
    await symlink(file, link)
    const args = ['restore', points[1]!, '--disk', 'vda', '--onto', link] as const
    // the gateway is stopped once the writing has begun, so that it does not end by itself
    const program = host.command(...args)
    await eventually(() => existsSync(incomplete) || !program.running)
    const { code, stderr } = await program.end(signal)
    if (existsSync(file)) {
      // it was quicker than the signal
      expect((await readFile(file)).equals(contents[1]!)).toBe(true)
      continue
    }
    if (signal === 'SIGINT') {
      expect(code).toBe(130)
      expect(stderr).toMatch(/is neither what it was nor the restore point/u)
    }
    await eventually(async () => {
      const again = await host.run(...args)
      // QEMU's server of a killed restore ends by itself
      if (again.stderr.includes('TARGET_IN_USE')) return false
      expect(again).toMatchObject({ code: 0 })
      if (signal === 'SIGKILL') expect(again.stderr).toMatch(/was cut off: .*varve-incomplete/u)
      return true
    })
    expect(existsSync(incomplete)).toBe(false)
    expect((await readFile(file)).equals(contents[1]!)).toBe(true)
  }
})

test('an incomplete file is no base, and beside a new one of its name neither is touched', async () => {
  const file = await rawOf('left.raw')
  await rename(file, `${file}.varve-incomplete`)
  expect(await refused(1, file, '--base', points[0]!)).toMatch(/restore without --base/u)
  await writeFile(file, 'new')
  expect(await refused(1, file)).toMatch(/remove the one that is not wanted/u)
  expect(await readFile(file, 'utf8')).toBe('new')
})

test('a damaged chunk ends it before anything is written where nothing of it is needed, else it says what is left', async () => {
  const damager = new Damager(stand.dataFolder)
  const whole = await rawOf('undamaged.raw', 1)
  const file = await rawOf('damaged.raw')
  await damager.flip(damager.chunkId(contents[1]!.subarray(10 * MIB, 10 * MIB + CHUNK_BYTES)))
  // what is there already is not fetched
  expect(await onto(1, whole)).toMatchObject({ bytesDiffering: 0 })
  const stderr = await refused(1, file)
  expect(stderr).toMatch(/DATA_DAMAGED/u)
  expect(stderr).toMatch(/is neither what it was nor the restore point/u)
  expect(existsSync(file)).toBe(false)
  await onto(0, file)
  expect((await readFile(file)).equals(contents[0]!)).toBe(true)
})
