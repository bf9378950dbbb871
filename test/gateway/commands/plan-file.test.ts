// Plans as TOML: what is written is read back as the same plans, and what is not a plan is named with its place.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { plansOfText, textOfPlans } from '../../../gateway/commands/plan-file.ts'
import { applied } from '../../../gateway/plans/differences.ts'
import { FIRST_PLAN, PLAN_RULES_DEFAULT } from '../../../protocol/plans.ts'
import { anyPlans } from '../plans/any-plan.ts'

const read = (text: string) => plansOfText(text, 'plans.toml')

test('whatever plans there are, their text makes the same ones and changes nothing', () => {
  fc.assert(
    fc.property(anyPlans, (plans) => {
      const { after } = applied([], { plans })
      const wanted = read(textOfPlans(after))
      expect(applied(after, { plans: wanted, replace: true }).changes).toEqual([])
      expect(applied([], { plans: wanted }).after).toEqual(after)
    }),
  )
})

test('the text leaves out what is as the default, and a person can write it', () => {
  expect(textOfPlans([])).toBe('')
  expect(textOfPlans([FIRST_PLAN])).toBe(
    [
      '[plans.nightly]',
      'schedule = "0 1 * * *"',
      'verify_days = 30',
      'jitter = "3h"',
      '',
      '[plans.nightly.keep]',
      'last = 3',
      'daily = 14',
      'weekly = 8',
      'monthly = 12',
      '',
      '[plans.nightly.covers]',
      'others = true',
      '',
    ].join('\n'),
  )
  const [plan] = read('[plans.gold]\nrpo = "4h"\nlock_days = 7\nkeep = { daily = 14, within_days = 0.5 }\n')
  expect(plan).toEqual({ name: 'gold', rpoMs: 14_400_000, lockDays: 7, keep: { daily: 14, withinDays: 0.5 } })
  expect(read('')).toEqual([])
  expect(applied([], { plans: read('[plans.empty]') }).after).toEqual([{ ...PLAN_RULES_DEFAULT, name: 'empty' }])
})

test.each([
  ['[plans.gold]\nrpoo = "4h"', 'unknown key "rpoo" in plans.gold; did you mean "rpo"?'],
  ['[plan.gold]\nrpo = "4h"', 'unknown key "plan"; did you mean "plans"?'],
  ['[plans.gold]\nrpo = "soon"', 'plans.gold.rpo: must be a duration such as 90s, 15m, 4h or 7d, not "soon"'],
  ['[plans.gold]\nkeep = { daily = -1 }', 'plans.gold.keep.daily: must be at least 0, not -1'],
  ['[plans.gold]\ntime_zone = "Mars"', 'plans.gold.time_zone: not a time zone (it is "Mars")'],
  ['[plans.gold]\ncovers = { groups = ["none"] }', 'the name of no group'],
  ['[plans."two words"]', '"two words" is not a name of a plan'],
  ['[plans.gold', 'line 1 is not TOML'],
  ['[plans.gold]\nenabled = "yes"', 'plans.gold.enabled: must be true or false, not "yes"'],
])('%j is refused by its place', (text, why) => {
  expect(() => read(text)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(why) as string }),
  )
})

test('a duration out of bounds is told by the key of the file', () => {
  for (const [key, text] of [
    ['jitter', '25h'],
    ['rpo', '30s'],
  ] as const)
    expect(() => plansOfText(`[plans.gold]\n${key} = "${text}"\n`, 'plans.toml')).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(new RegExp(`plans\\.gold\\.${key}.*a duration`, 'u')),
      }),
    )
})
