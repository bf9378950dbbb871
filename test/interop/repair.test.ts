// The catalog lost in every way after real backups: rebuilt from the packs, every kept point restores bit for bit, and the
// next backup is incremental.
import { copyFile, rename, rm, stat, truncate } from 'node:fs/promises'
import { expect, test, vi } from 'vitest'
import { RECORD } from '../../gateway/packs/format.ts'
import { flipIds } from '../support/catalog-damage.ts'
import { Dice } from '../support/model-dice.ts'
import { KIB, MIB } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import type { BackupAnswer, Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

vi.setConfig({ maxConcurrency: 2 })

interface Lost {
  readonly signal: NodeJS.Signals
  readonly lose: (catalog: string) => Promise<void>
}

const withoutLog = async (catalog: string): Promise<void> => {
  for (const suffix of ['-wal', '-shm']) await rm(`${catalog}${suffix}`, { force: true })
}

const LOSSES: Readonly<Record<string, Lost>> = {
  deleted: {
    signal: 'SIGTERM',
    lose: async (catalog) => {
      await rm(catalog)
      await withoutLog(catalog)
    },
  },
  'deleted after the gateway was killed': {
    signal: 'SIGKILL',
    lose: async (catalog) => {
      await rm(catalog)
      await withoutLog(catalog)
    },
  },
  truncated: {
    signal: 'SIGTERM',
    lose: async (catalog) => truncate(catalog, Math.floor((await stat(catalog)).size / 8192) * 4096),
  },
  'rolled back to an old copy': {
    signal: 'SIGTERM',
    lose: async (catalog) => {
      await withoutLog(catalog)
      await rename(`${catalog}.copy`, catalog)
    },
  },
}

/** A backup once the agent has found the gateway again. */
const backup = (host: Host): Promise<BackupAnswer> =>
  eventually(async () => {
    try {
      return await host.backup('db1')
    } catch (error) {
      if (String(error).includes('AGENT_OFFLINE')) return null
      throw error
    }
  })

test.concurrent.each(Object.entries(LOSSES))('the catalog was %s', async (_, { signal, lose }) => {
  const dice = new Dice(77)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 6 * MIB, content: Buffer.concat([dice.bytes(4 * MIB), Buffer.alloc(2 * MIB)]) },
    { id: 'vdb', format: 'raw', size: MIB },
  ])
  await host.start()
  const points = [{ ...(await backup(host)), disks: machine.snapshot() }]
  // an old copy of the catalog, as its own program would make one
  await stand.endGateway('SIGTERM')
  await copyFile(stand.catalogFile, `${stand.catalogFile}.copy`)
  await stand.startGateway()
  for (const at of [MIB, 5 * MIB]) {
    await machine.write('vda', at, dice.bytes(128 * KIB))
    points.push({ ...(await backup(host)), disks: machine.snapshot() })
  }
  const [first, second, third] = points as [(typeof points)[0], (typeof points)[0], (typeof points)[0]]
  const owner = await stand.peer()
  await owner.call('points.hold', { point: second.point, held: true })
  const rest = { machine: null, group: null, rules: null, dryRun: false }
  expect(await owner.call('points.prune', { ...rest, points: [first.point] })).toMatchObject({ removed: 1 })
  const before = await stand.listPoints()
  expect(before.map(({ id }) => id)).toEqual([third.point, second.point])

  await stand.endGateway(signal)
  await lose(stand.catalogFile)
  const refused = await stand.run('serve', '--listen', '127.0.0.1:0')
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toContain('varve-gateway repair --rebuild')
  const outcome = await stand.done('repair', '--rebuild', '--json')
  expect(JSON.parse(outcome.stdout)).toMatchObject({
    points: 2,
    machines: 1,
    missingRecords: 0,
    unreadable: { count: 0 },
    lostPoints: { count: 0 },
    incompletePoints: { count: 0 },
  })
  await stand.startGateway()
  expect(await stand.listPoints()).toEqual(before)
  for (const { point, disks } of [second, third]) expectDisks(await stand.restore(point), disks)

  await machine.write('vda', 2 * MIB, dice.bytes(64 * KIB))
  const next = await backup(host)
  expect(next).toMatchObject({ kind: 'incremental', reason: 'bitmap', bytesRead: 64 * KIB })
  expectDisks(await stand.restore(next.point), machine.snapshot())
  const check = await stand.done('repair', '--check', '--json')
  expect(check.stdout).toContain('"problemCount":0')
})

test.concurrent('records that the index lost: gc refuses, a rebuild finds them, and every point restores', async () => {
  const dice = new Dice(78)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const machine = await host.addMachine('db1', [
    { id: 'vda', format: 'qcow2', size: 6 * MIB, content: dice.bytes(6 * MIB) },
  ])
  await host.start()
  const points = [{ ...(await backup(host)), disks: machine.snapshot() }]
  for (const at of [MIB, 3 * MIB]) {
    await machine.write('vda', at, dice.bytes(MIB))
    points.push({ ...(await backup(host)), disks: machine.snapshot() })
  }
  await stand.done('prune', '--point', points.shift()!.point, '--tenant', 'acme')
  flipIds(stand.dataFolder, RECORD.chunk, 20)
  for (let time = 0; time < 2; time++) {
    const refused = await stand.run('gc', '--threshold', '100')
    expect(refused.code).toBe(5)
    for (const said of ['CATALOG_DAMAGED', 'repair --check', 'repair --rebuild']) expect(refused.stderr).toContain(said)
  }
  await stand.endGateway('SIGTERM')
  const outcome = await stand.done('repair', '--rebuild', '--json')
  expect(JSON.parse(outcome.stdout)).toMatchObject({ points: 2, missingRecords: 0, incompletePoints: { count: 0 } })
  await stand.startGateway()
  await stand.done('gc', '--threshold', '100')
  for (const { point, disks } of points) expectDisks(await stand.restore(point), disks)
})
