// What the plans of very many machines cost a gateway that has nothing to do: the time of its looks, as a part of a minute.
import path from 'node:path'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../protocol/host/clock.ts'
import { openLog } from '../../protocol/host/log.ts'
import { PLAN_RULES_DEFAULT } from '../../protocol/plans.ts'
import { openThread } from '../../gateway/catalog/sqlite/database.ts'
import type { Catalog } from '../../gateway/catalog/catalog.ts'
import { LIMITS_DEFAULT } from '../../gateway/scheduler/limits.ts'
import { Scheduler } from '../../gateway/scheduler/scheduler.ts'
import { addAgent } from '../gateway/catalog.ts'
import { announced } from '../support/announced.ts'
import { judge, type Report, type ScenarioContext } from './scenario.ts'
import { median } from './statistics.ts'

const TENANTS = 10
const AGENTS_PER_TENANT = 10
const MACHINES_PER_AGENT = 100
const PLANS_PER_TENANT = 10

/** A gateway that has nothing to do looks once a minute. */
const MINUTE_MS = 60_000

/** How often it is seen whether a look has ended, in milliseconds. */
const SEEN_MS = 50
const LOOKS = 20
const QUICK_LOOKS = 3

const populate = async (catalog: Catalog, machines: number): Promise<void> => {
  for (let number = 0; number < TENANTS; number++) {
    const id = randomUUID()
    const key = { idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 }
    const tenant = await catalog.tenants.add({ id, name: `tenant${number}`, ...key })
    const plans = Array.from({ length: PLANS_PER_TENANT }, (_, plan) => ({
      ...PLAN_RULES_DEFAULT,
      name: `plan${plan}`,
      // half by a schedule, half by a target
      ...(plan % 2 === 0 ? { schedule: `30 ${plan} * * *`, jitterMs: 3_600_000 } : { rpoMs: (plan + 20) * 3_600_000 }),
      timeZone: 'Europe/Berlin',
      covers: { ...PLAN_RULES_DEFAULT.covers, patterns: [`vm?*${plan}`] },
    }))
    await catalog.plans.apply({ tenant: id, plans })
    for (let host = 0; host < AGENTS_PER_TENANT; host++) {
      const agent = await addAgent(catalog, tenant, `host${host}`)
      const names = Array.from({ length: machines }, (_, index) => announced(`vm${host}-${index}`))
      await catalog.machines.declare({ tenant: id, agent, machines: names, nowMs: 1 })
    }
  }
}

/** CPU seconds of this process, all its threads. */
const cpuSeconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

export const run = async ({ folder, quick, signal, say }: ScenarioContext): Promise<Report> => {
  const perAgent = quick ? 10 : MACHINES_PER_AGENT
  const count = TENANTS * AGENTS_PER_TENANT * perAgent
  say(`adding ${count} machines`)
  await using catalog = await openThread(path.join(folder, 'catalog.db'))
  await populate(catalog, perAgent)
  let looked = 0
  const runs: Catalog['runs'] = {
    ...catalog.runs,
    world: () => {
      looked++
      return catalog.runs.world()
    },
  }
  await using scheduler = new Scheduler({
    catalog: { runs, tenants: catalog.tenants, machines: catalog.machines },
    backups: { start: () => Promise.reject(new Error('nothing is started here')) },
    agents: { online: () => false },
    events: { listen: () => () => {} },
    audit: { record: async () => {} },
    clock: systemClock,
    log: openLog({ level: 'error' }),
    limits: LIMITS_DEFAULT,
  })
  /** One look, from when it begins: what is slept before it is not its own. */
  const look = async (): Promise<void> => {
    const before = looked
    scheduler.wake()
    while (looked === before) await sleep(SEEN_MS, undefined, { signal })
    await scheduler.settled()
  }
  // what is computed once, and the first slots, are not part of a look that finds nothing to do
  say('the first looks')
  for (let first = 0; first < 3; first++) await look()
  const looks: { readonly cpu: number; readonly seconds: number }[] = []
  for (let count = 0; count < (quick ? QUICK_LOOKS : LOOKS); count++) {
    const [cpu, from] = [cpuSeconds(), performance.now()]
    await look()
    looks.push({ cpu: cpuSeconds() - cpu, seconds: (performance.now() - from) / 1000 })
  }
  const cpu = median(looks.map((one) => one.cpu))
  const percent = (cpu * 1000 * 100) / MINUTE_MS
  return {
    goals: [judge(`part of a core that ${count} idle machines' plans take`, percent, { atMost: 1 }, '%')],
    tables: [
      {
        title: 'One look',
        heading: ['machines', 'plans', 'CPU of a look', 'part of a core, once a minute'],
        rows: [
          [
            String(count),
            String(TENANTS * PLANS_PER_TENANT),
            `${(cpu * 1000).toFixed(0)} ms`,
            `${percent.toFixed(2)} %`,
          ],
        ],
      },
    ],
    notes: [
      'A look reads all machines, plans and open runs from the catalog, on its thread, and plans the round. CPU is that of the ' +
        'whole process, so the time of the catalog is in it, and a few milliseconds of waiting. Agents are not connected.',
    ],
    details: { looks, count },
  }
}
