// Which domains [discover] takes up, under which names, and which not.
import { expect, test } from 'vitest'
import { parseConfig, type AgentConfig } from '../../../agent/config.ts'
import { isDomain, withFollowed } from '../../../agent/discover/followed.ts'
import { MACHINES_MAX } from '../../../protocol/limits.ts'

const UUID = '3f2a91c0-9d2e-4c58-8f6a-0b7c61d5e214'
const config = (more: string): AgentConfig => parseConfig('test', `gateway = "wss://x"\n${more}`)
const FOLLOW = '[discover]\nlibvirt = "qemu:///system"\n'
const domain = (name: string, uuid = name): { name: string; uuid: string } => ({ name, uuid })

const taken = (read: AgentConfig, ...names: readonly string[]): unknown =>
  withFollowed(
    read,
    names.map((name) => domain(name)),
  ).config.machines.map(({ name, driver, keys }) => [name, driver, keys['domain']])

test('without [discover] nothing is taken up', () => {
  expect(taken(config(''), 'a')).toEqual([])
})

test('every domain, or those of the patterns', () => {
  expect(taken(config(FOLLOW), 'web 1', 'a')).toEqual([
    ['a', 'libvirt', 'a'],
    ['web-1', 'libvirt', 'web 1'],
  ])
  const some = config(`${FOLLOW}include = ["web-*", "db?"]\nexclude = ["*-test"]\n`)
  expect(taken(some, 'web-1', 'web-test', 'db1', 'db12', 'x')).toEqual([
    ['db1', 'libvirt', 'db1'],
    ['web-1', 'libvirt', 'web-1'],
  ])
})

test('a machine taken up is the same as one that is written down', () => {
  const [followed] = withFollowed(config(FOLLOW), [domain('a')]).config.machines
  expect(followed).toEqual(config('[[machine]]\nname = "a"\ndomain = "a"\n').machines[0])
})

test('a [[machine]] of the domain goes first, by its name or its uuid, of the same libvirt', () => {
  for (const own of ['a', UUID, UUID.toUpperCase(), UUID.replaceAll('-', '')]) {
    const read = config(`${FOLLOW}[[machine]]\nname = "mine"\ndomain = "${own}"\nexclude = ["vdb"]\n`)
    const { machines } = withFollowed(read, [domain('a', UUID)]).config
    expect(machines).toEqual(read.machines)
  }
  const other = config('[[machine]]\nname = "a"\ndomain = "a"\nuri = "qemu:///system?socket=/x"\n').machines[0]!
  expect(isDomain(other, 'qemu:///system', domain('a'))).toBe(false)
})

test('a name that another machine has is not taken, and the sentence says what to do', () => {
  const read = config(`${FOLLOW}[[machine]]\nname = "a"\nqmp = "/run/a"\n`)
  expect(withFollowed(read, [domain('a'), domain('b c'), domain('b-c')])).toMatchObject({
    config: {
      machines: [
        { name: 'a', driver: 'qmp' },
        { name: 'b-c', keys: { domain: 'b-c' } },
      ],
    },
    notTaken: [
      { domain: 'a', reason: expect.stringContaining('another machine has the name a') },
      { domain: 'b c', reason: expect.stringContaining('another machine has the name b-c') },
    ],
  })
})

test('no more than an agent takes', () => {
  const read = config(`${FOLLOW}[[machine]]\nname = "first"\nqmp = "/run/a"\n`)
  const domains = Array.from({ length: MACHINES_MAX + 1 }, (_, at) => domain(`d${at}`))
  const { config: all, notTaken } = withFollowed(read, domains)
  expect(all.machines).toHaveLength(MACHINES_MAX)
  expect(all.machines[0]!.name).toBe('first')
  expect(notTaken).toHaveLength(2)
  expect(notTaken[0]!.reason).toContain(`${MACHINES_MAX} machines at most`)
})
