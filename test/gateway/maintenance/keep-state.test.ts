// The keeper of states: what changed is written at once, soon after a change beside it, and at the end; without space
// nothing else is held up.
import path from 'node:path'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { CATALOG_NAME } from '../../../gateway/datastore/datastore.ts'
import { armFailpoints } from '../../../gateway/common/failpoint.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { keepState, StateKeeper } from '../../../gateway/maintenance/keep-state.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { Stand } from '../chains/script.ts'
import { addTenant } from '../datastore/fixture.ts'

const log = openLog({ level: 'silent' })

const changed = (stand: Stand): Promise<string[]> => stand.datastore.catalog.states.changed()

const allKept = async (stand: Stand): Promise<boolean> => (await changed(stand)).length === 0

test('writes every tenant’s state at once, after an interval, and at the end', async () => {
  await using stand = await Stand.open()
  const { datastore } = stand
  const other = await addTenant(datastore, 'other')
  const clock = new HandClock(1000)
  {
    await using _ = new StateKeeper({ datastore, clock, log })
    await eventually(() => allKept(stand))
    {
      // a command beside the gateway
      using catalog = openLocal(path.join(stand.folder, CATALOG_NAME))
      await catalog.quotas.set({ tenant: other.id, hardBytes: 5 })
    }
    expect(await changed(stand)).toEqual([other.id])
    await eventually(() => {
      clock.advance(5000)
      return allKept(stand)
    })
    await stand.machine('one')
    expect(await changed(stand)).toEqual([stand.tenant.id])
  }
  expect(await changed(stand)).toEqual([])
})

test('a state that cannot be written is left for later', async () => {
  await using stand = await Stand.open()
  const store = stand.datastore.tenantStore(stand.tenant)
  {
    using _ = armFailpoints((name) => {
      if (name === 'state.write') throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    })
    await keepState(store, log)
    expect(await changed(stand)).toEqual([stand.tenant.id])
  }
  await keepState(store, log)
  expect(await changed(stand)).toEqual([])
})
