// Uris. Goal: every uri that libvirt knows and Varve does not is refused with a sentence. Method: a table.
import { expect, test } from 'vitest'
import { parseLibvirtUri } from '../../../agent/libvirt/uri.ts'

const user = { uid: 1000, runtimeFolder: '/run/user/1000' }

test.each([
  ['qemu:///system', 'qemu:///system', ['/run/libvirt/virtqemud-sock', '/run/libvirt/libvirt-sock']],
  ['qemu+unix:///system', 'qemu:///system', ['/run/libvirt/virtqemud-sock', '/run/libvirt/libvirt-sock']],
  ['qemu:///system?', 'qemu:///system', ['/run/libvirt/virtqemud-sock', '/run/libvirt/libvirt-sock']],
  ['qemu:///system?socket=/a/b', 'qemu:///system', ['/a/b']],
  ['qemu:///session?socket=/a%20b', 'qemu:///session', ['/a b']],
  [
    'qemu:///session',
    'qemu:///session',
    ['/run/user/1000/libvirt/virtqemud-sock', '/run/user/1000/libvirt/libvirt-sock'],
  ],
])('%s', (uri, name, sockets) => {
  expect(parseLibvirtUri(uri, user)).toEqual({ name, sockets })
})

test('a session without XDG_RUNTIME_DIR is looked for where systemd has it', () => {
  expect(parseLibvirtUri('qemu:///session', { uid: 7, runtimeFolder: undefined }).sockets).toEqual([
    '/run/user/7/libvirt/virtqemud-sock',
    '/run/user/7/libvirt/libvirt-sock',
  ])
})

test.each([
  ['qemu+ssh://host/system', /an agent on each host/],
  ['qemu://host/system', /an agent on each host/],
  ['lxc:///system', /takes qemu:\/\/\/system and qemu:\/\/\/session/],
  ['', /takes qemu:\/\/\/system/],
  ['qemu:///embed?root=/x', /takes qemu/],
  ['qemu:///system?socket=b', /absolute path/],
  ['qemu:///system?socket=', /absolute path/],
  ['qemu:///system?mode=direct', /other than "socket"/],
  ['qemu:///system?socket=/a&socket=/b', /other than "socket"/],
  [`qemu:///system?socket=/${'x'.repeat(107)}`, /longer than 107 bytes/],
  [`qemu:///system?socket=/${'x'.repeat(2000)}`, /none that Varve reads/],
])('%s is refused', (uri, why) => {
  expect(() => parseLibvirtUri(uri, user)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(why) }),
  )
})

test('root has no session of its own', () => {
  expect(() => parseLibvirtUri('qemu:///session', { uid: 0, runtimeFolder: '/run/user/0' })).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringMatching(/root has none/) }),
  )
  expect(parseLibvirtUri('qemu:///session?socket=/s', { uid: 0, runtimeFolder: undefined }).sockets).toEqual(['/s'])
})
