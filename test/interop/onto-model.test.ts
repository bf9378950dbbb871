// Random sequences of differential restores, exports and other people's writes on images of every kind, against a model that
// holds each image's bytes.
import { existsSync } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { testSeeds } from '../support/seed.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const CHUNK_BYTES = 64 * KIB
const SIZE_BYTES = 5 * MIB + 3 * 512

/** Points of the disk, each with some changes to the one before. */
const POINTS = 4

/** Steps on each image; more with VARVE_MODEL_STEPS. */
const STEPS = Number(process.env['VARVE_MODEL_STEPS'] ?? 5)

const dice = new Dice(82)
const contents: Buffer[] = []
const points: string[] = []

let stand: Stand
let host: Host

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  contents.push(Buffer.concat([dice.bytes(2 * MIB), Buffer.alloc(2 * MIB), dice.bytes(MIB + 3 * 512)]))
  const disk = { id: 'vda', format: 'qcow2', size: SIZE_BYTES, content: contents[0]! } as const
  const machine = await host.addMachine('db1', [disk])
  await host.start()
  points.push((await host.backup('db1')).point)
  while (points.length < POINTS) {
    const content = Buffer.from(contents.at(-1)!)
    for (let write = 0; write < 6; write++) {
      const bytes = dice.below(3) === 0 ? Buffer.alloc(200 * KIB) : dice.bytes(512 * (1 + dice.below(300)))
      const offset = 512 * dice.below((SIZE_BYTES - bytes.length) / 512 + 1)
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

/** How an image is made of a raw file with a point's bytes. */
const KINDS: Readonly<Record<string, (raw: string, image: string) => Promise<void>>> = {
  raw: (raw, image) => rename(raw, image),
  qcow2: async (raw, image) => {
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, image])
    await run('qemu-img', ['bitmap', '--add', image, 'since'])
  },
  compressed: async (raw, image) => {
    await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=4k', raw, image])
  },
  'old, with a snapshot in it': async (raw, image) => {
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=0.10', raw, image])
    await run('qemu-img', ['snapshot', '-c', 'before', image])
  },
  'over another one': async (raw, image) => {
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', raw, '-F', 'raw', image])
    await run('qemu-img', ['bitmap', '--add', image, 'since'])
  },
}

interface Report {
  readonly bytesDiffering: number
  readonly bytesRead: number
  readonly bytesWritten: number
  readonly bytesZeroed: number
}

class Modelled {
  readonly file: string
  readonly format: 'raw' | 'qcow2'
  content: Buffer
  /** The point whose bytes it has, as everybody knows; null after others have written to it. */
  at: number | null
  /** The point since which its bitmap has recorded all; null for none. */
  since: number | null

  constructor(kind: string, file: string, point: number) {
    this.file = file
    this.format = kind === 'raw' ? 'raw' : 'qcow2'
    this.content = Buffer.from(contents[point]!)
    this.at = point
    this.since = kind === 'qcow2' || kind === 'over another one' ? point : null
  }

  async read(): Promise<Buffer> {
    const plain = `${this.file}.plain`
    await run('qemu-img', ['convert', '-f', this.format, '-O', 'raw', this.file, plain])
    const bytes = await readFile(plain)
    await rm(plain)
    return bytes
  }

  /** Somebody else's write. */
  async spoil(own: Dice): Promise<string> {
    const length = 512 * (1 + own.below(400))
    const offset = 512 * own.below((SIZE_BYTES - length) / 512 + 1)
    const byte = 1 + own.below(255)
    const zeroes = own.below(3)
    const command = zeroes === 0 ? 'write -z' : zeroes === 1 ? 'write -z -u' : `write -P ${byte}`
    await run('qemu-io', ['-f', this.format, '-d', 'unmap', '-c', `${command} ${offset} ${length}`, this.file])
    this.content.fill(command.includes('-P') ? byte : 0, offset, offset + length)
    this.at = null
    return `${command} ${offset} ${length}`
  }

  /** Bytes of chunks in which it is not the point. */
  differing(point: number): number {
    const wanted = contents[point]!
    let bytes = 0
    for (let from = 0; from < SIZE_BYTES; from += CHUNK_BYTES) {
      const to = Math.min(from + CHUNK_BYTES, SIZE_BYTES)
      if (!this.content.subarray(from, to).equals(wanted.subarray(from, to))) bytes += to - from
    }
    return bytes
  }

