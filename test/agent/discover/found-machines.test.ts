// What was found, as machines: which can be pasted, which are known, and what is said of the others.
import { expect, test } from 'vitest'
import type { MachineConfig } from '../../../agent/drivers/driver.ts'
import { machinesOf, type FoundDomains, type FoundMachine, type Known } from '../../../agent/discover/found-machines.ts'
import type { FoundMonitor, FoundQemu, SocketState } from '../../../agent/discover/host-qemus.ts'
import { MACHINES_MAX } from '../../../protocol/limits.ts'

const UUID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'
const NOTHING: Known = { machines: [], followed: new Set() }

const monitor = (path: string, state: SocketState = 'free', closed: string | null = null): FoundMonitor => ({
  path,
  state,
  closed,
})

const qemu = (change: Partial<FoundQemu> = {}): FoundQemu => ({
  pid: 7,
  uid: 0,
  name: 'db1',
  uuid: null,
  monitors: [monitor('/run/db1.qmp')],
  hasHumanMonitor: false,
  guestAgent: null,
  disks: [],
  optionFiles: [],
  manager: null,
  ...change,
})

const configured = (name: string, driver: string, keys: Readonly<Record<string, string>>): MachineConfig => ({
  name,
  driver,
  address: Object.values(keys).join(' '),
  keys,
  exclude: [],
  attach: [],
})

const domains = (...names: readonly string[]): FoundDomains => ({
  uri: 'qemu:///system',
  domains: names.map((name, at) => ({
    name,
    uuid: UUID.replace(/^./u, String(at)),
    running: at === 0,
    transient: false,
  })),
})

const only = (one: FoundQemu, known = NOTHING): FoundMachine => machinesOf({ qemus: [one], libvirt: [] }, known)[0]!
const said = (one: FoundQemu): string => {
  const { standing, notes } = only(one)
  return `${standing}: ${notes.join('; ')}`
}

test('a machine whose monitor is free is one to paste, with its guest agent where that is free', () => {
  expect(only(qemu({ guestAgent: { path: '/run/db1.qga', state: 'free' } }))).toMatchObject({
    name: 'db1',
    standing: 'new',
    driver: 'qmp',
    keys: { qmp: '/run/db1.qmp', guest_agent: '/run/db1.qga' },
    notes: [],
  })
  const held = only(qemu({ guestAgent: { path: '/run/db1.qga', state: 'held' } }))
  expect(held.keys).toEqual({ qmp: '/run/db1.qmp' })
  expect(held.notes.join()).toContain('would not be frozen')
})

test('of several monitors the free one is taken', () => {
  const monitors = [
    monitor('/a', 'held'),
    monitor('', 'unknown', 'is no socket (stdio)'),
    monitor('/b', 'forbidden'),
    monitor('/c'),
  ]
  expect(only(qemu({ monitors })).keys).toEqual({ qmp: '/c' })
  expect(only(qemu({ monitors: monitors.slice(0, 3) }))).toMatchObject({ standing: 'new', keys: { qmp: '/b' } })
})

test.each([
  [{ monitors: [monitor('/a', 'held')] }, /serves one client.*-qmp unix:\/run\/varve\/db1\.qmp,server=on,wait=off/u],
  [{ monitors: [monitor('/a', 'absent')] }, /path is relative, or its file was removed/u],
  [{ monitors: [monitor('/a', 'elsewhere')] }, /in a container/u],
  [{ monitors: [monitor('a', 'unknown')] }, /run this as root$/u],
  [
    { monitors: [monitor('', 'unknown', 'is no socket (stdio)')] },
    /its QMP monitor is no socket \(stdio\); start it with/u,
  ],
  [{ monitors: [monitor(`/${'a'.repeat(120)}`)] }, /not fit for the configuration/u],
  [{ monitors: [] }, /it has no QMP monitor; start it/u],
  [{ monitors: [], hasHumanMonitor: true }, /a monitor for people only/u],
  [{ monitors: [], optionFiles: ['/etc/vm.cfg'] }, /further options in \/etc\/vm\.cfg/u],
  [{ manager: { kind: 'libvirt' as const } }, /managed by libvirt, which did not list it/u],
])('what is said of one that cannot be used: %o', (change, sentence) => {
  expect(said(qemu(change))).toMatch(/^unusable/u)
  expect(said(qemu(change))).toMatch(sentence)
})

