// Who gets a machine that moves: the rules, case by case.
import { describe, expect, test } from 'vitest'
import { judgeClaim, refusalOf, type Claim, type Said, type Verdict } from '../../../gateway/jobs/handover.ts'

const ONE = '11111111-1111-4111-8111-111111111111'
const TWO = '22222222-2222-4222-8222-222222222222'

const used = (uuid: string | null): Claim['machine'] => ({ uuid, pointId: 'p', job: null })
const unused = (uuid: string | null): Claim['machine'] => ({ uuid, pointId: null, job: null })
const busy = (uuid: string | null): Claim['machine'] => ({ uuid, pointId: null, job: 'j' })
const here = (uuid: string | null = ONE): Said => ({ uuid, here: true })
const away = (uuid: string | null = ONE): Said => ({ uuid, here: false })

type Case = readonly [string, boolean, Claim['machine'], Said | null, Said, Verdict]

const CASES: readonly Case[] = [
  ['it left the one host and runs on the other', true, used(ONE), away(), here(), 'goes'],
  ['its QEMU on the host that it left has ended', true, used(ONE), away(null), here(), 'goes'],
  ['its agent is not connected', true, used(ONE), null, here(), 'goes'],
  ['no common site', false, used(ONE), away(), here(), 'no-site'],
  ['no common site, and its agent is not connected', false, used(ONE), null, here(), 'no-site'],
  ['no common site, and nothing was ever backed up', false, unused(null), null, here(), 'no-site'],
  ['it has not arrived yet', true, used(ONE), here(), away(), 'elsewhere'],
  ['it is on neither host', true, used(ONE), away(), away(), 'elsewhere'],
  ['it is off on the claimant’s host, and its agent is not connected', true, used(ONE), null, away(null), 'elsewhere'],
  ['a clone with the same uuid runs on both', true, used(ONE), here(), here(), 'held'],
  ['a clone with another uuid runs on the other', true, used(ONE), here(), here(TWO), 'held'],
  ['nothing was backed up, and it runs on both', true, unused(null), here(null), here(null), 'held'],
  ['another machine of this name', true, used(ONE), away(), here(TWO), 'uuid-differs'],
  ['another machine of this name, and its agent is not connected', true, used(ONE), null, here(TWO), 'uuid-differs'],
  ['another machine of this name, before the first point', true, unused(ONE), away(), here(TWO), 'uuid-differs'],
  ['the claimant’s has no uuid', true, used(ONE), away(), here(null), 'uuid-unknown'],
  ['no uuid was ever known', true, used(null), away(), here(), 'uuid-unknown'],
  ['no uuid on either side', true, used(null), null, here(null), 'uuid-unknown'],
  ['never seen, and nothing was backed up', true, unused(null), away(null), here(), 'goes'],
  ['never seen, and nothing was backed up, without a uuid', true, unused(null), null, here(null), 'goes'],
  ['never seen, and its first backup is running', true, busy(null), away(null), here(), 'uuid-unknown'],
  ['it moved while its first backup was running', true, busy(ONE), away(), here(), 'goes'],
]

test.each(CASES)('%s', (_, sameSite, machine, holder, claimant, verdict) => {
  expect(judgeClaim({ sameSite, machine, holder, claimant })).toBe(verdict)
})

describe('a refusal', () => {
  const refused = (verdict: Exclude<Verdict, 'goes'>) => refusalOf(verdict, { name: 'db1', host: 'alpha' })

  test.each(['no-site', 'elsewhere', 'held', 'uuid-unknown', 'uuid-differs'] as const)(
    '%s names the machine and its host',
    (verdict) => {
      expect(refused(verdict)).toMatchObject({ machine: 'db1', message: expect.stringContaining('alpha') as string })
    },
  )

  test('is no fault where the machine is just on another host, and names the way out where it is one', () => {
    expect(refused('elsewhere').code).toBe('MACHINE_MOVING')
    for (const verdict of ['no-site', 'held', 'uuid-unknown', 'uuid-differs'] as const) {
      expect(refused(verdict).code).toBe('EXISTS')
      expect(refused(verdict).message).toMatch(/let an owner assign it to this agent/u)
    }
    for (const verdict of ['held', 'uuid-unknown', 'uuid-differs'] as const)
      expect(refused(verdict).message).toContain('-uuid')
  })
})
