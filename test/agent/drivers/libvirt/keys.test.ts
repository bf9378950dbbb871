// A machine's keys. Goal: what is wrong in the configuration is said with a way out, and one machine has one address. Method: a
// table.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { addressOf, isUuid, keys, keysOf, uuidText } from '../../../../agent/drivers/libvirt/keys.ts'

const UUID = '12345678-9ABC-def0-1234-56789abcdef0'

const faultOf = (own: object): string | undefined => v.safeParse(v.object(keys), own).issues?.[0]?.message

test('a domain has libvirt’s own uri unless another is given', () => {
  expect(keysOf({ keys: { domain: 'db1' } })).toEqual({ domain: 'db1', uri: 'qemu:///system' })
  expect(addressOf({ domain: 'db1' })).toBe('qemu:///system db1')
  expect(addressOf({ domain: 'db1', uri: 'qemu:///session?socket=/s' })).toBe('qemu:///session?socket=/s db1')
})

test('a uuid is one address in whatever letters', () => {
  expect(isUuid(UUID)).toBe(true)
  expect(isUuid('db1')).toBe(false)
  expect(addressOf({ domain: UUID })).toBe(addressOf({ domain: UUID.toLowerCase() }))
  expect(addressOf({ domain: 'DB1' })).not.toBe(addressOf({ domain: 'db1' }))
})

test.each([
  [{ domain: '' }, /length/],
  [{ domain: 'a/b' }, /name or uuid/],
  [{ domain: 'a\nb' }, /name or uuid/],
  [{ domain: 'x'.repeat(256) }, /length/],
  [{ domain: 7 }, /string/],
  [{ domain: 'a', uri: 'qemu+ssh://host/system' }, /an agent on each host/],
  [{ domain: 'a', uri: 'xen:///system' }, /takes qemu/],
  [{ domain: 'a', uri: '' }, /takes qemu/],
])('%j is refused', (own, why) => {
  expect(faultOf(own)).toMatch(why)
})

test('a uuid is one address however it is written, as libvirt writes it; a name stays as it is', () => {
  const uuid = 'd23f56e4-51ae-4e75-859a-bb23f7e0759e'
  for (const written of [uuid, uuid.toUpperCase(), uuid.replaceAll('-', '')]) {
    expect(uuidText(written)).toBe(uuid)
    expect(addressOf({ domain: written, uri: 'qemu:///system' })).toBe(`qemu:///system ${uuid}`)
  }
  expect(uuidText('DB1')).toBe('DB1')
})
