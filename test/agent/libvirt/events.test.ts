// Events as they stand on the wire. Goal: each is read to its end, and what was not asked for ends the connection. Method:
// messages written after libvirt's protocol; real ones come in connection.test.ts.
import { expect, test } from 'vitest'
import { EVENT_NUMBERS, readEvent } from '../../../agent/libvirt/events.ts'
import type { LibvirtDomain } from '../../../agent/libvirt/types.ts'
import { writeDomain } from '../../../agent/libvirt/wire.ts'
import { XdrWriter } from '../../../agent/libvirt/xdr.ts'

const domain: LibvirtDomain = { name: 'db1', uuid: '12345678-9abc-def0-1234-56789abcdef0', id: 3 }
const begun = (): XdrWriter => writeDomain(new XdrWriter().i32(1), domain)

test.each([
  [318, begun().i32(5).i32(3), { kind: 'lifecycle', domain, event: 'stopped', detail: 'migrated' }],
  [318, begun().i32(40).i32(3), { kind: 'lifecycle', domain, event: 'unknown', detail: 'other' }],
  [
    324,
    begun().string('/a.qcow2').string('virtio-disk0').i32(1).string('enospc'),
    { kind: 'io-error', domain, path: '/a.qcow2', device: 'virtio-disk0', action: 'pause', reason: 'enospc' },
  ],
  [
    339,
    begun().string('vda').i32(4).i32(3),
    { kind: 'block-job', domain, disk: 'vda', job: 'active-commit', state: 'ready' },
  ],
  [348, begun().i32(1).i32(2), { kind: 'agent', domain, connected: true }],
  [348, begun().i32(2).i32(2), { kind: 'agent', domain, connected: false }],
  [359, begun().i32(4), { kind: 'migration-iteration', domain, iteration: 4 }],
  [
    385,
    begun()
      .string('vda[1]')
      .optionalString(null)
      .u64(10n)
      .u64(2n ** 63n),
    { kind: 'block-threshold', domain, device: 'vda[1]', path: null, threshold: 10n, excess: 2n ** 63n },
  ],
])('an event of procedure %d', (procedure, bytes, event) => {
  expect(readEvent(procedure, bytes.bytes())).toEqual(event)
})

test('the end of a job carries how it went', () => {
  const bytes = begun()
  const values: Array<[string, () => void]> = [
    ['operation', () => void bytes.i32(1).i32(9)],
    ['disk_temp_used', () => void bytes.i32(4).u64(65_536n)],
    ['success', () => void bytes.i32(6).i32(0)],
    ['errmsg', () => void bytes.i32(7).string('no space')],
  ]
  bytes.list(values, ([name, write]) => {
    bytes.string(name)
    write()
  })
  expect(readEvent(363, bytes.bytes())).toMatchObject({
    kind: 'job-completed',
    domain,
    job: { type: 'completed', operation: 'backup', scratchUsed: 65_536, success: false, errorMessage: 'no space' },
  })
})

test.each([
  [999, begun(), /not asked for/],
  [318, begun().i32(5), /too early/],
  [318, begun().i32(5).i32(3).i32(0), /goes on/],
  [363, begun().u32(1).string('x').i32(99), /unknown type 99/],
])('a broken event of procedure %d is refused', (procedure, bytes, why) => {
  expect(() => readEvent(procedure, bytes.bytes())).toThrow(
    expect.objectContaining({ code: 'LIBVIRT_PROTOCOL', message: expect.stringMatching(why) }),
  )
})

test('each event is asked for once', () => {
  expect(new Set(EVENT_NUMBERS).size).toBe(EVENT_NUMBERS.length)
})
