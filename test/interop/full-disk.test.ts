// A disk that somebody else filled to its last byte: restores go on, what makes room works and makes room, and then all is
// as before.
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test, vi } from 'vitest'
import { EXIT } from '../../protocol/host/exit.ts'
import { Filler, freeBytes, thief } from '../support/full-disk.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ testTimeout: 240_000 })

const DISK_BYTES = 256 * MIB
/** What a disk of that size has. */
const BALLAST_FILES = 16
const OF_TENANT = ['--tenant', TENANT]

const ballast = (stand: Stand): number => {
  try {
    return readdirSync(path.join(stand.dataFolder, 'ballast')).filter((name) => name.endsWith('.ballast')).length
  } catch {
    return 0
  }
}

/** A stand on a disk of its own, with a machine and three restore points that share little. */
const setUp = async (stand: Stand, dice: Dice) => {
  const host = await stand.addHost()
  const content = Buffer.alloc(64 * MIB)
  content.set(dice.bytes(24 * MIB))
  const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 64 * MIB, content }])
  await host.start()
  const points: string[] = []
  points.push((await host.backup('db1')).point)
  const model = machine.snapshot()
  await machine.write('vda', 0, dice.bytes(20 * MIB))
  points.push((await host.backup('db1')).point)
  await machine.write('vda', 0, dice.bytes(20 * MIB))
  points.push((await host.backup('db1')).point)
  await eventually(() => ballast(stand) === BALLAST_FILES)
  return { host, machine, points, model, newest: machine.snapshot() }
}

test('a gateway on a disk of which somebody takes every byte restores, holds, prunes and collects; then it backs up again', async () => {
  const dice = new Dice(16)
  await using stand = await Stand.start({ diskBytes: DISK_BYTES })
  const { host, machine, points, model, newest } = await setUp(stand, dice)
  const [first, , third] = points as [string, string, string]
  using filler = new Filler(path.dirname(stand.dataFolder))
  // the last backup may still give some space back
  await eventually(() => {
    filler.fill()
    return freeBytes(stand.dataFolder) === 0
  })
  const taking = thief(path.dirname(stand.dataFolder))
  await using _taking = taking

  expectDisks(await stand.restore(first), model)
  expectDisks(await stand.restore(third), newest)
  expect((await stand.listPoints()).map(({ id }) => id).sort()).toEqual([...points].sort())
  await stand.done('verify', ...OF_TENANT)
  await stand.done('usage', ...OF_TENANT, '--points')
  await stand.done('hold', third, ...OF_TENANT)
  await stand.done('hold', third, '--release', ...OF_TENANT)
  await stand.done('hold', first, ...OF_TENANT, '--until', '1h')
  await stand.done('plan', 'set', 'kept', ...OF_TENANT, '--cover-others', '--keep-last', '1')
  await stand.done('tenant', 'quota', TENANT, '--soft', '1T')
  await stand.done('token', 'issue', ...OF_TENANT, '--role', 'owner')
  const refused = await host.run('backup', 'db1')
  expect([refused.code, refused.stderr]).toEqual([EXIT.failed, expect.stringContaining('STORE_FULL')])

  await stand.done('prune', ...OF_TENANT)
  expect((await stand.listPoints()).map(({ id }) => id).sort()).toEqual([first, third].sort())
  await taking[Symbol.asyncDispose]()
  await stand.done('gc', ...OF_TENANT)
  expect(freeBytes(stand.dataFolder)).toBeGreaterThan(4 * MIB)
  expectDisks(await stand.restore(first), model)
  expectDisks(await stand.restore(third), newest)
  await stand.done('audit', 'check')

  filler[Symbol.dispose]()
  await machine.write('vda', 30 * MIB, dice.bytes(MIB))
  const again = await host.backup('db1')
  expect(again.kind).toBe('incremental')
  expectDisks(await stand.restore(again.point), machine.snapshot())
  expect(ballast(stand)).toBe(BALLAST_FILES)
})

test('on a full disk commands work without a gateway, and a gateway starts, stops and starts again', async () => {
  const dice = new Dice(17)
  await using stand = await Stand.start({ diskBytes: DISK_BYTES })
  const { host, machine, points, newest } = await setUp(stand, dice)
  const [first, , third] = points as [string, string, string]
  await stand.endGateway('SIGTERM')
  using filler = new Filler(path.dirname(stand.dataFolder))
  filler.fill()

  await stand.done('points', ...OF_TENANT)
  await stand.done('hold', first, ...OF_TENANT)
  filler.fill()
  await stand.done('token', 'issue', ...OF_TENANT, '--role', 'owner')
  await stand.done('tenant', 'quota', TENANT, '--hard', '1T')
  await stand.done('verify', ...OF_TENANT)
  filler.fill()
  await stand.startGateway()
  expectDisks(await stand.restore(third), newest)
  filler.fill()
  await stand.endGateway('SIGKILL')
  filler.fill()
  await stand.startGateway()
  expectDisks(await stand.restore(third), newest)
  expect((await stand.endGateway('SIGTERM')).code).toBe(0)
  filler.fill()

  await stand.done('prune', ...OF_TENANT, '--keep-last', '1')
  filler.fill()
  await stand.done('hold', first, ...OF_TENANT, '--release')
  await stand.done('prune', ...OF_TENANT, '--keep-last', '1')
  filler.fill()
  await stand.done('gc', ...OF_TENANT)
  expect(freeBytes(stand.dataFolder)).toBeGreaterThan(8 * MIB)
  expect(ballast(stand)).toBe(BALLAST_FILES)
  filler[Symbol.dispose]()
  await stand.startGateway()
  expectDisks(await stand.restore(third), newest)
  await stand.done('audit', 'check')
  await host.end('SIGTERM')
  await host.start()
  const again = await host.backup('db1')
  expectDisks(await stand.restore(again.point), machine.snapshot())
})

test('a disk that fills up while a backup runs ends it with STORE_FULL; with room again the next one goes on', async () => {
  const dice = new Dice(18)
  await using stand = await Stand.start({ diskBytes: DISK_BYTES })
  const host = await stand.addHost({ settings: { bandwidth: '8 MiB' } })
  const content = dice.bytes(48 * MIB)
  const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 48 * MIB, content }])
  const other = await host.addMachine('db2', [{ id: 'vda', format: 'raw', size: MIB, content: dice.bytes(MIB) }])
  await host.start()
  const { point } = await host.backup('db2')
  const backup = host.command('backup', 'db1')
  const job = await eventually(async () => (await stand.jobs()).find(({ machine: name }) => name === 'db1')?.id)
  await stand.durable(job, 8 * MIB)
  using filler = new Filler(path.dirname(stand.dataFolder))
  filler.fill(MIB)
  const { code, stderr } = await backup.ended
  expect([code, stderr]).toEqual([EXIT.failed, expect.stringContaining('STORE_FULL')])
  expectDisks(await stand.restore(point), other.snapshot())
  await stand.done('gc', ...OF_TENANT)
  filler[Symbol.dispose]()
  const done = await host.backup('db1')
  expectDisks(await stand.restore(done.point), machine.snapshot())
  await stand.done('verify', ...OF_TENANT)
})
