// Manifests: what is written is read, byte for byte the same each time, and hostile bytes end in a typed error.
import * as fc from 'fast-check'
import type { JobRow, UploadRow } from '../../../gateway/catalog/jobs.ts'
import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { asVarveError, type VarveError } from '../../../protocol/errors.ts'
import { hex } from '../../../protocol/chunk.ts'
import { decodeManifest, encodeManifest, manifestOf, rootOf } from '../../../gateway/catalog/manifest.ts'
import { newManifest } from '../datastore/fixture.ts'

const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))
const complete = () => ({ ...newManifest(), tenant: randomUUID(), state: 3 })

describe('round trip', () => {
  test('every field comes back, and no byte is zero', () => {
    const root = new Uint8Array(randomBytes(32))
    const disk = {
      size: 4096,
      kind: 'full',
      reason: 'first',
      changed: 1,
      evidence: 'raw /d.raw',
      comparedChunks: 3,
    } as const
    const manifest = {
      ...complete(),
      base: randomUUID(),
      note: 'a "note"\u0000\n\u{1F600}',
      lockedUntilMs: 5,
      leftOut: [{ name: 'cd', reason: 'read-only' as const }],
      disks: [
        { ...disk, name: 'vda', root: hex(root) },
        { ...disk, name: 'vdb', root: null, evidence: null },
      ],
    }
    const bytes = encodeManifest(manifest)
    expect(decodeManifest(bytes)).toEqual({ version: 1, ...manifest })
    expect(encodeManifest(manifest)).toEqual(bytes)
    expect(bytes.includes(0)).toBe(false)
    expect(rootOf(manifest.disks[0]!.root)).toEqual(root)
    expect(rootOf(null)).toBe(null)
  })

  test('of a backup its figures are those of the catalog’s row', () => {
    const leftOut = [{ name: 'cd', reason: 'read-only' }]
    const begun = { timeMs: 100, consistency: 'frozen', note: null, configuration: '{"a":1}', leftOut, missing: [] }
    const wishes = { full: true, compare: true }
    const job = { id: randomUUID(), machine: 'm', agent: 'a', base: null, subject: 's', ...wishes, startedMs: 10 }
    const figures = { changedBytes: 2, bytesSent: 30, bytesStored: 40, comparedChunks: 5 }
    const upload = { size: 9, kind: 'incremental', reason: 'bitmap', root: null, evidence: 'raw', ...figures }
    const uploads = [
      { ...upload, disk: 'vda' },
      { ...upload, disk: 'vdb', kind: 'full', reason: 'disk-added', evidence: null, comparedChunks: 0 },
    ]
    const took = {
      frozenMs: 3,
      scratch: { usedBytes: 1, limitBytes: null },
      steps: [{ step: 'lease', tookMs: 4 } as const],
    }
    const content = manifestOf(
      { job: { ...job, begun } as unknown as JobRow, uploads: uploads as unknown as UploadRow[] },
      { bytesRead: 7, took, nowMs: 25, lockedUntilMs: null },
    )
    expect(content).toMatchObject({
      ...begun,
      point: job.id,
      kind: 'incremental',
      reason: 'disk-added',
      bytesRead: 7,
      bytesSent: 60,
      bytesStored: 80,
      durationMs: 15,
      took,
      committedMs: 25,
      job: { subject: 's', full: true, compare: true, startedMs: 10 },
      disks: [
        { name: 'vda', evidence: 'raw', comparedChunks: 5 },
        { name: 'vdb', evidence: null, comparedChunks: 0 },
      ],
    })
  })
})

describe('hostile bytes', () => {
  test.each([
    ['no JSON', new TextEncoder().encode('{'), 'DATA_DAMAGED'],
    ['no UTF-8', Uint8Array.of(0xff, 0xfe), 'DATA_DAMAGED'],
    ['no object', bytesOf([1]), 'DATA_DAMAGED'],
    ['null', bytesOf(null), 'DATA_DAMAGED'],
    ['no version', bytesOf({}), 'DATA_DAMAGED'],
    ['version 0', bytesOf({ ...complete(), version: 0 }), 'DATA_DAMAGED'],
    ['a later version', bytesOf({ version: 2 }), 'STORE_VERSION'],
    ['a negative size', bytesOf({ ...complete(), version: 1, bytesRead: -1 }), 'DATA_DAMAGED'],
    ['a freeze of less than nothing', bytesOf({ ...complete(), version: 1, took: { frozenMs: -1 } }), 'DATA_DAMAGED'],
    ['a path for a name', bytesOf({ ...complete(), version: 1, machine: '../x' }), 'DATA_DAMAGED'],
    ['half a root', bytesOf({ ...complete(), version: 1, disks: [{ name: 'v', root: 'ab' }] }), 'DATA_DAMAGED'],
  ])('%s', (_, bytes, code) => {
    expect(() => decodeManifest(bytes)).toThrow(expect.objectContaining({ code }) as VarveError)
  })

  test('any JSON ends in one of our errors or a manifest', () => {
    const whole = { version: 1, ...complete() }
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(whole)), fc.jsonValue(), (key, value) => {
        try {
          decodeManifest(bytesOf({ ...whole, [key]: value }))
        } catch (thrown) {
          expect(thrown).toBe(asVarveError(thrown))
          expect(['DATA_DAMAGED', 'STORE_VERSION']).toContain(asVarveError(thrown).code)
        }
      }),
    )
  })
})
