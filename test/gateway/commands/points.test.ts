// The commands about restore points as a person runs them, on the folder of a stopped gateway and beside a running one.
import { expect, test } from 'vitest'
import { timeOf } from '../../../gateway/commands/points.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { DISKS_MAX } from '../../../protocol/limits.ts'
import { copyPoint } from '../../support/catalog-damage.ts'
import { startGateway, TENANT } from '../../support/gateway.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'
import { runGateway, type Ended } from '../program.ts'

const DAY_MS = 24 * 3_600_000

/**
 * A stopped gateway's folder: tenant acme with db1 (points of days 1 to 4) and web1 (days 1 and 2), tenant beta with db1
 * (day 1).
 */
const furnish = async (temp: TempFolder): Promise<{ data: string; db1: string[]; web1: string[]; beta: string[] }> => {
  const data = temp.join('data')
  {
    await using gateway = await startGateway({ folder: data })
    await gateway.addTenant('beta')
  }
  using catalog = openLocal(temp.join('data', 'catalog.db'))
  const add = async (tenantName: string, machineName: string, days: number): Promise<string[]> => {
    const tenant = (await catalog.tenants.byName({ name: tenantName }))!
    const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant, machineName), machineName)
    const ids: string[] = []
    for (let day = 1; day <= days; day++)
      ids.push(await addPoint(catalog, tenant, machine, { timeMs: day * DAY_MS, nowMs: day * DAY_MS }))
    return ids
  }
  return {
    data,
    db1: await add(TENANT, 'db1', 4),
    web1: await add(TENANT, 'web1', 2),
    beta: await add('beta', 'db1', 1),
  }
}

const jsonOf = ({ code, stdout, stderr }: Ended): unknown => {
  expect([code, stderr]).toEqual([EXIT.ok, ''])
  return JSON.parse(stdout)
}

test('a time is a date, a date with time and zone, or a duration from now', () => {
  expect(timeOf('1970-01-02', 5)).toBe(DAY_MS)
  expect(timeOf('1970-01-01T01:00+01:00', 5)).toBe(0)
  expect(timeOf('1970-01-01T00:00:01.5Z', 5)).toBe(1500)
  expect(timeOf('2028-02-29T23:59:59+01:00', 5)).toBe(Date.UTC(2028, 1, 29, 22, 59, 59))
  expect(timeOf('2d', 5)).toBe(2 * DAY_MS + 5)
  for (const wrong of [
    '',
    'tomorrow',
    '2027',
    '2027-13-01',
    '2027-02-31',
    '2027-02-29T00:00Z',
    '2027-04-31T10:00+02:00',
    '2027-01-01T24:00Z',
    '2027-01-01T10:60Z',
    '1970-01-01T00:00',
    '1969-12-31',
    '-1d',
  ])
    expect(() => timeOf(wrong, 5)).toThrow('not a')
})

test('points are listed, held, locked, planned and pruned on a stopped gateway, and the audit log has it all', async () => {
  await using temp = await tempFolder()
  const { data, db1, web1, beta } = await furnish(temp)
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--data', data])
  const of = ['--tenant', TENANT]
  const { points: listed } = jsonOf(await run('points', ...of, '--json')) as {
    points: { id: string; disks: { root: null }[] }[]
  }
  expect(listed.map(({ id }) => id).toSorted()).toEqual([...db1, ...web1].toSorted())
  expect((await run('points', ...of, '--machine', 'web1')).stdout.trim().split('\n')).toHaveLength(3)

  const typo = await run('points', ...of, '--machine', 'db11', '--json')
  expect([typo.code, JSON.parse(typo.stdout)]).toMatchObject([
    EXIT.failed,
    { error: { code: 'NOT_FOUND', message: 'there is no machine "db11"; did you mean "db1"?' } },
  ])

  const shown = await run('point', 'show', 'db1', '--at', '1970-01-03T12:00Z', ...of, '--json')
  expect(JSON.parse(shown.stdout)).toMatchObject({ point: { id: db1[1] } })
  const none = await run('point', 'show', 'db1', '--at', '1970-01-01T12:00Z', ...of)
  expect([none.code, none.stderr]).toEqual([
    EXIT.failed,
    expect.stringContaining(`its oldest is ${db1[0]!.slice(0, 8)} of 1970-01-02 00:00:00 UTC`),
  ])

  const held = await run('hold', db1[0]!.toUpperCase(), ...of)
  expect(held).toMatchObject({ code: EXIT.ok, stdout: `Restore point ${db1[0]} of db1 is held.\n` })
  expect(jsonOf(await run('hold', db1[1]!, ...of, '--until', '9999d', '--json'))).toMatchObject({
    point: {
      id: db1[1],
      held: false,
    },
  })
  const shorter = await run('hold', db1[1]!, ...of, '--until', '10d')
  expect([shorter.code, shorter.stderr]).toEqual([EXIT.refused, expect.stringContaining('POINT_HELD')])
  expect(await run('hold', db1[1]!, ...of, '--release')).toMatchObject({
    stdout: expect.stringContaining('locked until') as string,
  })

  const dry = await run('prune', '--dry-run', '--keep-last', '1', ...of)
  expect(dry.code).toBe(EXIT.ok)
  const lines = dry.stdout.trim().split('\n')
  expect(lines.map((line) => line.replace(/^(\S+) +(\S+ [\d:]+) +([\da-f-]{36}) +/u, '$1 '))).toEqual([
    'MACHINE  TIME (UTC)           POINT',
    'db1 stays: last, last-good',
    'db1 GOES',
    'db1 stays: locked',
    'db1 stays: held',
    'web1 stays: last, last-good',
    'web1 GOES',
    'acme: 2 of 6 restore points would be removed.',
  ])
  // all tenants
  const { tenants: pruned } = jsonOf(await run('prune', '--keep-last', '1', '--json')) as { tenants: object[] }
  expect(pruned).toMatchObject([
    { tenant: TENANT, dryRun: false, pointCount: 6, removed: 2 },
    { tenant: 'beta', pointCount: 1, removed: 0 },
  ])
  const named = await run('prune', ...of, '--point', db1[3]!, db1[0]!)
  expect([named.code, named.stderr]).toEqual([EXIT.refused, expect.stringContaining(`${db1[0]} is held`)])
  await run('hold', db1[0]!, ...of, '--release')
  const gone = await run('prune', ...of, '--point', db1[3]!, db1[0]!)
  expect(gone.stdout).toContain('2 of 2 restore points removed')
  const { points: left } = jsonOf(await run('points', ...of, '--json')) as { points: { id: string }[] }
  expect(left.map(({ id }) => id).toSorted()).toEqual([db1[1]!, web1[1]!].toSorted())

  const log = jsonOf(await run('audit', 'list', ...of, '--json'))
  const { entries } = log as { entries: { subject: string; role: string; action: string; outcome: string }[] }
  const local = entries.filter(({ subject, role }) => subject === 'local-administrator' && role === 'owner')
  const counted = (action: string, outcome: string): number =>
    local.filter((entry) => entry.action === action && entry.outcome === outcome).length
  expect([counted('points.hold', 'ok'), counted('points.lock', 'ok'), counted('points.lock', 'POINT_HELD')]).toEqual([
    3, 1, 1,
  ])
  expect([
    counted('points.prune', 'ok'),
    counted('points.prune', 'POINT_HELD'),
    counted('points.remove', 'ok'),
  ]).toEqual([2, 1, 4])
  expect((await run('audit', 'check')).stdout).toMatch(/^The audit log is whole: \d+ entries\.\n$/u)
  expect(beta).toHaveLength(1)
})

