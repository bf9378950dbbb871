// The keys of a machine that is off: formats, names, and which machines are the same.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { parseConfig } from '../../../../agent/config.ts'
import { addressOf, keys, keysOf } from '../../../../agent/drivers/offline/keys.ts'

const schema = v.strictObject(keys)
const disks = [{ name: 'vda', path: '/srv/a.qcow2' }]

test('a disk is qcow2 where it says so or is called so, and raw in any other case', () => {
  const own = {
    disks: [
      ...disks,
      { name: 'vdb', path: '/dev/vg/b' },
      { name: 'vdc', path: '/srv/c.img', format: 'qcow2' },
      { name: 'vdd', path: '/srv/d.qcow2', format: 'raw' },
    ],
  }
  expect(v.is(schema, own)).toBe(true)
  expect(keysOf({ keys: own }).disks.map(({ format }) => format)).toEqual(['qcow2', 'raw', 'qcow2', 'raw'])
})

test('no disk, one name or one path twice, a relative path, and unknown snapshots are refused', () => {
  for (const wrong of [
    { disks: [] },
    { disks: [...disks, { name: 'vda', path: '/srv/b.qcow2' }] },
    { disks: [...disks, { name: 'vdb', path: '/srv//a.qcow2' }] },
    { disks: [{ name: 'vda', path: 'a.qcow2' }] },
    { disks: [{ name: 'vda', path: '/srv/a', format: 'vmdk' }] },
    { disks, snapshot: 'btrfs' },
    { disks, snapshot: 'lvm', snapshot_size: 'big' },
  ])
    expect(v.is(schema, wrong), JSON.stringify(wrong)).toBe(false)
  expect(v.is(schema, { disks, snapshot: 'lvm', snapshot_size: '20%' })).toBe(true)
})

test('two machines have one address where they have the same disks, in whatever order', () => {
  const other = { name: 'vdb', path: '/srv/b.qcow2' }
  expect(addressOf({ disks: [...disks, other] })).not.toBe(addressOf({ disks }))
  expect(addressOf({ disks })).toBe(addressOf({ disks: [{ name: 'x', path: '/srv/./a.qcow2' }] }))
})

test('the configuration names the key that is wrong', () => {
  const parse = (keys: string) => parseConfig('agent.toml', `gateway = "wss://g:1"\n[[machine]]\nname = "a"\n${keys}`)
  const disk = 'disks = [{ name = "vda", path = "/a" }]\n'
  for (const [text, expected] of [
    [`${disk}snapshot = "command"`, /snapshot: needs snapshot_command/u],
    [`${disk}snapshot_command = "/x"`, /snapshot_command: needs snapshot = "command"/u],
    [`${disk}snapshot_size = "2G"`, /snapshot_size: needs snapshot = "lvm"/u],
    ['disks = [{ name = "vda", path = "/a" }, { name = "vda", path = "/b" }]', /disks: disks with a name each/u],
    [`qmp = "/x"\n${disk}snapshot = "lvm"`, /unknown key "snapshot"/u],
  ] as const)
    expect(() => parse(text), text).toThrow(expected)
  expect(parse(`${disk}snapshot = "lvm"\nsnapshot_size = "2G"`).machines).toMatchObject([{ driver: 'offline' }])
  expect(parse(`qmp = "/x"\n${disk}`).machines).toMatchObject([{ driver: 'qmp', address: '/x' }])
})
