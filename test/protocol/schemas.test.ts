// Shared schemas: what each lets through and what it refuses.
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import * as s from '../../protocol/schemas.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'

const cases: readonly {
  readonly name: string
  readonly schema: v.GenericSchema
  readonly good: readonly unknown[]
  readonly bad: readonly unknown[]
}[] = [
  {
    name: 'count',
    schema: s.count,
    good: [0, 1, 2 ** 53 - 1],
    bad: [-1, 0.5, 2 ** 53, Number.NaN, Infinity, '1', null, 1n],
  },
  {
    name: 'uuid',
    schema: s.uuid,
    good: [UUID, UUID.toUpperCase()],
    bad: [`${UUID}\n`, ` ${UUID}`, UUID.slice(1), '', null],
  },
  {
    name: 'idPrefix',
    schema: s.idPrefix,
    good: [UUID, '0192', UUID.slice(0, 9), '0192AAAA'],
    bad: ['019', 'xyz1', `${UUID}0`, '%019', ''],
  },
  {
    name: 'name',
    schema: s.name,
    good: ['db1', 'a', 'A.b_c-d', '9', 'a'.repeat(63)],
    bad: ['', '.hidden', '-x', '_x', 'a b', 'a/b', 'é', 'a\n', 'a'.repeat(64), 'a\u0000b', null],
  },
  {
    name: 'diskName',
    schema: s.diskName,
    good: ['vda', '#block123', '/machine/peripheral/x', 'ü', 'a'.repeat(255)],
    bad: ['', 'a\u0000', '\u001b[31m', 'a\u007f', 'a\u0085', 'line\nline', 'a'.repeat(256), 5],
  },
  {
    name: 'id32',
    schema: s.id32,
    good: [new Uint8Array(32), Buffer.alloc(32)],
    bad: [new Uint8Array(31), new Uint8Array(33), 'a'.repeat(32), Array.from({ length: 32 }, () => 0), null],
  },
  {
    name: 'bytesUpTo',
    schema: s.bytesUpTo(4),
    good: [new Uint8Array(0), new Uint8Array(4)],
    bad: [new Uint8Array(5), [], ''],
  },
  { name: 'root', schema: s.root, good: [null, new Uint8Array(32)], bad: [undefined, new Uint8Array(0)] },
  { name: 'diskBytes', schema: s.diskBytes, good: [0, 2 ** 48], bad: [2 ** 48 + 1, -512] },
  { name: 'note', schema: s.note, good: [null, '', 'a'.repeat(1024)], bad: ['a'.repeat(1025), 1] },
  {
    name: 'policy',
    schema: s.policy,
    good: [
      s.POLICY_DEFAULT,
      { consistency: 'freeze-required', refuseFull: ['bitmap-missing'] },
      { consistency: 'none', refuseFull: [], refuseLeftOut: ['unplugged', 'excluded'], compareDays: 1 },
      { consistency: 'none', refuseFull: [], compareDays: s.COMPARE_DAYS_MAX },
      { consistency: 'none', refuseFull: [], compareDays: null },
    ],
    bad: [
      {},
      { consistency: 'maybe', refuseFull: [] },
      { consistency: 'none', refuseFull: ['because'] },
      { consistency: 'none', refuseFull: [], refuseLeftOut: ['because'] },
      ...[0, -1, 0.5, s.COMPARE_DAYS_MAX + 1, '30d'].map((compareDays) => ({ ...s.POLICY_DEFAULT, compareDays })),
    ],
  },
  {
    name: 'leftOut',
    schema: s.leftOut,
    good: [
      [],
      [{ name: 'cd', reason: 'read-only' }],
      Array.from({ length: 512 }, () => ({ name: 'cd', reason: 'excluded' })),
    ],
    bad: [
      [{ name: 'cd', reason: 'because' }],
      [{ name: '', reason: 'excluded' }],
      Array.from({ length: 513 }, () => ({ name: 'cd', reason: 'excluded' })),
    ],
  },
  { name: 'evidence', schema: s.evidence, good: ['', 'qcow2\nraw /base.raw 5'], bad: ['a'.repeat(4097), null] },
  { name: 'configuration', schema: s.configuration, good: ['', '{}'], bad: ['a'.repeat(64 * 1024 + 1), {}] },
  { name: 'page limit', schema: s.page.limit, good: [1, 250, undefined], bad: [0, 251] },
  {
    name: 'page after',
    schema: s.page.after,
    good: [null, undefined, 'aZ0-_'],
    bad: ['', 'a+b', 'a'.repeat(2049), 7],
  },
  { name: 'disks', schema: s.disks(s.count), good: [[], [1, 2]], bad: [Array.from({ length: 257 }, () => 1), 1] },
]

describe.each(cases)('$name', ({ schema, good, bad }) => {
  test('lets good values through', () => {
    for (const value of good) expect(v.safeParse(schema, value).success, String(value)).toBe(true)
  })

  test('refuses the others', () => {
    for (const value of bad) expect(v.safeParse(schema, value).success, String(value)).toBe(false)
  })
})

test('unknown fields are left out, not refused', () => {
  expect(v.parse(s.failure, { code: 'A', message: 'b', later: 1 })).toEqual({ code: 'A', message: 'b' })
})

test('ids are the same in either case', () => {
  expect(v.parse(s.uuid, UUID.toUpperCase())).toBe(UUID)
  expect(v.parse(s.idPrefix, '0192AAAA')).toBe('0192aaaa')
})
