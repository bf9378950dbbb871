// Exports of restore points over NBD: what nbdinfo, nbdcopy, qemu-img and libnbd read of them, also while the gateway is away.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { run } from '../support/run.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

const SIZE_BYTES = 24 * MIB + 1536

const dice = new Dice(80)
const CONTENT = Buffer.concat([dice.bytes(9 * MIB), Buffer.alloc(6 * MIB), dice.bytes(9 * MIB + 1536)])

let stand: Stand
let host: Host
let point: string

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

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

test('try', async () => {
  const socket = stand.folder.join('e.sock')
  const program = host.command('export', point, '--socket', socket)
  await program.says(/vdb.*\n/u)
  console.log(await run('nbdinfo', ['--list', `nbd+unix:///?socket=${socket}`]))
  console.log(await run('nbdinfo', ['--map', `nbd+unix:///?socket=${socket}`]))
  const out = stand.folder.join('out.raw')
  await run('nbdcopy', [`nbd+unix:///vda?socket=${socket}`, out])
  expect((await readFile(out)).equals(CONTENT)).toBe(true)
  console.log(await program.end('SIGTERM'))
  expect(existsSync(socket)).toBe(false)
})
