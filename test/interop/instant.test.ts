// Machines that run from the gateway while their disks are brought in: kills, breaks and restarts of every party.
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { Guest } from '../instant/guest.ts'

const dice = new Dice(16)
const CONTENT = Buffer.concat([dice.bytes(8 * MIB), Buffer.alloc(8 * MIB), dice.bytes(8 * MIB), Buffer.alloc(512)])
const SECOND = Buffer.concat([Buffer.alloc(MIB), dice.bytes(MIB)])

let stand: Stand
let host: Host
let point: string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: CONTENT.length, content: CONTENT },
    { id: 'vdb', format: 'raw', size: SECOND.length, content: SECOND },
  ])
  await host.start()
  point = (await host.backup('db1')).point
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

const answer = ({ stdout }: { stdout: string }): Record<string, unknown> =>
  JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>

const contentOf = async (file: string): Promise<Buffer> => {
  const raw = `${file}.raw`
  await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', file, raw])
  return await readFile(raw)
}

test('a machine runs at once, and its disks stand alone at the end', async () => {
  const to = stand.folder.join('at-once')
  await host.done('instant', point, '--to', to, '--json', '--speed', '2M')
  const expected = Buffer.from(CONTENT)
  {
    await using guest = await Guest.start(to, ['vda', 'vdb'])
    expect(await guest.disk('vda').read(17 * MIB, 64 * KIB)).toEqual(CONTENT.subarray(17 * MIB, 17 * MIB + 64 * KIB))
    const bytes = dice.bytes(8 * KIB)
    await guest.disk('vda').write(3 * MIB + 512, bytes)
    expected.set(bytes, 3 * MIB + 512)
    const { instants } = answer(await host.done('instant', 'status', '--json')) as { instants: { disks: unknown[] }[] }
    expect(instants[0]!.disks).toHaveLength(2)
    const finished = answer(await host.done('instant', 'finish', to, '--json'))
    expect(finished).toMatchObject({ machine: 'db1' })
    await stand.endGateway('SIGKILL')
    expect((await guest.disk('vda').read(0, CONTENT.length)).equals(expected)).toBe(true)
    await guest.end('quit')
  }
  expect(existsSync(path.join(to, '.varve-instant'))).toBe(false)
  expect((await readdir(to)).filter((name) => !name.startsWith('test.')).toSorted()).toEqual(['start.sh', 'vda.qcow2', 'vdb.qcow2'])
  expect((await contentOf(path.join(to, 'vda.qcow2'))).equals(expected)).toBe(true)
  expect((await contentOf(path.join(to, 'vdb.qcow2'))).equals(SECOND)).toBe(true)
  await stand.startGateway()
})
