// Prune, collection and verification by the commands of a running gateway, beside real backups, down to the bytes on the disk.
import { readFile, rename, writeFile } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import type { CollectionReport, UsageReport, VerifyReport } from '../../protocol/maintenance.ts'
import { Damager } from '../support/damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

vi.setConfig({ maxConcurrency: 2 })

const only = <T>(text: string): T => (JSON.parse(text) as { tenants: [T] }).tenants[0]

const gc = async (stand: Stand, ...options: string[]): Promise<CollectionReport> =>
  only((await stand.done('gc', '--json', ...options)).stdout)

test.concurrent(
  'a day of backups, pruned and collected while they run: what is kept is exact, what is not gives its space back',
  async () => {
    const dice = new Dice(91)
    await using stand = await Stand.start()
    const host = await stand.addHost()
    const machines = [
      await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 32 * MIB, content: dice.bytes(32 * MIB) }]),
      await host.addMachine('web1', [{ id: 'vda', format: 'raw', size: 16 * MIB, content: dice.bytes(16 * MIB) }]),
    ] as const
    await host.start()
    const points: { id: string; machine: string; disks: ReturnType<(typeof machines)[0]['snapshot']> }[] = []
    const backup = async (index: 0 | 1): Promise<void> => {
      const name = index === 0 ? 'db1' : 'web1'
      for (let write = 0; write < 6; write++)
        await machines[index].write('vda', dice.below(15) * MIB, dice.bytes(256 * KIB))
      const { point } = await host.backup(name)
      points.push({ id: point, machine: name, disks: machines[index].snapshot() })
    }
    await Promise.all([backup(0), backup(1)])
    const first = points[0]!
    await stand.done('hold', first.id, '--tenant', 'acme')
    for (let round = 0; round < 4; round++) {
      // each beside the other
      const keeping = (async () => {
        await stand.done('prune', '--keep-last', '2')
        await gc(stand)
      })()
      await Promise.all([backup(0), backup(1), keeping])
    }
    const before = only<UsageReport>((await stand.done('usage', '--json')).stdout)
    await stand.done('prune', '--keep-last', '2')
    const report = await gc(stand)
    const kept = await stand.listPoints()
    const expected = [
      first,
      ...['db1', 'web1'].flatMap((name) => points.filter(({ machine }) => machine === name).slice(-2)),
    ]
    expect(kept.map(({ id }) => id).sort()).toEqual(expected.map(({ id }) => id).sort())
    expect(report).toMatchObject({ missing: 0, points: expected.length })
    expect(report.bytesAfter).toBeLessThan(report.live.bytes * 1.1)
    const after = only<UsageReport>((await stand.done('usage', '--json')).stdout)
    expect(after.packBytes).toBe(report.bytesAfter)
    expect(after.packBytes).toBeLessThan(before.packBytes)
    const verified = only<VerifyReport>((await stand.done('verify', '--json')).stdout)
    expect(verified).toMatchObject({ points: expected.length, good: expected.length, damagedCount: 0 })
    for (const { id, disks } of expected) expectDisks(await stand.restore(id), disks)

    // a hold that is released gives its space back as well, and the chain goes on as if nothing had happened
    await stand.done('hold', first.id, '--tenant', 'acme', '--release')
    await stand.done('prune', '--keep-last', '2')
    const last = await gc(stand)
    expect(last.bytesAfter).toBeLessThan(report.bytesAfter)
    expect(await host.backup('db1')).toMatchObject({ kind: 'incremental' })
    expect(await gc(stand, '--dry-run')).toMatchObject({ dryRun: true, missing: 0 })
  },
)

test.concurrent('commands work the same on a gateway that is stopped, and it goes on afterwards', async () => {
  const dice = new Dice(92)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 8 * MIB, content: dice.bytes(8 * MIB) },
  ])
  await host.start()
  const one = await host.backup('db1')
  await machine.write('vda', 0, dice.bytes(4 * MIB))
  const two = { ...(await host.backup('db1')), disks: machine.snapshot() }
  await stand.endGateway('SIGTERM')
  await stand.done('prune', '--point', one.point, '--tenant', 'acme')
  const report = await gc(stand)
  expect(report.bytesAfter).toBeLessThan(report.bytesBefore - 4 * MIB)
  expect(only<VerifyReport>((await stand.done('verify', '--json')).stdout)).toMatchObject({ points: 1, good: 1 })
  await stand.startGateway()
  await host.agent.says(/connected to the gateway[^]*connected to the gateway/)
  expectDisks(await stand.restore(two.point), two.disks)
  expect(await host.backup('db1')).toMatchObject({ kind: 'incremental' })
})