test('points with as many disks as there may be are listed, however many they are', async () => {
  await using temp = await tempFolder()
  const { data, db1 } = await furnish(temp)
  copyPoint(data, db1[0]!, 120, DISKS_MAX)
  const all = jsonOf(await runGateway(['points', '--tenant', TENANT, '--data', data, '--json']))
  const { points: listed } = all as { points: object[] }
  expect(listed).toHaveLength(126)
})

test('plans and groups are changed beside a running gateway, and prune follows them', async () => {
  await using temp = await tempFolder()
  const { data } = await furnish(temp)
  await using _gateway = await startGateway({ folder: data })
  const run = (...args: string[]): Promise<Ended> => runGateway([...args, '--tenant', TENANT, '--data', data])
  expect((await run('plan', 'list')).stdout).toContain('every restore point stays')
  await run('plan', 'set', 'all', '--keep-daily', '3', '--time-zone', 'Europe/Berlin', '--cover-others')
  await run('plan', 'set', 'webs', '--cover-group', 'web', '--keep-last', '1', '--lock-days', '2')
  // what is not named stays
  await run('plan', 'set', 'webs', '--keep-within', '12h')
  expect(jsonOf(await run('plan', 'list', '--json'))).toMatchObject({
    plans: [
      { name: 'all', keep: { daily: 3, last: 0 }, timeZone: 'Europe/Berlin', covers: { others: true } },
      { name: 'webs', keep: { last: 1, withinDays: 0.5 }, lockDays: 2, covers: { groups: ['web'] } },
    ],
  })
  expect((await run('machine', 'group', 'web1', 'web')).stdout).toBe('web1: group web; plan webs\n')
  expect(jsonOf(await run('prune', '--json'))).toMatchObject({ tenants: [{ pointCount: 6, removed: 2 }] })
  expect((await run('machine', 'group', 'web1', 'none')).stdout).toBe('web1: group none; plan all\n')
})

test('what does not go together, and what is not a value, is refused before anything happens', async () => {
  await using temp = await tempFolder()
  const { data } = await furnish(temp)
  const of = ['--tenant', TENANT]
  for (const args of [
    ['prune', '--machine', 'db1'],
    ['prune', ...of, '--time-zone', 'UTC'],
    ['prune', ...of, '--keep-last', '1', '--point', 'abcd'],
    ['hold', 'abcd', ...of, '--until', '1d', '--release'],
    ['plan', 'set', 'p', ...of, '--cover-group', 'none'],
    ['plan', 'set', 'p', ...of, '--keep-within', '999999d'],
    ['plan', 'next', 'p', ...of, '--machine', 'db1'],
    ['prune', ...of, '--keep-within', '36501d'],
    ['verify', ...of, '--older-than', '36501d'],
    ['hold', 'abcd', ...of, '--until', '2027-02-31'],
    ['plan', 'set', 'p', ...of, '--schedule', 'sometimes'],
    ['retention', ...of],
    ['policy', 'db1', ...of, '--consistency', 'none'],
  ]) {
    const { code, stdout, stderr } = await runGateway([...args, '--data', data])
    expect([args, code, stdout]).toEqual([args, EXIT.usage, ''])
    expect(stderr.trimEnd().split('\n').length).toBeLessThan(3)
  }
  const left = await runGateway(['points', ...of, '--json', '--data', data])
  expect((JSON.parse(left.stdout) as { points: object[] }).points).toHaveLength(6)
})
