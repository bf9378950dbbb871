// What the watcher looks at, how often, and what each look costs: a few questions to the catalog, all of them aside.
import { X509Certificate } from 'node:crypto'
import { DAY_MS } from '../../protocol/host/duration.ts'
import type { ConditionKind } from '../../protocol/events.ts'
import type { Plan } from '../../protocol/plans.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Space } from '../datastore/space.ts'
import { coveringOf } from '../plans/covering.ts'
import { skewVerdicts } from './watch-clock.ts'
import {
  agentVerdicts,
  certificateVerdict,
  TOKEN_DAYS,
  TOKEN_DAYS_ENDED,
  tokenVerdicts,
  type CertificateSeen,
} from './watch-identities.ts'
import type { Sightings } from './watch-sightings.ts'
import { damageVerdicts, lockVerdicts, verifyVerdict, type LockSeen, type VerifySeen } from './watch-protection.ts'
import { diskVerdict, quotaVerdicts } from './watch-space.ts'
import type { Before, Looked, Verdict } from './watch-verdict.ts'

/** How often what changes by the minute is looked at, and what does by the day, in milliseconds. */
export const LOOK_MS = 60_000
export const LONG_LOOK_MS = 3_600_000

/** An upload that was refused so long ago still says that a quota is used up, in milliseconds. */
const REFUSED_MS = 10 * 60_000

/** When something is used up as it grows now; null where that is not foreseen. */
export interface Forecasts {
  /** Days until a tenant's quota is used up. */
  quotaDays(tenant: string): Promise<number | null>
  /** Days until the disk reaches its reserve. */
  diskDays(): Promise<number | null>
}

export interface LookSources {
  readonly catalog: Pick<Catalog, 'quotas' | 'tenants' | 'watching'> & {
    readonly plans: { list(of: { tenant: string }): Promise<readonly Plan[]> }
  }
  readonly space: Pick<Space, 'quotas' | 'room'>
  readonly forecasts: Forecasts
  /** Whether an agent is connected. */
  readonly online: (agent: string) => boolean
  readonly sightings: Sightings
  /** How far agents' clocks are ahead, in milliseconds, of those of which it is known. */
  readonly skewsOf: <A extends { readonly id: string }>(agents: readonly A[]) => (A & { readonly skewMs: number })[]
  /** What the port serves, in PEM; null without TLS. */
  readonly certificate: () => Uint8Array | null
}

export interface Look {
  readonly name: string
  /** Conditions that only this look speaks of. */
  readonly kinds: readonly ConditionKind[]
  readonly everyMs: number
  readonly look: (at: { readonly nowMs: number; readonly elapsedMs: number }, before: Before) => Promise<Looked>
}

/** Dates of a certificate, read once for each. */
const datesOf = (): ((pem: Uint8Array) => CertificateSeen) => {
  let last: { readonly pem: Uint8Array; readonly dates: CertificateSeen } | null = null
  return (pem) => {
    if (last?.pem !== pem) {
      const { validFromDate, validToDate } = new X509Certificate(pem)
      last = { pem, dates: { fromMs: validFromDate.getTime(), untilMs: validToDate.getTime() } }
    }
    return last.dates
  }
}

/** What each tenant takes, against its quota. */
const quotaLook = ({ catalog, space, forecasts }: LookSources): Look => ({
  name: 'quotas',
  kinds: ['quota.soft', 'quota.hard', 'quota.forecast'],
  everyMs: LOOK_MS,
  look: async (_at, before) => {
    const quotas = (await catalog.quotas.list()).filter((one) => one.softBytes !== null || one.hardBytes !== null)
    const seen = await Promise.all(
      quotas.map(async (quota) => ({
        ...quota,
        usedBytes: space.quotas.usedBytes(quota.tenant),
        refused: space.quotas.refusedWithin(quota.tenant, REFUSED_MS),
        daysLeft: await forecasts.quotaDays(quota.tenant),
      })),
    )
    return { verdicts: quotaVerdicts(seen, before) }
  },
})

