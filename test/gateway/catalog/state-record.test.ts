// States of tenants as records: round trips, splitting into parts, and bytes that are not what their id says.
import { randomBytes, randomUUID } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromHex, hex } from '../../../protocol/chunk.ts'
import { asVarveError } from '../../../protocol/errors.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import {
  decodeState,
  encodeState,
  joinParts,
  stateKey,
  type StatePart,
  type TenantState,
} from '../../../gateway/catalog/state-record.ts'
import { decode } from '../../../protocol/host/chunk-steps.ts'

const stateOf = (points: number): TenantState => {
  const agent = randomUUID()
  return {
    seq: 7,
    timeMs: 1234,
    gateway: randomUUID(),
    tenant: {
      row: 3,
      uuid: randomUUID(),
      name: 'acme',
      idKey: hex(randomBytes(32)),
      chunkBytes: 65_536,
      createdMs: 1,
      quotaSoftBytes: null,
      quotaHardBytes: 5_000_000_000_000,
    },
    agents: [{ id: agent, host: 'h', publicKey: 'k', enrolledMs: 1, revokedMs: null, site: 's1' }],
    machines: [{ row: 9, name: 'db1', agent, group: 'g', createdMs: 2, uuid: null }],
    plans: [{ name: 'nightly', rules: '{"lockDays":1}' }],
    exclusions: [{ machine: 'db1', by: 'ann', reason: 'rebuilt', sinceMs: 3, untilMs: 9 }],
    missed: [{ point: randomUUID(), disk: 'vda' }],
    points: Array.from({ length: points }, (_, index) => ({
      id: randomUUID(),
      held: index % 5 === 1,
      lockedUntilMs: index % 7 === 2 ? index : null,
    })),
    jobs: [randomUUID()],
  }
}

const plainOf = ({ codec, stored, plainLength }: ReturnType<typeof encodeState>[number]): Uint8Array =>
  decode(codec, stored, plainLength)

const read = (state: TenantState, bytesMax?: number): StatePart[] =>
  encodeState(state, bytesMax).map((record) => decodeState(plainOf(record), record.id))

describe('round trip', () => {
  test('in one part, smaller than its JSON', () => {
    const state = stateOf(500)
    const [record, ...more] = encodeState(state)
    expect(more).toEqual([])
    expect(record!.stored.length).toBeLessThan(record!.plainLength * 0.8)
    expect(joinParts(read(state))).toEqual({ state, complete: true })
  })

  test('in any number of parts and any order, none of them too long; without one it is not complete', () => {
    fc.assert(
      fc.property(fc.nat(600), fc.integer({ min: 5000, max: 20_000 }), (points, bytesMax) => {
        const state = stateOf(points)
        const records = encodeState(state, bytesMax)
        for (const { plainLength } of records) expect(plainLength).toBeLessThanOrEqual(bytesMax)
        const parts = read(state, bytesMax)
        expect(joinParts(parts.toReversed())).toEqual({ state, complete: true })
        // a part that is there twice stands for itself only
        if (parts.length > 1) expect(joinParts([...parts.slice(1), parts[1]!]).complete).toBe(false)
      }),
      { numRuns: 30 },
    )
  })
})

describe('hostile bytes', () => {
  const forged = (change: (value: Record<string, unknown>) => void): (() => unknown) => {
    const state = stateOf(2)
    const value = JSON.parse(new TextDecoder().decode(plainOf(encodeState(state)[0]!))) as Record<string, unknown>
    change(value)
    const plain = new TextEncoder().encode(JSON.stringify(value))
    return () => decodeState(plain, keyedHash(stateKey(fromHex(state.tenant.idKey)), plain))
  }

  test('under another id, or with the key of another tenant, it is damaged', () => {
    const [record] = encodeState(stateOf(1))
    expect(() => decodeState(plainOf(record!), new Uint8Array(32))).toThrow('not what its id says')
    const change = (value: Record<string, unknown>): void => {
      value['tenant'] = { ...(value['tenant'] as object), idKey: hex(randomBytes(32)) }
    }
    expect(forged(change)).toThrow('not what its id says')
    expect(forged(() => {})).not.toThrow()
  })

  test('a part beyond its count, a chunk size that is none, and a later version are refused', () => {
    expect(forged((value) => void (value['part'] = 1))).toThrow('not what its id says')
    expect(forged((value) => void (value['tenant'] = { ...(value['tenant'] as object), chunkBytes: 5 }))).toThrow(
      'size',
    )
    expect(forged((value) => void (value['version'] = 2))).toThrow('version 2')
  })

  test('any value anywhere ends in one of our errors or a state', () => {
    const keys = [
      'seq',
      'timeMs',
      'part',
      'parts',
      'gateway',
      'tenant',
      'agents',
      'machines',
      'plans',
      'points',
      'jobs',
    ]
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
        try {
          forged((state) => void (state[key] = value))()
        } catch (thrown) {
          expect(asVarveError(thrown).code).toBe('DATA_DAMAGED')
        }
      }),
    )
  })
})
