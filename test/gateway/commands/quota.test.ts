// The quota command: what it makes of its options, and as a program beside a running gateway and a stopped one.
import { expect, test } from 'vitest'
import { wanted } from '../../../gateway/commands/quota.ts'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, ServingGateway } from '../program.ts'

const NONE = { softBytes: null, hardBytes: null }

test('one quota is changed without the other, both are removed together, and the soft one is not above the hard one', () => {
  const before = { softBytes: 100, hardBytes: 200 }
  expect(wanted({ none: false }, before)).toBeNull()
  expect(wanted({ none: true }, before)).toEqual(NONE)
  expect(wanted({ none: false, soft: 150 }, before)).toEqual({ softBytes: 150, hardBytes: 200 })
  expect(wanted({ none: false, hard: 100 }, before)).toEqual({ softBytes: 100, hardBytes: 100 })
  expect(wanted({ none: false, hard: 0 }, NONE)).toEqual({ softBytes: null, hardBytes: 0 })
  expect(wanted({ none: false, soft: false }, before)).toEqual({ softBytes: null, hardBytes: 200 })
  expect(wanted({ none: false, soft: 300, hard: false }, before)).toEqual({ softBytes: 300, hardBytes: null })
  for (const options of [
    { none: true, hard: 1 },
    { none: true, soft: false as const },
    { none: false, soft: 201 },
    { none: false, hard: 99 },
  ])
    expect(() => wanted(options, before)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
})

test('a quota is set, shown, and audited', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.join('data')]
  {
    await using _gateway = await ServingGateway.start(at)
    await runGateway(['tenant', 'add', 'acme', ...at])
    const set = await runGateway(['tenant', 'quota', 'acme', '--soft', '400g', '--hard', '2tib', ...at])
    expect([set.code, set.stderr]).toEqual([EXIT.ok, ''])
    expect(set.stdout).toMatch(/^acme: \d+ B used; soft quota 400 GiB, hard quota 2\.0 TiB\n$/u)
  }
  const [json, wrong, above, unknown] = await Promise.all([
    runGateway(['tenant', 'quota', 'acme', '--json', ...at]),
    runGateway(['tenant', 'quota', 'acme', '--hard', 'much', ...at]),
    runGateway(['tenant', 'quota', 'acme', '--hard', '1G', ...at]),
    runGateway(['tenant', 'quota', 'nobody', ...at]),
  ])
  expect(JSON.parse(json.stdout)).toEqual({
    tenant: 'acme',
    packBytes: expect.any(Number) as number,
    quota: { softBytes: 400 * 2 ** 30, hardBytes: 2 ** 41 },
  })
  expect([wrong.code, above.code, unknown.code]).toEqual([EXIT.usage, EXIT.usage, EXIT.failed])
  expect(wrong.stderr).toContain('"much" is not a size')
  expect((await runGateway(['tenant', 'quota', 'acme', '--none', ...at])).stdout).toContain('hard quota none')
  await runGateway(['tenant', 'quota', 'acme', '--soft', '1G', '--hard', '2G', ...at])
  const noSoft = await runGateway(['tenant', 'quota', 'acme', '--no-soft', '--json', ...at])
  expect(JSON.parse(noSoft.stdout)).toMatchObject({ quota: { softBytes: null, hardBytes: 2 ** 31 } })
  const noHard = await runGateway(['tenant', 'quota', 'acme', '--no-hard', '--soft', '3G', '--json', ...at])
  expect(JSON.parse(noHard.stdout)).toMatchObject({ quota: { softBytes: 3 * 2 ** 30, hardBytes: null } })
  using catalog = openLocal(temp.join('data', 'catalog.db'))
  const { id } = (await catalog.tenants.byName({ name: 'acme' }))!
  const entries = await catalog.audit.list({ tenant: id, afterSeq: 0, limit: 100 })
  expect(entries.filter(({ action }) => action === 'tenant.quota').map(({ details }) => details)).toEqual([
    { softBytes: 400 * 2 ** 30, hardBytes: 2 ** 41 },
    NONE,
    { softBytes: 2 ** 30, hardBytes: 2 ** 31 },
    { softBytes: null, hardBytes: 2 ** 31 },
    { softBytes: 3 * 2 ** 30, hardBytes: null },
  ])
})
