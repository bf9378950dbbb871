// What making a point took, from what agents of all versions tell, also hostile ones.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { tookOf } from '../../../gateway/jobs/took.ts'
import { METHODS, type Params } from '../../../protocol/methods.ts'
import { took as schema } from '../../../protocol/schemas.ts'
import { STEPS_MAX } from '../../../protocol/steps.ts'

const JOB = '3f2a91c0-0000-4000-8000-000000000000'

/** As the gateway takes it from an agent that tells so much. */
const told = (more: object): Params<'backup.commit'> =>
  v.parse(METHODS['backup.commit'].params, { job: JOB, bytesRead: 1, ...more })

const step = (name: string, tookMs: number, disk: string | null = null) => ({
  step: name,
  disk,
  agoMs: 9,
  tookMs,
  bytes: 0,
})

test('steps are summed by kind, in their order, beside the freeze and the scratch space', () => {
  const scratch = { usedBytes: 65_536, limitBytes: 1 << 30 }
  const steps = [step('disk', 5, 'vda'), step('lease', 30), step('freeze', 20), step('disk', 7, 'vdb')]
  expect(tookOf(told({ steps, frozenMs: 21, scratch }))).toEqual({
    frozenMs: 21,
    scratch,
    steps: [
      { step: 'lease', tookMs: 30 },
      { step: 'freeze', tookMs: 20 },
      { step: 'disk', tookMs: 12 },
    ],
  })
  expect(tookOf(told({ frozenMs: 0 }))).toEqual({ frozenMs: 0, scratch: null, steps: [] })
})

test('of an older agent a freeze is known by its step, and without one nothing is said; of one that tells nothing, nothing', () => {
  expect(tookOf(told({ steps: [step('lease', 30), step('freeze', 20)] }))).toMatchObject({
    frozenMs: 20,
    scratch: null,
  })
  expect(tookOf(told({ steps: [step('lease', 30)] }))).toMatchObject({ frozenMs: null })
  expect(tookOf(told({}))).toBe(null)
})

test('whatever an agent claims is refused or fits what is kept', () => {
  const endless = Array.from({ length: STEPS_MAX }, (_, index) => step('disk', Number.MAX_SAFE_INTEGER, `vd${index}`))
  const kept = tookOf(told({ steps: endless, frozenMs: Number.MAX_SAFE_INTEGER }))
  expect(v.is(schema, kept)).toBe(true)
  expect(kept?.steps).toEqual([{ step: 'disk', tookMs: Number.MAX_SAFE_INTEGER }])
  for (const wrong of [
    { frozenMs: -1 },
    { frozenMs: 1.5 },
    { frozenMs: '1' },
    { frozenMs: 2 ** 53 },
    { scratch: { usedBytes: -1, limitBytes: 1 } },
    { scratch: { usedBytes: 1 } },
    { scratch: { usedBytes: 1, limitBytes: Number.NaN } },
    { steps: [step('sleep', 1)] },
  ])
    expect([wrong, v.safeParse(METHODS['backup.commit'].params, { job: JOB, bytesRead: 1, ...wrong }).success]).toEqual(
      [wrong, false],
    )
})
