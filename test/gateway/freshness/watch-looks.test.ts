// The looks over a real catalog: quotas, disk, certificate, agents, tokens, proofs and locks, each told once and once when good.
// Method: the figures of the parts beside the catalog are a test's own; what holds is kept as a gateway keeps it.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openLocal } from '../../../gateway/catalog/sqlite/database.ts'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import type { Tenant } from '../../../gateway/catalog/tenants.ts'
import { looksOf, type LookSources } from '../../../gateway/freshness/watch-looks.ts'
import { Sightings } from '../../../gateway/freshness/watch-sightings.ts'
import { beforeOf, newsOf } from '../../../gateway/freshness/watch-verdict.ts'
import { PLAN_RULES_DEFAULT } from '../../../protocol/plans.ts'
import { makeCertificate } from '../../support/certificates.ts'
import { tempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'

const DAY_MS = 24 * 3_600_000
const NOW = 1000 * DAY_MS

interface Figures {
  used: number
  refused: boolean
  free: number
  reserve: number
  days: number | null
  online: Set<string>
  skews: Map<string, number>
  certificate: Uint8Array | null
}

const FIGURES: Figures = {
  used: 0,
  refused: false,
  free: 100,
  reserve: 10,
  days: null,
  online: new Set(),
  skews: new Map(),
  certificate: null,
}

/** Looks at a catalog with figures that a test sets, and keeps what holds as a gateway's catalog does. */
const lookingAt = (catalog: Catalog, figures: Figures) => {
  const sources: LookSources = {
    catalog,
    space: {
      quotas: { usedBytes: () => figures.used, refusedWithin: () => figures.refused } as never,
      room: async () => ({ freeBytes: figures.free, totalBytes: 1000, reserveBytes: figures.reserve }),
    },
    forecasts: { quotaDays: async () => figures.days, diskDays: async () => figures.days },
    online: (agent) => figures.online.has(agent),
    sightings: new Sightings(),
    skewsOf: (agents) =>
      agents.flatMap((agent) =>
        figures.skews.has(agent.id) ? [{ ...agent, skewMs: figures.skews.get(agent.id)! }] : [],
      ),
    certificate: () => figures.certificate,
  }
  const looks = looksOf(sources)
  /** One look of each kind; the keys that begin to hold (or change), and those that end. */
  return async (nowMs: number): Promise<string[]> => {
    const told: string[] = []
    for (const { kinds, look } of looks) {
      const held = (await Promise.all(kinds.map((kind) => catalog.conditions.all({ kind })))).flat()
      const changes = newsOf(held, await look({ nowMs, elapsedMs: nowMs }, beforeOf(held)))
      await catalog.conditions.apply({ changes, nowMs })
      told.push(...changes.map((change) => `${change.key} ${change.holds ? change.value : 'ends'}`))
    }
    return told
  }
}

const world = async (catalog: Catalog): Promise<Tenant> =>
  catalog.tenants.add({ id: randomUUID(), name: 'acme', idKey: new Uint8Array(32), chunkBytes: 4096, nowMs: 1 })

test('quotas, the disk and a certificate are told as their figures say', async () => {
  await using folder = await tempFolder()
  using catalog = openLocal(':memory:')
  const acme = await world(catalog)
  const figures = { ...FIGURES }
  const look = lookingAt(catalog, figures)
  expect(await look(NOW)).toEqual([])
  await catalog.quotas.set({ tenant: acme.id, softBytes: 50, hardBytes: 100 })
  figures.used = 60
  figures.days = 10
  expect(await look(NOW)).toEqual(['quota.soft over', 'quota.forecast soon', 'disk.reserve soon'])
  figures.refused = true
  figures.free = 5
  expect(await look(NOW)).toEqual(['quota.hard full', 'disk.reserve below'])
  await catalog.quotas.set({ tenant: acme.id, softBytes: null, hardBytes: null })
  figures.reserve = 0
  figures.days = null
  expect(await look(NOW)).toEqual(['quota.soft ends', 'quota.hard ends', 'quota.forecast ends', 'disk.reserve ends'])
  const { cert } = await makeCertificate(folder.path, 'short', { fromDays: -80, toDays: 10 })
  figures.certificate = await readFile(cert)
  expect(await look(Date.now())).toEqual(['certificate.ending soon'])
  figures.certificate = null
  expect(await look(Date.now())).toEqual(['certificate.ending ends'])
})

test('an agent is away and back, its clock is wrong and right, and one that is revoked is spoken of no more', async () => {
  using catalog = openLocal(':memory:')
  const acme = await world(catalog)
  const agent = await addAgent(catalog, acme)
  await addMachine(catalog, acme, agent, 'db1')
  const figures = { ...FIGURES, online: new Set([agent]), skews: new Map([[agent, 90_000]]) }
  const look = lookingAt(catalog, figures)
  expect(await look(NOW)).toEqual([`clock.wrong ${agent} wrong`])
  // no backup since a restart: nothing is known of its clock
  figures.skews.clear()
  figures.online.clear()
  expect(await look(NOW + 60_000)).toEqual([])
  expect(await look(NOW + 660_000)).toEqual([`agent.away ${agent} away`])
  figures.online.add(agent)
  figures.skews.set(agent, 100)
  expect(await look(NOW + 700_000)).toEqual([`clock.wrong ${agent} ends`])
  expect(await look(NOW + 820_000)).toEqual([`agent.away ${agent} ends`])
  figures.online.clear()
  await look(NOW + 900_000)
  expect(await look(NOW + 1_500_000)).toEqual([`agent.away ${agent} away`])
  await catalog.agents.revoke({ tenant: acme.id, id: agent, nowMs: 2 })
  expect(await look(NOW + 1_560_000)).toEqual([`agent.away ${agent} ends`])
})

test('tokens, proofs and locks by the plans of the machines', async () => {
  using catalog = openLocal(':memory:')
  const acme = await world(catalog)
  const machine = await addMachine(catalog, acme, await addAgent(catalog, acme), 'db1')
  const point = await addPoint(catalog, acme, machine, { nowMs: NOW })
  const look = lookingAt(catalog, { ...FIGURES, online: new Set([machine.agent]) })
  expect(await look(NOW + 50 * DAY_MS)).toEqual([])
  const covers = { ...PLAN_RULES_DEFAULT.covers, others: true }
  const plan = { ...PLAN_RULES_DEFAULT, name: 'nightly', verifyDays: 30, lockDays: 20, covers }
  await catalog.plans.apply({ tenant: acme.id, plans: [plan] })
  await catalog.points.lock({ tenant: acme.id, id: point, untilMs: NOW + 55 * DAY_MS })
  const token = randomUUID()
  await catalog.tokens.add({
    id: token,
    tenant: acme.id,
    subject: 'ci',
    role: 'owner',
    nowMs: NOW,
    expiresMs: NOW + 60 * DAY_MS,
  })
  expect(await look(NOW + 50 * DAY_MS)).toEqual([
    `token.ending ${token} soon`,
    'verify.stale stale',
    'lock.ending db1 soon',
  ])
  await catalog.points.verified({ tenant: acme.id, points: [point], nowMs: NOW + 50 * DAY_MS })
  await catalog.points.lock({ tenant: acme.id, id: point, untilMs: NOW + 90 * DAY_MS })
  await catalog.tokens.revoke({ tenant: acme.id, id: token, nowMs: NOW })
  expect(await look(NOW + 51 * DAY_MS)).toEqual([
    `token.ending ${token} ends`,
    'verify.stale ends',
    'lock.ending db1 ends',
  ])
})
