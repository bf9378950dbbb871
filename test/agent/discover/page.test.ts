// The page to paste: whatever was found, it is a configuration that the agent takes, with exactly the machines to add.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseConfig } from '../../../agent/config.ts'
import { machinesOf, type FoundMachine } from '../../../agent/discover/found-machines.ts'
import type { FoundQemu } from '../../../agent/discover/host-qemus.ts'
import { commentLines, pageLines } from '../../../agent/discover/page.ts'

const NEW = { file: '/etc/varve/agent.toml', hasConfig: false }
const NOTHING = { machines: [], followed: new Set<string>() }

const machine = (change: Partial<FoundMachine> = {}): FoundMachine => ({
  name: 'db1',
  standing: 'new',
  driver: 'qmp',
  keys: { qmp: '/run/db1.qmp' },
  origin: 'QEMU process 7 of user 0',
  uuid: null,
  pid: 7,
  running: true,
  disks: [],
  notes: [],
  ...change,
})

test('what it looks like', () => {
  const page = pageLines(
    [
      machine({ disks: [{ name: 'vda', path: '/srv/a"b.qcow2', format: 'qcow2' }], notes: ['it has no name'] }),
      machine({ name: 'old', standing: 'configured' }),
      machine({ name: 'web', standing: 'unusable', notes: ['another program is connected'] }),
    ],
    NEW,
  )
  expect(page).toEqual([
    '# Found on this host: 3 machines, 1 to add. Save what you want as /etc/varve/agent.toml, with the address of your',
    '#   gateway; then "varve-agent enrol".',
    '',
    'gateway = "wss://backup.example:8470"',
    '',
    '# db1: QEMU process 7 of user 0.',
    '# - It has no name.',
    '[[machine]]',
    'name = "db1"',
    'qmp = "/run/db1.qmp"',
    '# Its disks as it was started with them; with this line it is backed up while it is off, too:',
    '# disks = [{ name = "vda", path = "/srv/a\\"b.qcow2", format = "qcow2" }]',
    '',
    '# old: QEMU process 7 of user 0: already in /etc/varve/agent.toml.',
    '',
    '# web: QEMU process 7 of user 0. Not yet possible:',
    '# - Another program is connected.',
  ])
})

test('below an existing configuration it is only machines', () => {
  const page = pageLines([machine()], { file: '/etc/varve/agent.toml', hasConfig: true }).join('\n')
  expect(page).not.toContain('gateway = ')
  expect(parseConfig('f', `gateway = "wss://a"\n${page}`).machines).toMatchObject([{ name: 'db1' }])
})

test('a text never leaves its comment, and lines have their length', () => {
  expect(commentLines('a\nb\u2028c\r[[machine]]')).toEqual(['# a\\u000ab\\u2028c\\u000d[[machine]]'])
  for (const line of commentLines('word '.repeat(200))) expect(line.length).toBeLessThanOrEqual(118)
})

const path = fc
  .oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('a', 'a.qmp', '"\n[x]', '\\', '\u007f', 'ü'))
  .map((text) => `/${text}`)
const state = fc.constantFrom('free', 'held', 'absent', 'elsewhere', 'forbidden', 'unknown')
const text = fc.option(fc.string({ unit: 'binary' }))

const anything: fc.Arbitrary<FoundQemu> = fc.record({
  pid: fc.nat(),
  uid: fc.option(fc.nat()),
  name: text,
  uuid: text,
  monitors: fc.array(fc.record({ path, state, closed: fc.constant(null) }), { maxLength: 3 }),
  hasHumanMonitor: fc.boolean(),
  guestAgent: fc.option(fc.record({ path, state })),
  disks: fc.array(
    fc.record({
      name: fc.string({ unit: 'binary' }),
      path,
      format: fc.constantFrom('raw' as const, 'qcow2' as const, null),
    }),
  ),
  optionFiles: fc.array(path, { maxLength: 2 }),
  manager: fc.constantFrom(null, { kind: 'libvirt' as const }, { kind: 'proxmox' as const, id: '1' }),
})

test('whatever a process calls itself, the page is a configuration with the machines to add and nothing else', () => {
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 6 }), (qemus) => {
      const machines = machinesOf({ qemus, libvirt: [] }, NOTHING)
      const config = parseConfig('page', pageLines(machines, NEW).join('\n'))
      const added = machines.filter(({ standing }) => standing === 'new')
      expect(config.machines.map(({ name, keys }) => ({ name, ...keys }))).toEqual(
        added.map(({ name, keys }) => ({ name, ...keys })),
      )
      expect({ ...config, machines: [] }).toEqual({
        ...parseConfig('bare', 'gateway = "wss://backup.example:8470"'),
        machines: [],
      })
    }),
    { numRuns: 300 },
  )
})

test('names move no terminal and read as they are written, and are the same ones once pasted', () => {
  const qmp = '/run/\u009b31m\u202emqp.\u200b\u2028\u{e0041}.qmp'
  const page = pageLines(
    [
      machine({
        keys: { qmp },
        notes: [`its name is ${qmp}`],
        disks: [{ name: 'vda', path: qmp, format: 'raw' }],
      }),
    ],
    NEW,
  ).join('\n')
  expect(page).not.toMatch(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u)
  expect(parseConfig('page', page).machines[0]!.keys['qmp']).toBe(qmp)
})
