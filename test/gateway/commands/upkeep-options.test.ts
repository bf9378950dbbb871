// The options of upkeep: defaults, what is understood, and what is refused with the way out.
import { expect, test } from 'vitest'
import { upkeepOf } from '../../../gateway/commands/upkeep-options.ts'
import { UPKEEP_DEFAULT } from '../../../gateway/scheduler/upkeep.ts'

test('without any, upkeep is done always, and verification reads 32 MiB a second', () => {
  expect(upkeepOf({})).toEqual(UPKEEP_DEFAULT)
})

test('off, quiet hours, another rate', () => {
  expect(upkeepOf({ upkeep: false, quietHours: 'Mon-Fri 20:00-06:00; Sat-Sun', verifyRate: '100M' })).toEqual({
    enabled: false,
    quietHours: 'Mon-Fri 20:00-06:00; Sat-Sun',
    verifyBytesPerSecond: 100 * 2 ** 20,
  })
})

test('what is not understood is said with the name of the option', () => {
  expect(() => upkeepOf({ quietHours: 'at night' })).toThrow(/^quiet-hours: "at night" of the window/u)
  expect(() => upkeepOf({ verifyRate: 'fast' })).toThrow(/^verify-rate: /u)
  expect(() => upkeepOf({ verifyRate: '1000' })).toThrow('at least 1M a second')
})
