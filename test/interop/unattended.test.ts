// A gateway that works by itself, in less than a minute: what `npm run unattended` does for ten, without Prometheus. A machine that
// is off is told of by mail and webhook, a crash of the gateway too, and what is good again is told once.
import { expect, test, vi } from 'vitest'
import { PLAN_RULES_DEFAULT, type Plan } from '../../protocol/plans.ts'
import { eventually } from '../support/temp.ts'
import {
  crashCheck,
  hookCheck,
  jobCheck,
  mailCheck,
  proofCheck,
  stateCheck,
  toldCheck,
  type Facts,
} from '../unattended/checks.ts'
import { factsOf, leftCheck } from '../unattended/facts.ts'
import { Proofs } from '../unattended/proofs.ts'
import { Rig } from '../unattended/rig.ts'

vi.setConfig({ testTimeout: 240_000 })

const FRESH: Plan = {
  ...PLAN_RULES_DEFAULT,
  name: 'fresh',
  rpoMs: 60_000,
  covers: { ...PLAN_RULES_DEFAULT.covers, others: true },
}

/** Checks that hold for a run of any length. */
const CHECKS = [stateCheck, jobCheck, proofCheck, toldCheck, mailCheck, hookCheck, crashCheck]

test('a plan alone backs machines up, and says what it cannot do, across a crash of the gateway', async () => {
  await using rig = await Rig.start({ machines: 2, prometheus: false })
  const { stand, guests, hook, host, mailbox } = rig
  const [up, down] = [guests[0]!, guests[1]!]
  const proofs = new Proofs(rig)
  await rig.addTargets()
  // messages are tried again
  hook.refuse = 1
  up.start()
  await down.off()
  const fromMs = Date.now()
  const apply = async (plan: Plan): Promise<void> =>
    void (await (await stand.peer('owner')).call('plans.apply', { plans: [plan] }))
  await apply(FRESH)
  proofs.begin()
  const told = (kind: string, state: string): boolean =>
    hook.messages.some(({ items }) => items.some((item) => item.kind === kind && item.state === state))
  await eventually(() => proofs.all.some(({ machine }) => machine === up.name))
  await eventually(() => told('machine.state', 'active'))

  const killedMs = Date.now()
  await rig.killGateway()
  await rig.raiseGateway()
  const gatewayAway = [{ fromMs: killedMs, toMs: Date.now() }]
  await eventually(() => told('gateway.crashed', 'happened'))
  await down.on()
  await stand.ended(await stand.startBackup(down.name))
  await eventually(() => told('machine.state', 'resolved'))
  await eventually(() => mailbox.mails.length >= hook.messages.length)

  await apply({ ...FRESH, enabled: false })
  await eventually(async () => (await rig.look((catalog) => catalog.runs.open())).length === 0)
  for (const guest of guests) await guest.pause()
  await proofs.end()
  const facts: Facts = await factsOf(rig, proofs, { fromMs, toMs: Date.now(), gatewayAway, mostBytes: 0, bytes: 0 })
  const checks = [...CHECKS.map((check) => check(facts)), await leftCheck(host)]
  expect(checks.filter(({ ok }) => !ok)).toEqual([])
})
