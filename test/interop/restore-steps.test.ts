// A restore that is killed before or after any step which changes a name in its folder is completed by the same command.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { link, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { testSeeds } from '../support/seed.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually, tempFolder } from '../support/temp.ts'

const AGENT = path.resolve(import.meta.dirname, '../../agent/main.ts')
const KILL = path.resolve(import.meta.dirname, '../support/kill-at-step.ts')

const dice = new Dice(16)
const CONTENT = new Map([
  ['vda', Buffer.concat([dice.bytes(700 * KIB), Buffer.alloc(900 * KIB), dice.bytes(5 * KIB)])],
  ['vdb', dice.bytes(320 * KIB)],
])

/** Each step costs two restores: a run tries some, and all with this variable. */
const ALL_STEPS = process.env['VARVE_ALL_STEPS'] !== undefined
const STEPS_TRIED = 3

let stand: Stand
let host: Host
let point: string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  const note = stand.folder.join('note')
  await writeFile(note, 'a file of the host')
  const disks = [...CONTENT].map(([id, content]) => ({ id, format: 'raw' as const, size: content.length, content }))
  await host.addMachine('db1', disks)
  await host.start({ attach: [note] })
  point = (await host.backup('db1')).point
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

const argsOf = (to: string, format: string): string[] => {
  const what = ['--define', '--new-ids', '--name', 'copy', '--format', format, '--resume']
  return ['restore', point, '--to', to, ...what]
}

/** Whether it was killed at that step, and did not end before. */
const killed = async (to: string, format: string, step: string): Promise<boolean> => {
  const args = ['--import', KILL, AGENT, ...argsOf(to, format), '--config', host.configFile]
  const env = { ...process.env, VARVE_TEST_KILL: `${step} ${to}` }
  const [, signal] = (await once(spawn(process.execPath, args, { stdio: 'ignore', env }), 'exit')) as [number, string]
  return signal === 'SIGKILL'
}

const complete = async (to: string, format: string): Promise<string> =>
  await eventually(async () => {
    const { code, stdout, stderr } = await host.run(...argsOf(to, format))
    // the server of the killed one holds its image a moment longer
    return code === 0 ? stdout : /in use|lock/u.test(stderr) ? null : Promise.reject(new Error(stderr))
  })

const contentOf = async (file: string, format: string): Promise<Buffer> => {
  if (format === 'raw') return await readFile(file)
  const plain = `${file}.plain`
  await run('qemu-img', ['convert', '-f', format, '-O', 'raw', file, plain])
  const bytes = await readFile(plain)
  await rm(plain)
  return bytes
}

const expectWhole = async (to: string, format: string, what: object): Promise<void> => {
  const files = [...CONTENT.keys()].map((disk) => `${disk}.${format}`)
  expect({ ...what, files: (await readdir(to)).toSorted() }).toEqual({
    ...what,
    files: ['attachments', 'start.sh', ...files],
  })
  for (const [disk, content] of CONTENT) {
    const same = (await contentOf(path.join(to, `${disk}.${format}`), format)).equals(content)
    expect({ ...what, disk, same }).toMatchObject({ same: true })
  }
  const attachments = await readdir(path.join(to, 'attachments'), { recursive: true })
  expect(attachments.filter((name) => name.includes('.varve-restore-'))).toEqual([])
  expect(await readFile(path.join(to, 'attachments', `file:${stand.folder.join('note')}`), 'utf8')).toBe(
    'a file of the host',
  )
  expect((await stat(path.join(to, 'start.sh'))).mode & 0o777).toBe(0o700)
}

/** Steps that are tried: all, one after the other, or some of the first 40, of which the last are those that give names. */
function* stepsTried(seed: number): Generator<string> {
  const own = new Dice(seed)
  for (let at = 0; ALL_STEPS || at < STEPS_TRIED; at++) {
    const step = ALL_STEPS ? 1 + (at >> 1) : 1 + own.below(40)
    yield `${at % 2 === 0 ? 'before' : 'after'} ${step}`
  }
}

test.for(['raw', 'qcow2'])('killed at any step, a %s restore is completed by the same command', async (format) => {
  await using folder = await tempFolder()
  const [seed = 0] = testSeeds(1)
  for (const step of stepsTried(seed)) {
    const to = folder.join(step.replace(' ', '-'))
    const wasKilled = await killed(to, format, step)
    await complete(to, format)
    await expectWhole(to, format, { seed, step })
    await rm(to, { recursive: true })
    // there are no more
    if (ALL_STEPS && !wasKilled) break
  }
})

test.for(['raw', 'qcow2'])('what has its name already is held against the point, %s', async (format) => {
  await using folder = await tempFolder()
  const to = folder.join('machine')
  await host.done(...argsOf(to, format))
  const [vda, vdb] = ['vda', 'vdb'].map((disk) => path.join(to, `${disk}.${format}`)) as [string, string]
  const script = await readFile(path.join(to, 'start.sh'), 'utf8')
  // one disk between its two names, one with its first, and no script
  await link(vda, `${vda}.partial`)
  await rename(vdb, `${vdb}.partial`)
  await rm(path.join(to, 'start.sh'))
  expect(await complete(to, format)).toMatch(/, .* were there\)/u)
  await expectWhole(to, format, {})
  // its ids are those that it got before
  expect(await readFile(path.join(to, 'start.sh'), 'utf8')).toBe(script)
  // and once more, with nothing left to do
  const { stdout } = await host.done(...argsOf(to, format))
  expect(stdout).toMatch(/\(0 B received, .* were there\)/u)

  const note = path.join(to, 'attachments', `file:${stand.folder.join('note')}`)
  await writeFile(note, 'another one here!!')
  expect(await host.run(...argsOf(to, format))).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('note exists'),
  })
  expect(await readFile(note, 'utf8')).toBe('another one here!!')
  await writeFile(note, 'a file of the host')

  const foreign = format === 'raw' ? Buffer.from(CONTENT.get('vdb')!) : null
  if (foreign === null) await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 300k 512', vdb])
  else {
    foreign[foreign.length - 1]! ^= 1
    await writeFile(vdb, foreign)
  }
  const before = await readFile(vdb)
  const refused = await host.run(...argsOf(to, format))
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringMatching(/vdb\.\w+ exists, and is not the disk/u) })
  expect((await readFile(vdb)).equals(before)).toBe(true)
})
