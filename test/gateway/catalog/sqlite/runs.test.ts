// Lists of runs: along which index each is read, so that none costs more than what it shows or what is open.
import path from 'node:path'
import { expect, test } from 'vitest'
import { runsStatement } from '../../../../gateway/catalog/sqlite/runs.ts'
import { Sql } from '../../../../gateway/catalog/sqlite/sql.ts'
import { RUN_STATES } from '../../../../protocol/runs.ts'
import { testAuthority } from '../../auth/test-authority.ts'

test('a list is read along an index in its order, and what is open along the one of what is open', async () => {
  await using authority = await testAuthority()
  using sql = new Sql(path.join(authority.folder, 'catalog.db'))
  for (const state of [null, ...RUN_STATES])
    for (const machine of [null, 7])
      for (const kind of [null, 'backup' as const])
        for (const after of [null, { dueMs: 5, id: 'x' }]) {
          const [text, ...values] = runsStatement({ tenant: 3, machine, kind, state, after, limit: 50 })
          const plan = sql.plan(text, ...values)
          const isOpen = state === 'due' || state === 'running'
          expect([text, plan[0]]).toEqual([
            text,
            expect.stringContaining(isOpen ? 'run_open (state=?' : machine === null ? 'run_tenant (' : 'run_machine ('),
          ])
          expect(plan.filter((step) => step.startsWith('SCAN'))).toEqual([])
          // a page of what is over ends early: only runs of the same instant are sorted
          if (!isOpen) expect(plan).not.toContain('USE TEMP B-TREE FOR ORDER BY')
        }
})