test('a guest of Proxmox VE is offered by a monitor of its own alone', () => {
  const manager = { kind: 'proxmox' as const, id: '100' }
  const theirs = [monitor('/var/run/qemu-server/100.qmp'), monitor('/var/run/qmeventd.sock', 'unknown', 'connects')]
  expect(said(qemu({ manager, monitors: theirs }))).toMatch(
    /unusable.*qm set 100 --args "-qmp unix:\/run\/varve\/100\.qmp/u,
  )
  const own = only(qemu({ manager, monitors: [...theirs, monitor('/run/varve/100.qmp')] }))
  expect(own).toMatchObject({ standing: 'new', keys: { qmp: '/run/varve/100.qmp' } })
})

test('what the configuration has is marked, by its monitor and whatever its name', () => {
  const known = {
    ...NOTHING,
    machines: [configured('mine', 'qmp', { qmp: '/run/./db1.qmp' }), configured('d', 'libvirt', { domain: 'a' })],
  }
  expect(only(qemu({ monitors: [monitor('/run/db1.qmp', 'held')] }), known)).toMatchObject({
    name: 'mine',
    standing: 'configured',
  })
  const all = machinesOf({ qemus: [], libvirt: [domains('a', 'b')] }, known)
  expect(all.map(({ name, standing }) => [name, standing])).toEqual([
    ['b', 'new'],
    ['d', 'configured'],
  ])
})

test('names that clash get a number, also with those of the configuration; those to paste choose first', () => {
  const known = { ...NOTHING, machines: [configured('web', 'qmp', { qmp: '/run/x' })] }
  const held = qemu({ pid: 1, monitors: [monitor('/h', 'held')] })
  const all = machinesOf(
    { qemus: [held, qemu({ pid: 2 }), qemu({ pid: 3, name: 'web', monitors: [monitor('/w')] })], libvirt: [] },
    known,
  )
  expect(all.map(({ pid, name }) => [pid, name])).toEqual([
    [2, 'db1'],
    [1, 'db1-2'],
    [3, 'web-2'],
  ])
  expect(all[1]!.notes[0]).toContain('is that of another machine')
  expect(only(qemu({ name: 'web 1' })).notes[0]).toContain('"web 1", is not allowed')
  expect(only(qemu({ name: null, monitors: [monitor('/run/vm7.qmp')] })).name).toBe('vm7')
  expect(only(qemu({ name: null, monitors: [monitor('/run/vm7/qmp.sock')] })).name).toBe('machine')
})

test('one monitor is offered once', () => {
  const all = machinesOf({ qemus: [qemu(), qemu({ pid: 8 })], libvirt: [] }, NOTHING)
  expect(all.map(({ standing }) => standing)).toEqual(['new', 'unusable'])
})

test('a QEMU of libvirt is its domain and not offered twice; another libvirt’s uri is a key', () => {
  const libvirt = domains('db1')
  const its = qemu({ manager: { kind: 'libvirt' }, uuid: libvirt.domains[0]!.uuid })
  expect(machinesOf({ qemus: [its], libvirt: [libvirt] }, NOTHING)).toMatchObject([
    { name: 'db1', driver: 'libvirt', standing: 'new', keys: { domain: 'db1' }, running: true },
  ])
  const session = { ...libvirt, uri: 'qemu:///session' }
  expect(machinesOf({ qemus: [], libvirt: [session] }, NOTHING)[0]!.keys).toEqual({
    domain: 'db1',
    uri: 'qemu:///session',
  })
  const followed = {
    machines: [configured('db1', 'libvirt', { domain: 'db1', uri: 'qemu:///system' })],
    followed: new Set(['db1']),
  }
  expect(machinesOf({ qemus: [], libvirt: [libvirt] }, followed)[0]!.standing).toBe('followed')
})

test('no more are offered than an agent takes', () => {
  const names = Array.from({ length: MACHINES_MAX }, (_, at) => `d${at}`)
  const all = machinesOf({ qemus: [qemu()], libvirt: [domains(...names)] }, NOTHING)
  expect(all.filter(({ standing }) => standing === 'new')).toHaveLength(MACHINES_MAX)
  expect(all.find(({ name }) => name === 'db1')!.notes.join()).toContain(`${MACHINES_MAX} machines at most`)
})
