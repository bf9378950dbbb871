// Which way a disk is read by its QEMU and the configuration, and what may never be combined.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DiskDecision } from '../../../../agent/drivers/decide.ts'
import type { LeaseRequest } from '../../../../agent/drivers/driver.ts'
import { accessOf, askSupport, hasArgument, RAW_SCRATCH_BYTES_MAX } from '../../../../agent/drivers/qmp/fleecing.ts'
import { FLEECINGS } from '../../../../agent/drivers/qmp/keys.ts'
import { planLease, transactionActions } from '../../../../agent/drivers/qmp/plan.ts'
import type { QmpCaller } from '../../../../agent/qmp/client.ts'
import { qmpMachine } from '../../../support/journal-entry.ts'

const decision = (backed: boolean, incremental: boolean, size = 1 << 20): DiskDecision => ({
  disk: {
    name: 'vda',
    node: 'a',
    qdev: 'vda',
    size,
    format: 'qcow2',
    fileName: 'a.qcow2',
    dataFile: null,
    clusterBytes: 65_536,
    backing: backed ? [{ format: 'raw', fileName: 'base', size }] : [],
    evidence: '',
    ownEvidence: '',
    holdsBitmaps: true,
    persistentBitmaps: true,
    bitmaps: [],
  },
  kind: incremental ? 'incremental' : 'full',
  reason: incremental ? 'bitmap' : 'first',
  continued: !incremental
    ? null
    : {
        base: 'vda',
        bitmap: {
          name: 'varve-c0ffee42-cp-b-0',
          count: 0,
          granularity: 65_536,
          recording: true,
          busy: false,
          persistent: true,
          inconsistent: false,
        },
      },
  reread: [],
})

const SCHEMA = [
  { name: 'blockdev-backup', 'meta-type': 'command', 'arg-type': '7', 'ret-type': '0' },
  { name: '7', 'meta-type': 'object', members: [{ name: 'device' }, { name: 'on-cbw-error' }] },
  { name: 'drive-backup', 'meta-type': 'command', 'arg-type': '8', 'ret-type': '0' },
  { name: '8', 'meta-type': 'object', members: [{ name: 'device' }] },
  { name: '9', 'meta-type': 'enum', values: ['x'] },
]

const qemu = (major: number, minor: number, schema: unknown = SCHEMA): QmpCaller => ({
  version: { major, minor, micro: 0 },
  closed: new Promise(() => undefined),
  subscribe: () => () => undefined,
  execute: async (command) => {
    expect(command).toBe('query-qmp-schema')
    return schema
  },
})

const request: LeaseRequest = {
  machine: qmpMachine('/q'),
  leaseId: '0192bbbb-1111-7000-8000-000000000001',
  agentId: '0192aaaa-0000-7000-8000-0000c0ffee42',
  formerAgents: [],
  base: null,
  full: false,
  compare: false,
  consistency: 'none',
  freezeTimeoutMs: 1000,
  refuseFull: [],
  refuseLeftOut: [],
  chunkBytes: 65_536,
}

test('a copy breaks its snapshot only where that is what is read: with an overlay newer bytes would pass for old ones', () => {
  const support = fc.record({ access: fc.boolean(), breaks: fc.boolean() })
  const shapes = fc.array(fc.tuple(fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(fc.constantFrom(...FLEECINGS), support, shapes, (wish, can, drawn) => {
      fc.pre(wish !== 'on' || can.access)
      const disks = drawn.map(([backed, incremental]) => decision(backed, incremental))
      const ways = accessOf(wish, can, { major: 11, minor: 1, micro: 0 })
      const entry = planLease(request, { disks, leftOut: [] }, { scratch: '/s', runtime: '/run' }, null, ways)
      const copies = transactionActions(entry).filter(({ type }) => type === 'blockdev-backup')
      expect(copies).toHaveLength(disks.length)
      for (const [index, { data }] of copies.entries()) {
        const { access, scratchFile } = entry.disks[index]!
        expect(scratchFile.endsWith(access === null ? '.qcow2' : '.raw')).toBe(true)
        expect(data['on-cbw-error']).toBe(access?.breaks === true ? 'break-snapshot' : undefined)
        expect('on-cbw-error' in data && access === null).toBe(false)
      }
    }),
  )
})

describe('the way of a disk', () => {
  const OVERLAY = null
  const ACCESS = { breaks: false }
  const BREAKS = { breaks: true }

  test.each([
    [5, 2, OVERLAY],
    [7, 2, OVERLAY],
    [8, 2, OVERLAY],
    [9, 0, ACCESS],
    [10, 0, ACCESS],
    [10, 1, BREAKS],
    [11, 1, BREAKS],
  ] as const)('QEMU %i.%i', async (major, minor, expected) => {
    const client = qemu(major, minor)
    const way = async (wish: 'auto' | 'off') => accessOf(wish, await askSupport(client, wish), client.version)
    expect((await way('auto'))(decision(false, false))).toEqual(expected)
    expect((await way('off'))(decision(false, false))).toBe(null)
  })

  test('a QEMU that cannot do what is asked for is named with the way out', () => {
    const none = { access: false, breaks: false }
    expect(() => accessOf('on', none, { major: 8, minor: 2, micro: 9 })).toThrow(
      expect.objectContaining({ code: 'DISK_UNSUPPORTED', message: expect.stringContaining('8.2') }),
    )
  })

  test('a full read of a disk with backing files keeps its holes, and a huge disk no raw file, unless that is asked for', () => {
    const can = { access: true, breaks: true }
    const version = { major: 11, minor: 1, micro: 0 }
    const [own, wanted] = [accessOf('auto', can, version), accessOf('on', can, version)]
    expect([own(decision(true, false)), own(decision(true, true))]).toEqual([OVERLAY, BREAKS])
    expect(own(decision(false, true, RAW_SCRATCH_BYTES_MAX + 1))).toBe(OVERLAY)
    expect(wanted(decision(true, false))).toEqual(BREAKS)
  })

  test('a QEMU whose jobs have no such argument does not break snapshots', async () => {
    expect(hasArgument(SCHEMA, 'blockdev-backup', 'on-cbw-error')).toBe(true)
    expect(hasArgument(SCHEMA, 'drive-backup', 'on-cbw-error')).toBe(false)
    expect(hasArgument([], 'blockdev-backup', 'on-cbw-error')).toBe(false)
    expect(await askSupport(qemu(10, 1, SCHEMA.slice(2)), 'auto')).toEqual({ access: true, breaks: false })
    await expect(askSupport(qemu(10, 1, 'no'), 'on')).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
  })
})
