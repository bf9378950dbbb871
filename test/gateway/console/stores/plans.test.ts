// The lanes of plans: one that starts too often to be told at once is gone on with, a bounded number of times.
import { signal } from '@preact/signals'
import { expect, test } from 'vitest'
import type { Link } from '../../../../gateway/console/net/link.ts'
import { lanesOf, STEP_MS } from '../../../../gateway/console/stores/plans.ts'

interface Asked {
  readonly plan?: string
  readonly fromMs: number
  readonly untilMs: number
}

/** A link to a gateway that tells two and a half steps of `often` at a time, and all of `seldom`. */
const linkOf = (asked: Asked[], toldMs: number): Link =>
  ({
    state: signal({ kind: 'open' }),
    openings: signal(1),
    call: (_: string, params: Asked) => {
      asked.push(params)
      const { fromMs, untilMs } = params
      const often = {
        plan: 'often',
        starts: [0, 1, 2].map((step) => ({ atMs: fromMs + step * STEP_MS, machines: step === 2 ? 1 : 2 })),
        untilMs: fromMs + toldMs,
      }
      const seldom = { plan: 'seldom', starts: [], untilMs }
      return Promise.resolve({ plans: params.plan === undefined ? [often, seldom] : [often], next: null })
    },
  }) as unknown as Link

test('a plan that ends early is gone on with from the step in which it ended, and says where that stops', async () => {
  const asked: Asked[] = []
  const lanes = lanesOf(linkOf(asked, 2.5 * STEP_MS))
  await lanes.refresh()
  const { plans, fromMs, untilMs } = lanes.value.value!
  expect(asked.map((one) => [one.plan, (one.fromMs - fromMs) / STEP_MS])).toEqual([
    [undefined, 0],
    ...[2, 4, 6, 8, 10, 12, 14, 16].map((step) => ['often', step]),
  ])
  expect(plans.map((plan) => plan.untilMs)).toEqual([fromMs + 18.5 * STEP_MS, untilMs])
  const machines = plans[0]!.starts.map((start) => start.machines)
  expect(machines).toEqual([...Array.from({ length: 18 }, () => 2), 1])
})

test('one that gets no further is left where it is', async () => {
  const asked: Asked[] = []
  const lanes = lanesOf(linkOf(asked, 0))
  await lanes.refresh()
  expect(asked.length).toBe(2)
  expect(lanes.value.value!.plans[0]!.untilMs).toBe(lanes.value.value!.fromMs)
})
