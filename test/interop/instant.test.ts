// Machines that run from the gateway while their disks are brought in: kills, breaks and restarts of every party in turn, and all
// of them by dice.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { askServer } from '../../agent/instant/control.ts'
import { placesIn } from '../../agent/instant/record.ts'
import { QmpClient } from '../../agent/qmp/client.ts'
import { Guest } from '../instant/guest.ts'
import { History } from '../instant/history.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import { testSeeds } from '../support/seed.ts'
import type { Host } from '../support/stand-host.ts'
import { isAlive, Program, type Said } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const dice = new Dice(16)
const CONTENT = Buffer.concat([dice.bytes(8 * MIB), Buffer.alloc(8 * MIB), dice.bytes(8 * MIB), Buffer.alloc(512)])
const SECOND = Buffer.concat([Buffer.alloc(MIB), dice.bytes(MIB)])
const DISKS = new Map([
  ['vda', CONTENT],
  ['vdb', SECOND],
])
const NAMES = [...DISKS.keys()]

/** Slow enough that nothing is complete before a test has done what it wants. */
const SLOWLY = ['--speed', '512K']

let stand: Stand
let host: Host
let point: string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  await host.addMachine(
    'db1',
    [...DISKS].map(([id, content]) => ({ id, format: 'qcow2', size: content.length, content })),
  )
  await host.start()
  point = (await host.backup('db1')).point
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

afterEach(() => {
  vi.unstubAllEnvs()
})

const answer = ({ stdout }: Said): Record<string, unknown> =>
  JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>

const contentOf = async (file: string): Promise<Buffer> => {
  const raw = `${file}.raw`
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw])
  const content = await readFile(raw)
  await rm(raw)
  return content
}

/** Makes a machine; gives its folder. */
const begin = async (name: string, ...flags: readonly string[]): Promise<string> => {
  const to = stand.folder.join(name)
  await host.done('instant', point, '--to', to, ...flags)
  return to
}

const serverOf = async (folder: string): Promise<number | null> =>
  (await askServer(placesIn(folder).control, 'status').catch(() => null))?.pid ?? null

const ended = (pid: number): Promise<boolean> => eventually(async () => !(await isAlive(pid)))

test('a machine runs at once, and its disks stand alone at the end', async () => {
  const to = await begin('at-once', '--speed', '2M')
  const server = (await serverOf(to))!
  const expected = Buffer.from(CONTENT)
  {
    await using guest = await Guest.start(to, NAMES)
    expect(await guest.disk('vda').read(17 * MIB, 64 * KIB)).toEqual(CONTENT.subarray(17 * MIB, 17 * MIB + 64 * KIB))
    const bytes = dice.bytes(8 * KIB)
    await guest.disk('vda').write(3 * MIB + 512, bytes)
    expected.set(bytes, 3 * MIB + 512)
    const [row] = answer(await host.done('instant', 'status', '--json'))['instants'] as Record<string, unknown>[]
    expect(row).toMatchObject({ folder: to, machine: 'db1', served: true, kept: 'kept' })
    expect(row).toMatchObject({ keptUntilMs: expect.any(Number), disks: [{ disk: 'vda' }, { disk: 'vdb' }] })
    expect(answer(await host.done('instant', 'finish', to, '--json'))).toMatchObject({ machine: 'db1' })
    await ended(server)
    await stand.endGateway('SIGKILL')
    expect((await guest.disk('vda').read(0, CONTENT.length)).equals(expected)).toBe(true)
    await guest.end('quit')
  }
  const left = (await readdir(to)).filter((name) => !name.startsWith('test.'))
  expect(left.toSorted()).toEqual(['start.sh', 'vda.qcow2', 'vdb.qcow2'])
  expect((await contentOf(path.join(to, 'vda.qcow2'))).equals(expected)).toBe(true)
  expect((await contentOf(path.join(to, 'vdb.qcow2'))).equals(SECOND)).toBe(true)
  // the script needs neither gateway nor agent any more
  await using guest = await Guest.start(to, NAMES)
  expect((await guest.disk('vdb').read(0, SECOND.length)).equals(SECOND)).toBe(true)
  await guest.end('quit')
  await stand.startGateway()
  expect(answer(await host.done('instant', 'status', '--json'))).toMatchObject({ instants: [] })
})

