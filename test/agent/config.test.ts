// The configuration file: every key, its default, and what is refused with which words.
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { checkGateway, parseConfig, readConfig, RELAY_DEFAULT, STATE_DEFAULT } from '../../agent/config.ts'
import type { VarveError } from '../../protocol/errors.ts'
import { tempFolder } from '../support/temp.ts'
import { failureOf } from './restore/code-of.ts'

const FILE = '/etc/varve/agent.toml'

/** The sentence that a text is refused with. */
const refusal = (text: string): string => {
  try {
    parseConfig(FILE, text)
    return 'accepted'
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' })
    return (error as VarveError).message
  }
}

const GATEWAY = 'gateway = "wss://backup.example:8470"\n'
const machine = (text: string): string => `${GATEWAY}[[machine]]\n${text}\n`

test('has a default for everything but the gateway', () => {
  expect(parseConfig(FILE, GATEWAY)).toEqual({
    gateway: 'wss://backup.example:8470',
    state: STATE_DEFAULT,
    scratch_reserve: 256 * 2 ** 20,
    insecure: false,
    freeze_limit: 10,
    relay: [...RELAY_DEFAULT],
    restore: { folders: [], devices: [] },
    log_level: 'info',
    machines: [],
  })
})

test('takes every key', () => {
  const text = `
    gateway = "ws://backup.example:8470/"
    ca = "/etc/varve/ca.pem"
    state = "/srv/varve"
    insecure = true
    bandwidth = "50 MiB"
    scratch_reserve = "1GiB"
    freeze_limit = 60
    relay = ["query-*", "stop"]
    log_level = "debug"
    [restore]
    folders = ["/srv/restore"]
    devices = ["/dev/vg0/restore-*"]
    [[machine]]
    name = "db1"
    qmp = "/run/qemu/db1.qmp"
    guest_agent = "/run/qemu/db1.qga"
    exclude = ["swap0", "node with spaces"]
    [[machine]]
    name = "web.2"
    qmp = "/run/qemu/web2.qmp"`
  expect(parseConfig(FILE, text)).toEqual({
    gateway: 'ws://backup.example:8470/',
    ca: '/etc/varve/ca.pem',
    state: '/srv/varve',
    insecure: true,
    bandwidth: 50 * 2 ** 20,
    scratch_reserve: 2 ** 30,
    freeze_limit: 60,
    relay: ['query-*', 'stop'],
    restore: { folders: ['/srv/restore'], devices: ['/dev/vg0/restore-*'] },
    log_level: 'debug',
    machines: [
      {
        name: 'db1',
        driver: 'qmp',
        address: '/run/qemu/db1.qmp',
        keys: { qmp: '/run/qemu/db1.qmp', guest_agent: '/run/qemu/db1.qga' },
        exclude: ['swap0', 'node with spaces'],
        attach: [],
      },
      {
        name: 'web.2',
        driver: 'qmp',
        address: '/run/qemu/web2.qmp',
        keys: { qmp: '/run/qemu/web2.qmp' },
        exclude: [],
        attach: [],
      },
    ],
  })
})

