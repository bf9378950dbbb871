// The commands coverage and events as a person or a script runs them: what they print, and with which exit code they end.
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addPoint, declareMachines, setPlan } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

test('a machine that is not protected is shown, and the exit code says so for the states that count', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await using _gateway = await startGateway({ folder: data })
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--data', data])
  const empty = await run('coverage', '--tenant', TENANT)
  expect([empty.code, empty.stdout]).toEqual([EXIT.ok, `${TENANT} has no machine yet.\n`])
  {
    using catalog = openLocal(temp.join('data', 'catalog.db'))
    const tenant = (await catalog.tenants.byName({ name: TENANT }))!
    const agent = await addAgent(catalog, tenant)
    await declareMachines(catalog, { tenant, agent, nowMs: Date.now() - 60_000 }, ['db1', 'db2'])
    await setPlan(catalog, tenant, 'gold', { rpoMs: 3_600_000 })
    const machine = await catalog.machines.get({ tenant: tenant.id, name: 'db1' })
    await addPoint(catalog, tenant, machine, { timeMs: Date.now(), nowMs: Date.now() })
  }
  const bad = await run('coverage')
  expect(bad.code).toBe(EXIT.unprotected)
  expect(bad.stdout.split('\n')).toEqual([
    expect.stringMatching(/^STATE +MACHINE +PLAN +AGE +DUE +NEXT \(UTC\) +WHY$/u),
    expect.stringMatching(/^never +db2 +gold +- +in \d+ min .*it has no restore point yet; the first one is due by /u),
    expect.stringMatching(/^fresh +db1 +gold +\d+ s +in /u),
    `${TENANT}: 2 machines: 1 fresh, 1 never; 1 is not protected; never verified.`,
    '',
  ])
  expect(bad.stderr).toContain(`${TENANT}/db2 is late or failing or never or uncovered or orphaned (UNPROTECTED)`)
  const asJson = await run('coverage', '--json')
  expect([asJson.code, JSON.parse(asJson.stdout)]).toMatchObject([
    EXIT.unprotected,
    {
      tenants: [
        {
          tenant: TENANT,
          machines: [
            { machine: 'db1', state: 'fresh' },
            { machine: 'db2', state: 'never' },
          ],
        },
      ],
      error: { code: 'UNPROTECTED', exit: EXIT.unprotected, details: { machines: 1 } },
    },
  ])
  for (const args of [
    ['--fail-on', 'late,failing'],
    ['--fail-on', 'none'],
    ['--state', 'fresh'],
    ['--tenant', TENANT, '--machine', 'db1'],
  ])
    expect([args, (await run('coverage', ...args)).code]).toEqual([args, EXIT.ok])
  const worst = await run('coverage', '--worst', '--contains', 'DB', '--json')
  expect(JSON.parse(worst.stdout)).toMatchObject({
    tenants: [
      {
        machines: [
          { machine: 'db2', last: null },
          { machine: 'db1', last: { kind: 'full' } },
        ],
      },
    ],
  })
  expect((await run('coverage', '--contains', 'b1')).stdout).not.toContain('db2')
  const late = await run('coverage', '--state', 'late')
  expect(late.stdout).toContain('No machine is late.')
  const tenants = await run('coverage', '--tenants')
  expect([tenants.code, tenants.stdout]).toEqual([EXIT.ok, expect.stringMatching(/\nacme +2 +1 +1 fresh, 1 never\n$/u)])
  const events = await run('events', '--tenant', TENANT, '--kind', 'job.done,full-read')
  expect(events.stdout).toMatch(/full-read +db1 was read in full: full \(requested\)\n.* job\.done /u)
  const followed = await run('events', '--tenant', TENANT, '--follow', '--after', '0', '--limit', '2', '--json')
  // the enrolment, of 1970, is older than what is kept
  expect(JSON.parse(followed.stdout)).toMatchObject({ events: [{ seq: 2, kind: 'job.started' }, { seq: 3 }] })
  expect(followed.stderr).toContain('events up to number 1 are not kept any more')
})