test('its point is not pruned while a machine runs from it, after a restart of the gateway too, and may be when it does not', async () => {
  const { point: used } = await host.backup('db1', '--wait')
  const pruned = (): Promise<Said> => stand.run('prune', '--tenant', 'acme', '--point', used)
  const to = stand.folder.join('used')
  await host.done('instant', used, '--to', to, ...SLOWLY)
  await stand.endGateway('SIGKILL')
  await stand.startGateway()
  expect(await pruned()).toMatchObject({ code: 5, stderr: expect.stringContaining('is in use') })
  expect((await stand.done('points', '--tenant', 'acme')).stdout).toMatch(new RegExp(`${used}.*in use until`, 'u'))
  // who serves it is gone, and the point is kept all the same
  process.kill((await serverOf(to))!, 'SIGKILL')
  expect(await pruned()).toMatchObject({ code: 5 })
  await eventually(async () => (await serverOf(to)) !== null)
  await host.done('instant', 'abandon', to, '--yes')
  expect(await pruned()).toMatchObject({ code: 0 })
})

test('a QEMU that is killed in the moment in which its disk is cut loose has lost nothing', async () => {
  const to = await begin('cut-loose')
  {
    await using guest = await Guest.start(to, NAMES)
    const cut = new Set<unknown>()
    const both = Promise.withResolvers<void>()
    guest.control.subscribe(({ event, data }) => {
      if (event === 'BLOCK_JOB_COMPLETED' && cut.add(data['device']).size === NAMES.length) both.resolve()
    })
    await both.promise
    await guest.end('kill')
  }
  for (const [name, content] of DISKS) {
    const file = path.join(to, `${name}.qcow2`)
    expect(await run('qemu-img', ['info', '-U', file])).not.toContain('backing file')
    expect((await contentOf(file)).equals(content)).toBe(true)
  }
  await eventually(() => !existsSync(placesIn(to).private))
})

test('who serves the disks is killed: the guest waits, and goes on once the agent has served them again', async () => {
  const to = await begin('served-again', ...SLOWLY)
  await using guest = await Guest.start(to, NAMES)
  const server = (await serverOf(to))!
  process.kill(server, 'SIGKILL')
  await ended(server)
  // a place that nobody has read yet
  expect(await guest.disk('vda').read(23 * MIB, 64 * KIB)).toEqual(CONTENT.subarray(23 * MIB, 23 * MIB + 64 * KIB))
  expect(await serverOf(to)).not.toBe(server)
  await guest.end('kill')
  await eventually(async () => (await askServer(placesIn(to).control, 'status'))?.machine === 'off')
  await host.done('instant', 'abandon', to, '--yes', '--lose-writes')
})

test('while the gateway is away reads wait and whole clusters are written; what has run is not abandoned by mistake', async () => {
  const to = await begin('away', ...SLOWLY)
  {
    await using guest = await Guest.start(to, NAMES)
    await guest.control.execute('cont')
    host.link.refuse()
    host.link.cut()
    const bytes = dice.bytes(64 * KIB)
    await guest.disk('vda').write(20 * MIB, bytes)
    let isRead = false
    const reading = guest.disk('vda').read(23 * MIB, 4 * KIB)
    void reading.then(() => (isRead = true))
    await eventually(async () => (await askServer(placesIn(to).control, 'status'))?.away !== null)
    expect(isRead).toBe(false)
    await host.link.accept()
    expect(await reading).toEqual(CONTENT.subarray(23 * MIB, 23 * MIB + 4 * KIB))
    expect(await guest.disk('vda').read(20 * MIB, 64 * KIB)).toEqual(bytes)
  }
  const refused = await host.run('instant', 'abandon', to)
  expect([refused.code, refused.stderr]).toEqual([5, expect.stringContaining('--yes --lose-writes')])
  expect((await host.run('instant', 'abandon', to, '--yes')).code).toBe(5)
  expect(existsSync(path.join(to, 'vda.qcow2'))).toBe(true)
  await host.done('instant', 'abandon', to, '--yes', '--lose-writes')
  expect((await readdir(to).catch(() => [])).filter((name) => !name.startsWith('test.'))).toEqual([])
})

test('a guest whose read fails is stopped and never given zeroes; it goes on by itself', async () => {
  const to = await begin('stopped', ...SLOWLY, '--reconnect-for', '10s')
  const qmp = path.join(to, 'own.qmp')
  host.link.refuse()
  host.link.cut()
  // its firmware reads the first sector
  await promisify(execFile)(path.join(to, 'start.sh'), ['-qmp', `unix:${qmp},server=on,wait=off`])
  {
    await using client = await QmpClient.connect({ path: qmp })
    const statusIs = async (wanted: string): Promise<boolean> =>
      ((await client.execute('query-status')) as { status: string }).status === wanted
    await eventually(() => statusIs('io-error'))
    await host.link.accept()
    await eventually(() => statusIs('running'))
    const file = path.join(to, 'sector')
    await eventually(async () => {
      await client.execute('pmemsave', { val: 0x7c00, size: 512, filename: file })
      return (await readFile(file)).equals(CONTENT.subarray(0, 512))
    })
  }
  const pid = Number(await readFile(path.join(to, 'qemu.pid'), 'utf8'))
  await host.done('instant', 'abandon', to, '--yes', '--lose-writes')
  await ended(pid)
})

