// Whether what a survey found dead may go: the order of what is said, and what each refusal names.
import { expect, test } from 'vitest'
import { agree, forgetUnneeded } from '../../../gateway/maintenance/agree.ts'
import type { SurveyResult } from '../../../gateway/maintenance/survey.ts'
import { ERROR_MESSAGE_CHARS_MAX, type VarveError } from '../../../protocol/errors.ts'
import { Damager } from '../../support/damage.ts'
import { Stand } from '../chains/script.ts'
import { contextOf, randomDisk } from './stand.ts'

const counted = (some: Partial<SurveyResult> = {}): SurveyResult => ({
  nodes: 0,
  examined: { records: 0, bytes: 0 },
  live: { records: 0, bytes: 0 },
  dead: { records: 0, bytes: 0 },
  missing: 0,
  missingKnown: 0,
  strayRows: 0,
  unwalkable: 0,
  givenUp: 0,
  news: [],
  unneeded: [],
  packs: new Map(),
  owners: new Map(),
  used: [],
  ...some,
})

const said = (stand: Stand, result: SurveyResult, points: readonly string[] = []): Promise<VarveError | null> =>
  agree(contextOf(stand), result, { points, nowMs: 1000 }).then(
    () => null,
    (error: unknown) => error as VarveError,
  )

test('what was found whole may go; what the index lacks beyond known damage is said first', async () => {
  await using stand = await Stand.open()
  expect(await said(stand, counted({ missingKnown: 3 }))).toBeNull()
  const error = await said(stand, counted({ missing: 2, strayRows: 5, unwalkable: 1 }))
  expect(error).toMatchObject({ code: 'CATALOG_DAMAGED', details: { missing: 2, strayRows: 5 } })
  for (const text of ['lacks 2 records', '5 records in packs', 'repair --check', 'repair --rebuild', 'verify'])
    expect(error!.message).toContain(text)
})

test('a refusal names points and disks, however many there are, and fits a frame', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('m'.repeat(63))
  const plains = randomDisk(3)
  const ids: string[] = []
  let root: Uint8Array | null = null
  for (let index = 0; index < 7; index++) {
    const point = await stand.point(machine, plains, 30 + index)
    ids.push(point.id)
    root = point.root
  }
  // those of one instant are told apart by their ids
  ids.sort()
  const damager = new Damager(stand.folder)
  const { pack, offset } = await damager.flip(root!)
  const news = [{ id: root!, type: 2 as const, place: { pack, offset }, reason: 'flipped' }]
  const error = await said(stand, counted({ unwalkable: 1, news }), [])
  expect(error).toMatchObject({ code: 'TREE_UNREADABLE', details: { nodes: 1, points: 7, point: ids[0] } })
  expect(error!.message).toContain(`${ids[3]} of ${machine.name} (vda) and 3 more`)
  expect(error!.message.length).toBeLessThan(ERROR_MESSAGE_CHARS_MAX)
  // known now, and given up by all who need it
  expect(await said(stand, counted({ givenUp: 1 }), ids)).toBeNull()
  const other = await stand.point(await stand.machine('db2'), randomDisk(3), 50)
  expect(await said(stand, counted({ givenUp: 1 }), [...ids, other.id])).toMatchObject({ code: 'PARAMS_INVALID' })
  expect(await said(stand, counted(), [ids[0]!])).toMatchObject({ code: 'PARAMS_INVALID' })
})

test('damage that nobody needs is forgotten, unless something may lie hidden', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const plains = randomDisk(3)
  await stand.point(await stand.machine('db1'), plains)
  const id = stand.idOf(plains[0]!)
  const place = new Damager(stand.folder).place(id)
  await datastore.tenantStore(tenant).quarantine.enter([{ id, type: 1, place, reason: 'x' }], { quiet: true })
  const known = (): Promise<boolean> => datastore.catalog.damage.any({ tenant: tenant.id })
  await forgetUnneeded(contextOf(stand), counted({ unneeded: [id], givenUp: 1 }))
  expect(await known()).toBe(true)
  await forgetUnneeded(contextOf(stand), counted({ unneeded: [id] }))
  expect(await known()).toBe(false)
})
