// The commands about tenants: quotas, as a program beside a running gateway and a stopped one.
import { expect, test } from 'vitest'
import { wanted } from '../../../gateway/commands/tenant.ts'
import { EXIT } from '../../../protocol/host/exit.ts'
import { tempFolder } from '../../support/temp.ts'
import { runGateway, ServingGateway } from '../program.ts'

const NONE = { softBytes: null, hardBytes: null }

test('one quota is changed without the other, and both are removed together', () => {
  expect(wanted({ none: false })).toBeNull()
  expect(wanted({ none: true })).toEqual(NONE)
  expect(wanted({ none: false, soft: 150 })).toEqual({ softBytes: 150 })
  expect(wanted({ none: false, hard: 0 })).toEqual({ hardBytes: 0 })
  expect(wanted({ none: false, soft: false, hard: 5 })).toEqual({ softBytes: null, hardBytes: 5 })
  for (const options of [
    { none: true, hard: 1 },
    { none: true, soft: false as const },
  ])
    expect(() => wanted(options)).toThrow(expect.objectContaining({ code: 'PARAMS_INVALID' }))
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
  const log = await runGateway(['audit', 'list', '--tenant', 'acme', '--json', ...at])
  const { entries } = JSON.parse(log.stdout) as { entries: { action: string; outcome: string; details: string }[] }
  const set = entries.filter(({ action, outcome }) => action === 'tenants.setQuota' && outcome === 'ok')
  expect(set.map(({ details }) => JSON.parse(details) as unknown)).toMatchObject([
    { softBytes: 400 * 2 ** 30, hardBytes: 2 ** 41 },
    NONE,
    { softBytes: 2 ** 30, hardBytes: 2 ** 31 },
    { softBytes: null },
    { softBytes: 3 * 2 ** 30, hardBytes: null },
  ])
})
