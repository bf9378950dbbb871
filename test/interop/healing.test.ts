// Damage under real backups: verify names exactly what is lost, restores say so or go around it, and the next backup heals
// every point.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import type { LostRange, VerifyReport } from '../../protocol/maintenance.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const CHUNK = 64 * KIB

const verify = async (stand: Stand): Promise<VerifyReport> => {
  const params = { point: null, machine: null, olderThanDays: null, bytesPerSecond: null }
  return await (await stand.peer()).open('store.verify', params).result
}

/** Lost ranges of one point as `disk offset+length`. */
const rangesOf = (lost: readonly LostRange[], point: string): string[] =>
  lost.filter((range) => range.point === point).map(({ disk, offset, length }) => `${disk} ${offset}+${length}`)

test.concurrent('a damaged chunk, a damaged tree node and a lost pack are healed by the next increment', async () => {
  const dice = new Dice(80)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 24 * MIB, content: dice.bytes(24 * MIB) },
    { id: 'vdb', format: 'raw', size: 2 * MIB, content: dice.bytes(2 * MIB) },
  ])
  await host.start()
  const damager = new Damager(stand.dataFolder)
  const chunkAt = (offset: number): Uint8Array =>
    damager.chunkId(machine.content('vda').subarray(offset, offset + CHUNK))
  const one = { ...(await host.backup('db1')), disks: machine.snapshot() }

  // what comes now goes into a pack of its own
  await stand.endGateway('SIGTERM')
  await damager.spoilEnd(chunkAt(0))
  await stand.startGateway()
  await host.agent.says(/connected to the gateway[^]*connected to the gateway/)
  await machine.write('vda', 12 * MIB, dice.bytes(MIB))
  const two = { ...(await host.backup('db1')), disks: machine.snapshot() }
  await machine.write('vda', 20 * MIB, dice.bytes(CHUNK))
  const three = { ...(await host.backup('db1')), disks: machine.snapshot() }
  expect([one.kind, two.kind, three.kind]).toEqual(['full', 'incremental', 'incremental'])
  expect(await verify(stand)).toMatchObject({ points: 3, good: 3, damagedCount: 0, lostCount: 0 })

  await damager.flip(chunkAt(5 * CHUNK))
  const node = damager.nodesOf(machine.content('vda')).find(({ level, position }) => level === 0 && position === 64)!
  await damager.flip(node.id)
  const { pack } = await damager.removePack(chunkAt(12 * MIB))
  expect(damager.place(chunkAt(20 * MIB)).pack).toBe(pack)

  const found = await verify(stand)
  expect(found).toMatchObject({ points: 3, good: 0, damagedCount: 2 + 16 + 1 })
  expect(found.damaged.map(({ type }) => type).filter((type) => type === 'node')).toHaveLength(1)
  expect(found.damaged.filter((record) => record.pack === pack)).toHaveLength(17)
  const shared = [`vda ${5 * CHUNK}+${CHUNK}`, `vda ${4 * MIB}+${4 * MIB}`]
  expect(rangesOf(found.lost, one.point)).toEqual(shared)
  expect(rangesOf(found.lost, two.point)).toEqual([...shared, `vda ${12 * MIB}+${MIB}`])
  expect(rangesOf(found.lost, three.point)).toEqual([...shared, `vda ${12 * MIB}+${MIB}`, `vda ${20 * MIB}+${CHUNK}`])
  expect(found.lostCount).toBe(9)
  expect((await stand.point(three.point)).lostBytes).toBe(2 * CHUNK + 5 * MIB)

  // nothing is written where part of it is lost, unless that is asked for
  const file = stand.folder.join('vda.raw')
  const restore = ['restore', three.point, '--disk', 'vda', '--to', file]
  const refused = await host.run(...restore)
  expect(refused.code).toBe(1)
  for (const said of ['disk vda', `${CHUNK} at ${5 * CHUNK}`, `${MIB} at ${12 * MIB}`, '--skip-damaged'])
    expect(refused.stderr).toContain(said)
  expect(existsSync(file)).toBe(false)
  const around = await host.run(...restore, '--skip-damaged', '--json')
  expect(around.code).toBe(1)
  const lost = [
    { offset: 5 * CHUNK, length: CHUNK },
    { offset: 4 * MIB, length: 4 * MIB },
    { offset: 12 * MIB, length: MIB },
    { offset: 20 * MIB, length: CHUNK },
  ]
  expect(JSON.parse(around.stdout)).toMatchObject({ lostCount: 4, lostBytes: 2 * CHUNK + 5 * MIB, lost })
  const expected = Buffer.from(three.disks.get('vda')!)
  for (const { offset, length } of lost) expected.fill(0, offset, offset + length)
  expectDisks(new Map([['vda', await readFile(file)]]), new Map([['vda', expected]]))
  const other = stand.folder.join('vdb.raw')
  await host.done('restore', three.point, '--disk', 'vdb', '--to', other)
  expect((await readFile(other)).equals(three.disks.get('vdb')!)).toBe(true)

  // the guest has written nothing since
  const four = await host.backup('db1')
  expect(four).toMatchObject({ kind: 'incremental', reason: 'bitmap' })
  expect(four.bytesRead).toBe(2 * CHUNK + 5 * MIB)
  expect(four.bytesStored).toBeGreaterThan(CHUNK * 18)
  expect(four.bytesStored).toBeLessThan(CHUNK * 19)
  expect((await stand.listPoints()).map(({ lostBytes }) => lostBytes)).toEqual([0, 0, 0, 0])
  expect(await verify(stand)).toMatchObject({ points: 4, good: 4, damagedCount: 0, lostCount: 0 })
  for (const { point, disks } of [one, two, three, { point: four.point, disks: three.disks }])
    expectDisks(await stand.restore(point), disks)
})