test('a machine that is off is finished without it, after a restart of the host too, and an interruption leaves it as it was', async () => {
  const to = await begin('off', ...SLOWLY)
  const bytes = dice.bytes(256 * KIB)
  {
    await using guest = await Guest.start(to, NAMES)
    await guest.disk('vda').write(5 * MIB, bytes)
    await guest.disk('vda').flush()
    process.kill((await serverOf(to))!, 'SIGKILL')
    await guest.end('kill')
  }
  await host.end('SIGKILL')
  await host.done('instant', 'resume', to)
  const broken = host.command('instant', 'finish', to)
  await eventually(async () => (await askServer(placesIn(to).control, 'status'))?.machine === 'stopped')
  // nothing else may write to the disks meanwhile
  await expect(Guest.start(to, NAMES)).rejects.toThrow('runs already')
  expect((await broken.end('SIGINT')).code).toBe(130)
  expect(existsSync(placesIn(to).private)).toBe(true)
  await host.done('instant', 'finish', to)
  const expected = Buffer.from(CONTENT)
  expected.set(bytes, 5 * MIB)
  expect((await contentOf(path.join(to, 'vda.qcow2'))).equals(expected)).toBe(true)
  await host.start()
})

test('a person’s machine runs on a host without an agent; a token that has expired is told, and another one taken', async () => {
  vi.stubEnv('XDG_STATE_HOME', stand.folder.join('state'))
  vi.stubEnv('VARVE_AGENT_CONFIG', '')
  const tokenFile = stand.folder.join('token')
  const putToken = async (ttl: string): Promise<void> => {
    const issue = ['token', 'issue', '--tenant', 'acme', '--role', 'operator', '--ttl', ttl]
    await writeFile(tokenFile, (await stand.done(...issue)).stdout, { mode: 0o600 })
  }
  const varve = async (...args: readonly string[]): Promise<Record<string, unknown>> => {
    const outcome = await new Program('agent', [...args, '--json']).ended
    expect([outcome.code, outcome.stderr]).toEqual([0, expect.any(String)])
    return answer(outcome)
  }
  await putToken('15s')
  const to = stand.folder.join('person')
  await varve('instant', point, '--to', to, '--gateway', stand.url, '--token-file', tokenFile, ...SLOWLY)
  const away = async (): Promise<string | null | undefined> =>
    (await askServer(placesIn(to).control, 'status').catch(() => null))?.away
  await eventually(async () => (await away())?.includes('put a new one there'))
  await putToken('1h')
  await eventually(async () => (await away()) === null)
  await using guest = await Guest.start(to, NAMES)
  expect(await guest.disk('vda').read(0, 64 * KIB)).toEqual(CONTENT.subarray(0, 64 * KIB))
  await varve('instant', 'finish', to)
  expect((await varve('instant', 'status', '--config', host.configFile))['instants']).toEqual([])
  await guest.end('quit')
  expect((await contentOf(path.join(to, 'vda.qcow2'))).equals(CONTENT)).toBe(true)
})

test('what is interrupted before it serves leaves nothing, and files that are there are not touched', async () => {
  host.link.deafAfter('image.read')
  const to = stand.folder.join('interrupted')
  const command = host.command('instant', point, '--to', to)
  await eventually(() => existsSync(placesIn(to).control))
  const server = await serverOf(to)
  expect((await command.end('SIGINT')).code).toBe(130)
  host.link.hear()
  if (server !== null) await ended(server)
  await eventually(() => !existsSync(to))
  const full = await begin('full', ...SLOWLY)
  const again = await host.run('instant', point, '--to', full)
  expect([again.code, again.stderr]).toEqual([5, expect.stringContaining('is there already')])
  await host.done('instant', 'abandon', full, '--yes')
  expect(existsSync(full)).toBe(false)
})

test.each(testSeeds(1))('a history with seed %i', async (seed) => {
  const steps: string[] = []
  const history = new History({
    stand,
    host,
    point,
    disks: DISKS,
    dice: new Dice(seed),
    onStep: (one) => steps.push(one),
  })
  await history.run().catch((error: unknown) => {
    throw new Error(`after ${steps.join(', ')}`, { cause: error })
  })
})