interface Kept {
  readonly point: string
  readonly disks: ReadonlyMap<string, Buffer>
}

/** A machine with three points of 320 chunks, of which the first was pruned, so that there is something to collect. */
const furnish = async (stand: Stand, seed: number): Promise<{ host: Host; points: [Kept, Kept] }> => {
  const dice = new Dice(seed)
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 20 * MIB, content: dice.bytes(20 * MIB) },
  ])
  await host.start()
  const old = await host.backup('db1')
  const points: Kept[] = []
  for (const at of [0, 12 * MIB]) {
    await machine.write('vda', at, dice.bytes(6 * MIB))
    points.push({ point: (await host.backup('db1')).point, disks: machine.snapshot() })
  }
  await stand.done('prune', '--point', old.point, '--tenant', 'acme')
  return { host, points: points as [Kept, Kept] }
}

const expectPoints = async (stand: Stand, points: readonly Kept[]): Promise<void> => {
  for (const { point, disks } of points) expectDisks(await stand.restore(point), disks)
}

test.concurrent(
  'one flipped bit in the root of a locked point: gc ends with a way out each time, and mended every point restores',
  async () => {
    await using stand = await Stand.start()
    const { points } = await furnish(stand, 93)
    const [locked, other] = points
    await stand.done('hold', locked.point, '--until', '30d', '--tenant', 'acme')
    const damager = new Damager(stand.dataFolder)
    const root = damager.nodesOf(locked.disks.get('vda')!).at(-1)!.id
    const place = damager.place(root)
    const before = await readFile(place.file)
    await damager.flip(root)
    expect((await stand.run('verify')).code).toBe(1)
    for (let time = 0; time < 2; time++) {
      const refused = await stand.run('gc', '--tenant', 'acme', '--threshold', '100')
      expect(refused.code).toBe(5)
      for (const said of ['TREE_UNREADABLE', `${locked.point} of db1 (vda)`, '--accept-loss'])
        expect(refused.stderr).toContain(said)
    }
    const accepting = (point: string) => stand.run('gc', '--tenant', 'acme', '--accept-loss', point)
    expect((await accepting(locked.point)).stderr).toContain('POINT_HELD')
    expect((await accepting(other.point)).code).toBe(5)
    for (const word of ['all', locked.point.slice(0, 8)]) expect((await accepting(word)).code).toBe(2)
    expect((await stand.run('gc', '--accept-loss', locked.point)).code).toBe(2)
    await writeFile(place.file, before)
    const report = await gc(stand)
    expect(report).toMatchObject({ missing: 0, points: 2 })
    expect(report.dead.records).toBeGreaterThan(90)
    await expectPoints(stand, points)
    expect(only<VerifyReport>((await stand.done('verify', '--json')).stdout)).toMatchObject({ points: 2, good: 2 })
  },
)

test.concurrent(
  'nodes packs that are away for a while cost nothing, whoever notices; a loss is accepted by name',
  async () => {
    await using stand = await Stand.start()
    const { host, points } = await furnish(stand, 94)
    const damager = new Damager(stand.dataFolder)
    const roots = points.map(({ disks }) => damager.nodesOf(disks.get('vda')!).at(-1)!.id)
    await stand.endGateway('SIGTERM')
    const files = [...new Set(roots.map((root) => damager.place(root).file))]
    for (const file of files) await rename(file, `${file}.away`)
    await stand.startGateway()
    for (const [command, code] of [
      ['gc', 5],
      ['gc', 5],
      ['verify', 1],
      ['gc', 5],
    ] as const)
      expect((await stand.run(command)).code, command).toBe(code)
    for (const file of files) await rename(`${file}.away`, file)
    expect(await gc(stand)).toMatchObject({ missing: 0, points: 2 })
    await expectPoints(stand, points)

    const [first, second] = points
    await damager.flip(roots[0]!)
    expect((await stand.run('gc')).stderr).toContain('TREE_UNREADABLE')
    const accepted = only<CollectionReport>(
      (await stand.done('gc', '--tenant', 'acme', '--accept-loss', first.point, '--json')).stdout,
    )
    expect(accepted.points).toBe(2)
    await expectPoints(stand, [second])
    await stand.done('prune', '--point', first.point, '--tenant', 'acme')
    expect(await gc(stand)).toMatchObject({ missing: 0, points: 1, waiting: { damagedBytes: 0 } })
    await expectPoints(stand, [second])
    await host.agent.says(/connected to the gateway[^]*connected to the gateway/)
    expect(await host.backup('db1')).toMatchObject({ kind: 'incremental' })
  },
)
