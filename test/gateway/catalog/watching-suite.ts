// What every engine of the catalog answers the watcher: who serves, which tokens end, what is damaged, proofs and locks.
import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Catalog } from '../../../gateway/catalog/catalog.ts'
import { RECORD } from '../../../gateway/packs/format.ts'
import { addAgent, addMachine, addPoint, revokeAgent } from '../catalog.ts'
import type { World } from './catalog-suite.ts'

const addToken = async (
  catalog: Catalog,
  tenant: string | null,
  { subject = 'ann', expiresMs }: { readonly subject?: string; readonly expiresMs: number },
): Promise<string> => {
  const id = randomUUID()
  await catalog.tokens.add({ id, tenant, subject, role: tenant === null ? 'platform' : 'owner', nowMs: 1, expiresMs })
  return id
}

export const watching = (open: () => Promise<World>) =>
  describe('what the watcher asks', () => {
    test('agents that serve machines: not revoked ones, and not those without any', async () => {
      await using world = await open()
      const { catalog, acme, other, agent } = world
      await addMachine(catalog, acme, agent, 'db2')
      const [second, revoked] = [await addAgent(catalog, other, 'hv2'), await addAgent(catalog, acme, 'hv3')]
      await addAgent(catalog, acme, 'without')
      await addMachine(catalog, other, second, 'db1')
      await addMachine(catalog, acme, revoked, 'db3')
      await revokeAgent(catalog, acme, revoked)
      await catalog.agents.seen({ id: second, nowMs: 77 })
      const found = await catalog.watching.agents()
      expect(found.toSorted((a, b) => (a.host < b.host ? -1 : 1))).toEqual([
        { tenant: acme.id, id: agent, host: 'host', machines: 2, seenMs: null },
        { tenant: other.id, id: second, host: 'hv2', machines: 1, seenMs: 77 },
      ])
    })

    test('tokens that end, with when the last one of the same holder does', async () => {
      await using world = await open()
      const { catalog, acme, other } = world
      const ending = await addToken(catalog, acme.id, { expiresMs: 100 })
      await addToken(catalog, acme.id, { expiresMs: 500 })
      await addToken(catalog, other.id, { expiresMs: 900 })
      const gone = await addToken(catalog, acme.id, { expiresMs: 700 })
      await catalog.tokens.revoke({ tenant: acme.id, id: gone, nowMs: 2 })
      const platform = await addToken(catalog, null, { subject: 'op', expiresMs: 150 })
      const revoked = await addToken(catalog, null, { expiresMs: 120 })
      await catalog.tokens.revoke({ tenant: null, id: revoked, nowMs: 2 })
      const found = await catalog.watching.tokens({ fromMs: 100, untilMs: 150 })
      const rest = { createdMs: 1 }
      expect(found).toEqual([
        {
          id: platform,
          tenant: null,
          tenantName: null,
          subject: 'op',
          role: 'platform',
          expiresMs: 150,
          lastMs: 150,
          ...rest,
        },
        {
          id: ending,
          tenant: acme.id,
          tenantName: 'acme',
          subject: 'ann',
          role: 'owner',
          expiresMs: 100,
          lastMs: 500,
          ...rest,
        },
      ])
    })

    test('damage by machine and by tenant, until it is healed', async () => {
      await using world = await open()
      const { catalog, acme, machine } = world
      expect(await catalog.watching.damage()).toEqual({ machines: [], tenants: [] })
      const [first, second] = [await addPoint(catalog, acme, machine), await addPoint(catalog, acme, machine)]
      const id = new Uint8Array(32).fill(9)
      const damage = { id, type: RECORD.chunk, place: null, reason: 'it rots' }
      await catalog.damage.enter({ tenant: acme.id, nowMs: 5, records: [damage] })
      const rows = [first, second].map((point) => ({ point, disk: 'vda', offset: 0, length: 4096, id }))
      await catalog.lost.stage({ tenant: acme.id, first: true, rows })
      await catalog.lost.replace({ tenant: acme.id })
      expect(await catalog.watching.damage()).toEqual({
        machines: [{ tenant: acme.id, tenantName: 'acme', machine: 'db1', points: 2, lostBytes: 8192 }],
        tenants: [{ tenant: acme.id, tenantName: 'acme', records: 1, foundMs: 5 }],
      })
      await catalog.damage.settle({ tenant: acme.id, ids: id })
      await catalog.lost.stage({ tenant: acme.id, first: true, rows: [] })
      await catalog.lost.replace({ tenant: acme.id })
      expect(await catalog.watching.damage()).toEqual({ machines: [], tenants: [] })
    })

    test('the oldest proof and the last lock of each machine; a verification from the future is none', async () => {
      await using world = await open()
      const { catalog, acme, other, agent, machine } = world
      await addMachine(catalog, acme, agent, 'without')
      const points = [
        await addPoint(catalog, acme, machine, { nowMs: 20 }),
        await addPoint(catalog, acme, machine, { nowMs: 30 }),
      ]
      const proofs = (nowMs: number) => catalog.watching.proofs({ tenant: acme.id, nowMs })
      const one = { machine: 'db1', group: null }
      expect(await proofs(100)).toEqual([{ ...one, oldestMs: 21, lockedUntilMs: null }])
      await catalog.points.verified({ tenant: acme.id, points: [points[0]!], nowMs: 60 })
      await catalog.points.lock({ tenant: acme.id, id: points[0]!, untilMs: 400 })
      expect(await proofs(100)).toEqual([{ ...one, oldestMs: 31, lockedUntilMs: 400 }])
      expect(await proofs(50)).toEqual([{ ...one, oldestMs: 21, lockedUntilMs: 400 }])
      expect(await catalog.watching.proofs({ tenant: other.id, nowMs: 100 })).toEqual([])
    })

    test('when the last thing was recorded: what came later in the logs counts, not what has the later time', async () => {
      await using world = await open()
      const { catalog } = world
      const record = {
        tenant: null,
        subject: 'ann',
        role: 'platform',
        action: 'a',
        resource: '',
        outcome: 'ok',
      } as const
      const append = (timeMs: number) => catalog.audit.appendAll({ records: [{ ...record, timeMs, details: {} }] })
      const tell = (timeMs: number) =>
        catalog.events.append({
          events: [
            { timeMs, kind: 'gateway.started', severity: 'info', tenant: null, machine: null, text: 'x', data: {} },
          ],
        })
      await tell(9000)
      await append(9000)
      expect(await catalog.watching.recordedMs()).toBe(9000)
      await append(5000)
      expect(await catalog.watching.recordedMs()).toBe(5000)
      await append(9500)
      await tell(6000)
      expect(await catalog.watching.recordedMs()).toBe(6000)
    })
  })