test.concurrent('damage met by a restore is named; a full read, and another machine, heal it too', async () => {
  const dice = new Dice(81)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const content = dice.bytes(8 * MIB)
  const disk = { format: 'qcow2', size: 8 * MIB, content } as const
  const machine = await host.addMachine('db1', [{ id: 'vda', ...disk }])
  await host.addMachine('db2', [{ id: 'sda', ...disk }])
  await host.start()
  const damager = new Damager(stand.dataFolder)
  const { point } = await host.backup('db1')
  const disks = machine.snapshot()
  const chunkAt = (offset: number): Uint8Array => damager.chunkId(content.subarray(offset, offset + CHUNK))
  const lostOf = async (): Promise<string[]> => {
    const { lost } = await (await stand.peer()).call('points.lost', { point })
    return rangesOf(lost, point)
  }

  await damager.flip(chunkAt(3 * MIB))
  await expect(stand.restore(point)).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    message: expect.stringContaining(`${CHUNK} at ${3 * MIB}`) as string,
  })
  expect(await lostOf()).toEqual([`vda ${3 * MIB}+${CHUNK}`])
  // another machine that has the same content brings it again
  await host.backup('db2')
  expect(await lostOf()).toEqual([])
  expectDisks(await stand.restore(point), disks)

  await damager.flip(chunkAt(5 * MIB))
  expect(await verify(stand)).toMatchObject({ points: 2, good: 0, damagedCount: 1, lostCount: 2 })
  expect(await host.backup('db1', '--full')).toMatchObject({ kind: 'full', reason: 'requested' })
  expect(await verify(stand)).toMatchObject({ points: 3, good: 3, damagedCount: 0, lostCount: 0 })
  expectDisks(await stand.restore(point), disks)

  // without its root nothing of the base can be kept
  await damager.flip(damager.nodesOf(content).at(-1)!.id)
  expect(await verify(stand)).toMatchObject({ good: 0, damagedCount: 1, lostCount: 3 })
  expect(await lostOf()).toEqual([`vda 0+${8 * MIB}`])
  expect(await host.backup('db1')).toMatchObject({ kind: 'full', reason: 'base-damaged', bytesRead: 8 * MIB })
  expect(await verify(stand)).toMatchObject({ points: 4, good: 4, damagedCount: 0, lostCount: 0 })
  for (const { id } of await stand.listPoints())
    expect([...(await stand.restore(id)).values()].every((bytes) => bytes.equals(content))).toBe(true)
})
