// Upkeep of a gateway that serves: it begins by itself, what people start is in the same list, and off it is off.
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { RunRow } from '../../../gateway/catalog/runs.ts'
import { CATALOG_NAME } from '../../../gateway/folder/layout.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'
import { FIRST_PLAN, KEEP_OFF } from '../../../protocol/plans.ts'
import { eventually } from '../../support/temp.ts'
import { Stand } from '../chains/script.ts'
import { randomDisk } from '../maintenance/stand.ts'
import { runGateway, ServingGateway } from '../program.ts'
import { backedUp } from './upkeep-bench.ts'

/** A data folder with five points of a machine whose plan keeps two, closed. */
const filled = async (): Promise<Stand> => {
  const stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plan = { ...FIRST_PLAN, schedule: null, keep: { ...KEEP_OFF, last: 2 } }
  await stand.datastore.catalog.plans.apply({ tenant: stand.tenant.id, plans: [plan] })
  for (let day = 5; day > 0; day--)
    await backedUp(stand, machine, { plains: randomDisk(20), nowMs: Date.now() - day * DAY_MS })
  await stand.datastore[Symbol.asyncDispose]()
  return stand
}

/** Upkeep: what became of it. */
const runsOf = async ({ folder, tenant }: Stand): Promise<RunRow[]> => {
  using catalog = openLocal(path.join(folder, CATALOG_NAME))
  const asked = { tenant: tenant.id, machine: null, kind: null, state: null, after: null, limit: 100 }
  return (await catalog.runs.list(asked)).filter(({ kind }) => kind !== 'backup')
}

test('a gateway that serves prunes and collects, and shows what people start beside it', async () => {
  await using stand = await filled()
  await using _serving = await ServingGateway.start(['--data', stand.folder, '--log-level', 'silent'])
  const prune = await eventually(async () =>
    (await runsOf(stand)).find(({ kind, state }) => kind === 'prune' && state === 'done'),
  )
  expect(prune).toMatchObject({ by: null, machine: null, summary: 'removed 3 restore points' })
  const gc = await runGateway(['gc', '--data', stand.folder])
  expect(gc).toMatchObject({ code: 0 })
  const pruned = await runGateway(['prune', '--data', stand.folder, '--keep-last', '1'])
  expect(pruned).toMatchObject({ code: 0 })
  const verified = await runGateway(['verify', '--data', stand.folder])
  expect(verified).toMatchObject({ code: 0 })
  const byHand = (await runsOf(stand))
    .filter(({ by }) => by !== null)
    .map(({ kind, state, summary }) => [kind, state, summary])
  expect(byHand).toHaveLength(3)
  expect(byHand).toContainEqual(['prune', 'done', 'removed 1 restore point'])
  expect(byHand).toContainEqual(['collect', 'done', expect.stringContaining('freed ')])
  expect(byHand).toContainEqual(['verify', 'done', expect.stringContaining('verified 1 restore point')])
})

test('without its upkeep a gateway removes nothing', async () => {
  await using stand = await filled()
  {
    await using _serving = await ServingGateway.start(['--data', stand.folder, '--log-level', 'silent', '--no-upkeep'])
    await eventually(async () => {
      using catalog = openLocal(path.join(stand.folder, CATALOG_NAME))
      // a round is over that has looked
      return (await catalog.upkeep.samples({ tenant: null, fromDay: 0 })).length > 0
    })
  }
  expect(await runsOf(stand)).toEqual([])
  using catalog = openLocal(path.join(stand.folder, CATALOG_NAME))
  expect((await catalog.upkeep.facts()).tenants[0]!.points).toBe(5)
})