describe('is refused with the file and the key', () => {
  const cases: readonly [string, string, string][] = [
    ['"gateway" is missing', '', 'no gateway'],
    ['gateway: ', 'gateway = 5', 'a number'],
    ['gateway: ', 'gateway = "https://backup.example"', 'another scheme'],
    ['gateway: ', 'gateway = "wss://backup.example/path"', 'a path'],
    ['gateway: ', 'gateway = "wss://[::1"', 'no address'],
    ['ca: ', `${GATEWAY}ca = "ca.pem"`, 'a relative path'],
    ['state: ', `${GATEWAY}state = ""`, 'an empty path'],
    ['insecure: ', `${GATEWAY}insecure = "yes"`, 'a text for a switch'],
    ['bandwidth: ', `${GATEWAY}bandwidth = 1000`, 'a size without a unit'],
    ['bandwidth: ', `${GATEWAY}bandwidth = "50 MB"`, 'a unit that is not known'],
    ['bandwidth: ', `${GATEWAY}bandwidth = "0 KiB"`, 'no bandwidth at all'],
    ['scratch_reserve: ', `${GATEWAY}scratch_reserve = "-1 MiB"`, 'a negative size'],
    ['freeze_limit: ', `${GATEWAY}freeze_limit = 0`, 'too short a limit'],
    ['freeze_limit: ', `${GATEWAY}freeze_limit = 61`, 'too long a limit'],
    ['freeze_limit: ', `${GATEWAY}freeze_limit = 1.5`, 'half a second'],
    ['relay: ', `${GATEWAY}relay = "query-status"`, 'a text for a list'],
    ['log_level: ', `${GATEWAY}log_level = "loud"`, 'no such level'],
    ['unknown key "bandwith"; did you mean "bandwidth"?', `${GATEWAY}bandwith = "1 MiB"`, 'a misspelt key'],
    ['"name" is missing in [[machine]] 1', machine('qmp = "/a"'), 'a machine without a name'],
    ['[[machine]] 1 ("a b"), name: ', machine('name = "a b"\nqmp = "/a"'), 'a name with a space'],
    ['[[machine]] 1 ("../x"), name: ', machine('name = "../x"\nqmp = "/a"'), 'a name that is a path'],
    ['"qmp" is missing in [[machine]] 1 ("a")', machine('name = "a"'), 'a machine without a socket'],
    [
      '[[machine]] 1 ("a"), qmp: must be an absolute path, not "a.qmp"',
      machine('name = "a"\nqmp = "a.qmp"'),
      'a relative socket',
    ],
    [
      '[[machine]] 1 ("a"), guest_agent: must be a text, not false',
      machine('name = "a"\nqmp = "/a"\nguest_agent = false'),
      'a switch for a socket',
    ],
    [
      '[[machine]] 1 ("a"), fleecing: ',
      machine('name = "a"\nqmp = "/a"\nfleecing = "maybe"'),
      'no such way to keep old blocks',
    ],
    [
      '[[machine]] 1 ("a"), exclude, entry 2: must be a text, not 5',
      machine('name = "a"\nqmp = "/a"\nexclude = ["x", 5]'),
      'a number for a disk',
    ],
    [
      'unknown key "guest-agent" in [[machine]] 1 ("a"); did you mean "guest_agent"?',
      machine('name = "a"\nqmp = "/a"\nguest-agent = "/b"'),
      'a misspelt key of a machine',
    ],
  ]

  test.each(cases)('%s: %3$s', (key, text) => {
    const sentence = refusal(text)
    expect(sentence.startsWith(`${FILE}: ${key}`)).toBe(true)
  })

  test('when it is no TOML', () => {
    expect(refusal('gateway = wss://x')).toMatch(
      /^\/etc\/varve\/agent\.toml: .*line|^\/etc\/varve\/agent\.toml: Invalid/u,
    )
  })

  test('when two machines have one name, or one socket however it is written', () => {
    const two = (one: string, other: string): string => refusal(`${machine(one)}[[machine]]\n${other}`)
    expect(two('name = "a"\nqmp = "/a"', 'name = "a"\nqmp = "/b"')).toBe(`${FILE}: "a" is listed twice`)
    expect(two('name = "a"\nqmp = "/run/a"', 'name = "b"\nqmp = "/run//x/../a"')).toContain('"/run/a" is listed twice')
  })
})

describe('an address', () => {
  test.each(['ws://127.0.0.1:1', 'ws://127.9.9.9:1', 'ws://localhost:1', 'ws://[::1]:1', 'wss://any.example'])(
    '%s is taken',
    (gateway) => {
      checkGateway(FILE, gateway, false)
    },
  )

  test.each([
    'ws://backup.example',
    'ws://10.0.0.1:8470',
    'ws://127.0.0.1.example',
    'ws://[::2]:1',
    'ws://localhost.example',
  ])('%s is refused unless it was said that the line may be read', (gateway) => {
    expect(() => checkGateway(FILE, gateway, false)).toThrow(/is not encrypted.*insecure = true/u)
    checkGateway(FILE, gateway, true)
  })

  test.each([
    'http://127.0.0.1',
    'https://backup.example',
    'backup.example:8470',
    'wss://',
    'wss://[::1',
    'file:///etc',
  ])('%s is no address of a gateway', (gateway) => {
    expect(() => checkGateway('--gateway', gateway, true)).toThrow(
      /^--gateway: .*"wss?:\/\/[\w.:]+"|^--gateway: must be an address such as/u,
    )
  })
})

test('a file that is missing or cannot be read is named', async () => {
  await using temp = await tempFolder()
  expect(await failureOf(readConfig(temp.join('none.toml')))).toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/none\.toml: there is no such file.*--help/u),
  })
  expect((await failureOf(readConfig(temp.path)))?.message).toContain(temp.path)
  await writeFile(temp.join('agent.toml'), GATEWAY)
  expect((await readConfig(temp.join('agent.toml'))).gateway).toBe('wss://backup.example:8470')
})

test('paths that no UNIX socket can have, or that leave no room, are refused with the limit', () => {
  const long = `/${'x'.repeat(107)}`
  expect(refusal(machine(`name = "db1"\nqmp = "${long}"`))).toMatch(
    /machine\]\] 1 \("db1"\), qmp: .*at most 107 bytes/u,
  )
  expect(refusal(machine(`name = "db1"\nqmp = "/q"\nguest_agent = "${long}"`))).toMatch(/guest_agent: .*107 bytes/u)
  expect(refusal(machine(`name = "db1"\nqmp = "${long.slice(1).replace('x', '/')}"`))).toBe('accepted')
  expect(refusal(`${GATEWAY}state = "/${'y'.repeat(1024)}"`)).toMatch(/state: .*at most 1024/u)
})