const diskLook = ({ space, forecasts }: LookSources): Look => ({
  name: 'disk',
  kinds: ['disk.reserve'],
  everyMs: LOOK_MS,
  look: async (_at, before) => {
    const { freeBytes, reserveBytes } = await space.room()
    const daysLeft = reserveBytes === 0 ? null : await forecasts.diskDays()
    return { verdicts: [diskVerdict({ freeBytes, reserveBytes, daysLeft }, before)] }
  },
})

/** Who serves machines, and how their clocks are. */
const agentLook = ({ catalog, online, sightings, skewsOf }: LookSources): Look => ({
  name: 'agents',
  kinds: ['agent.away', 'clock.wrong'],
  everyMs: LOOK_MS,
  look: async ({ elapsedMs }, before) => {
    const agents = await catalog.watching.agents()
    const away = agentVerdicts(sightings.look(agents, { online, elapsedMs }), before)
    const wrong = skewVerdicts(
      skewsOf(agents).map(({ id, ...seen }) => ({ ...seen, agent: id })),
      before,
    )
    const there = new Set(agents.map(({ id }) => `clock.wrong ${id}`))
    return {
      verdicts: [...away, ...wrong],
      // the gateway's own clock, and those of agents that began no backup since its start
      unseen: ({ kind, tenant, key }) => kind === 'clock.wrong' && (tenant === null || there.has(key)),
    }
  },
})

const certificateLook = ({ certificate }: LookSources): Look => {
  const dates = datesOf()
  return {
    name: 'certificate',
    kinds: ['certificate.ending'],
    everyMs: LOOK_MS,
    look: async ({ nowMs }, before) => {
      const pem = certificate()
      return { verdicts: pem === null ? [] : [certificateVerdict(dates(pem), nowMs, before)] }
    },
  }
}

const tokenLook = ({ catalog }: LookSources): Look => ({
  name: 'tokens',
  kinds: ['token.ending'],
  everyMs: LONG_LOOK_MS,
  look: async ({ nowMs }) => {
    const [fromMs, untilMs] = [nowMs - (TOKEN_DAYS_ENDED + 1) * DAY_MS, nowMs + TOKEN_DAYS * DAY_MS]
    return { verdicts: tokenVerdicts(await catalog.watching.tokens({ fromMs, untilMs }), nowMs) }
  },
})

const damageLook = ({ catalog }: LookSources): Look => ({
  name: 'damage',
  kinds: ['damage'],
  everyMs: LOOK_MS,
  look: async ({ nowMs }, before) => ({
    verdicts: damageVerdicts(await catalog.watching.damage(), nowMs, before),
  }),
})

/** Verification and locks, by the plans of the machines. */
const proofLook = ({ catalog }: LookSources): Look => ({
  name: 'proofs',
  kinds: ['verify.stale', 'lock.ending'],
  everyMs: LONG_LOOK_MS,
  look: async ({ nowMs }, before) => {
    const verdicts: Verdict[] = []
    // one tenant after the other: a look is in nobody's hurry
    for (const { id: tenant, name } of await catalog.tenants.list()) {
      const planOf = coveringOf(await catalog.plans.list({ tenant }))
      const machines: VerifySeen[] = []
      const locks: LockSeen[] = []
      for (const { machine, group, oldestMs, lockedUntilMs } of await catalog.watching.proofs({ tenant, nowMs })) {
        const plan = planOf({ name: machine, group })
        const verifyDays = plan?.verifyDays ?? null
        if (verifyDays !== null) machines.push({ machine, verifyDays, oldestMs: nowMs - oldestMs })
        if (lockedUntilMs !== null)
          locks.push({ tenant, machine, lockDays: plan?.lockDays ?? 0, lastMs: lockedUntilMs })
      }
      verdicts.push(verifyVerdict({ tenant, name, machines }, before), ...lockVerdicts(locks, nowMs))
    }
    return { verdicts }
  },
})

/** All looks, in the order in which a pass makes them. */
export const looksOf = (sources: LookSources): Look[] =>
  [quotaLook, diskLook, agentLook, damageLook, certificateLook, tokenLook, proofLook].map((look) => look(sources))