  /** True things that may be said of it. */
  claim(own: Dice): readonly string[] {
    const choice = own.below(3)
    if (choice === 0 && this.at !== null) return ['--base', points[this.at]!]
    if (choice === 1 && this.since !== null) return ['--base', points[this.since]!, '--bitmap', 'since']
    return []
  }

  become(point: number): void {
    this.content = Buffer.from(contents[point]!)
    this.at = point
  }
}

const onto = async (image: Modelled, point: number, flags: readonly string[]): Promise<Report> => {
  const args = ['restore', points[point]!, '--disk', 'vda', '--onto', image.file, '--format', image.format, '--json']
  return JSON.parse((await host.done(...args, ...flags)).stdout) as Report
}

/** Kills one that writes, and has the same command complete it. */
const killed = async (image: Modelled, point: number): Promise<void> => {
  const args = ['restore', points[point]!, '--disk', 'vda', '--onto', image.file, '--format', image.format]
  host.link.bytesPerSecond = MIB
  const restore = host.command(...args)
  await eventually(() => existsSync(`${image.file}.varve-incomplete`) || !restore.running)
  await restore.end('SIGKILL')
  host.link.bytesPerSecond = null
  await eventually(async () => {
    const { code, stderr } = await host.run(...args)
    return code === 0 ? true : /in use|lock/iu.test(stderr) ? null : Promise.reject(new Error(stderr))
  })
}

/** An export of a point is the point, and differs from the image where the model does. */
const exported = async (image: Modelled, point: number, socket: string): Promise<void> => {
  await using served = host.command('export', points[point]!, '--disk', 'vda', '--socket', socket)
  await served.says(/nbd\+unix/u)
  const uri = `nbd+unix:///vda?socket=${socket}`
  const plain = `${image.file}.export`
  await run('nbdcopy', [uri, plain])
  expect((await readFile(plain)).equals(contents[point]!)).toBe(true)
  await rm(plain)
  const compared = run('qemu-img', ['compare', '-f', 'raw', '-F', image.format, uri, image.file])
  const same = await compared.then(
    () => true,
    () => false,
  )
  expect(same).toBe(image.differing(point) === 0)
}

test.for(Object.keys(KINDS))('an image that is %s agrees with its model after every step', async (kind) => {
  const [seed = 0] = testSeeds(1)
  const own = new Dice(seed)
  const first = own.below(POINTS)
  const base = stand.folder.join(`${kind}.base`)
  await host.done('restore', points[first]!, '--disk', 'vda', '--to', base, '--format', 'raw')
  const image = new Modelled(kind, stand.folder.join(`${kind} 'of' it.img`), first)
  await KINDS[kind]!(base, image.file)
  const story: string[] = []
  for (let step = 0; step < STEPS; step++) {
    if (own.below(2) === 0) story.push(await image.spoil(own))
    const point = own.below(POINTS)
    const differing = image.differing(point)
    const flags = image.claim(own)
    const choice = own.below(6)
    const told = { seed, story }
    if (choice === 0) {
      story.push(`export ${point}`)
      await exported(image, point, stand.folder.join(`${step}.sock`))
    } else if (choice === 1) {
      story.push(`dry run to ${point} ${flags.join(' ')}`)
      const { bytesDiffering, bytesWritten, bytesZeroed } = await onto(image, point, [...flags, '--dry-run'])
      expect({ ...told, bytesDiffering, all: bytesWritten + bytesZeroed }).toEqual({
        ...told,
        bytesDiffering: differing,
        all: differing,
      })
    } else if (choice === 2) {
      story.push(`killed on the way to ${point}`)
      await killed(image, point)
      image.become(point)
    } else {
      story.push(`to ${point} ${flags.join(' ')}`)
      const { bytesDiffering } = await onto(image, point, flags)
      expect({ ...told, bytesDiffering }).toEqual({ ...told, bytesDiffering: differing })
      image.become(point)
    }
    expect({ ...told, same: (await image.read()).equals(image.content) }).toEqual({ ...told, same: true })
  }
  if (image.format === 'qcow2') await run('qemu-img', ['check', '-q', image.file])
})
