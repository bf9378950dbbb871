// A gateway that works by itself, in less than a minute: what `npm run unattended` does for ten, without Prometheus. A machine
// that cannot be backed up is told of by mail and webhook, a crash of the gateway too, and what is good again is told once.
import { expect, test, vi } from 'vitest'
import { PLAN_RULES_DEFAULT, type Plan } from '../../protocol/plans.ts'
import { eventually } from '../support/temp.ts'
import { crashCheck, hookCheck, jobCheck, mailCheck, proofCheck, stateCheck, toldCheck } from '../unattended/checks.ts'
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
  const [db1, web1] = [guests[0]!.name, guests[1]!.name]
  const proofs = new Proofs(rig)
  const apply = async (...plans: Plan[]): Promise<void> =>
    void (await (await stand.peer('owner')).call('plans.apply', { plans }))
  /** Mail and webhook go their own ways: who is killed in between tells again later. */
  const allTold = (): Promise<unknown> => eventually(() => mailbox.mails.length >= hook.messages.length)
  const told = (kind: string, state: string): boolean =>
    hook.messages.some(({ items }) => items.some((item) => item.kind === kind && item.state === state))

  await rig.addTargets()
  for (const guest of guests) guest.start()
  const strict = { ...FRESH, name: 'strict', covers: { ...FRESH.covers, others: false, machines: [web1] } }
  await apply(FRESH, { ...strict, refuseFull: ['first'] })
  proofs.begin()
  await eventually(() => proofs.all.some(({ machine }) => machine === db1))
  // its plan refuses what its first backup has to do, and nothing can change that but a person
  await eventually(() => told('machine.state', 'active'))
  await allTold()

  const killedMs = Date.now()
  await rig.killGateway()
  await rig.raiseGateway()
  const gatewayAway = [{ fromMs: killedMs, toMs: Date.now() }]
  await eventually(() => told('gateway.crashed', 'happened'))
  await apply(strict)
  await stand.ended(await stand.startBackup(web1))
  await eventually(() => told('machine.state', 'resolved'))
  await allTold()

  await apply({ ...FRESH, enabled: false }, { ...strict, enabled: false })
  await eventually(async () => (await rig.look((catalog) => catalog.runs.open())).length === 0)
  for (const guest of guests) await guest.pause()
  await proofs.end()
  const given = { fromMs: killedMs, toMs: Date.now(), gatewayAway, mostBytes: 0, bytes: 0 }
  const facts = await factsOf(rig, proofs, given)
  const checks = [...CHECKS.map((check) => check(facts)), await leftCheck(host)]
  expect(checks.filter(({ ok }) => !ok)).toEqual([])
})
