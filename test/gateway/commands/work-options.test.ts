// How much the gateway starts at once, as options and the configuration file say it.
import { expect, test } from 'vitest'
import { limitsOf } from '../../../gateway/commands/work-options.ts'

test('what is not said is the default', () => {
  expect(limitsOf({})).toEqual({ perHost: 2, perTenant: 16, perGateway: 64 })
  expect(limitsOf({ backupsAtOnce: '8', backupsAtOncePerHost: 1 })).toEqual({
    perHost: 1,
    perTenant: 16,
    perGateway: 8,
  })
})

test.each(['0', '-1', 'many', '1.5', 0, 1.5, 10_001])('refused: %s', (value) => {
  expect(() => limitsOf({ backupsAtOncePerTenant: value })).toThrow(
    'backups-at-once-per-tenant: a number from 1 to 10000',
  )
})
