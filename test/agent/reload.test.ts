// What is taken of a configuration that was read again, by known cases; and a running agent that SIGHUP does not end.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parseConfig, type AgentConfig } from '../../agent/config.ts'
import { planReload } from '../../agent/reload.ts'
import { eventually } from '../support/temp.ts'
import { startCommand, startStand } from './commands/stand.ts'

const machine = (name: string, more = ''): string => `[[machine]]\nname = "${name}"\nqmp = "/run/${name}"\n${more}`
const config = (machines: string, more = ''): AgentConfig =>
  parseConfig('test', `gateway = "wss://x"\n${more}${machines}`)
const idle = (): boolean => false

const names = (machines: readonly { readonly name: string }[]): string[] => machines.map(({ name }) => name)

test('nothing changed is nothing done', () => {
  const now = config(machine('a'))
  const plan = planReload(now, config(machine('a')), idle)
  expect(plan).toMatchObject({ started: [], stopped: [], reconnects: false, taken: [], later: [] })
  expect(plan.config).toEqual(now)
})

test('machines come and go, and change', () => {
  const now = config(machine('a') + machine('b') + machine('c'))
  const read = config(machine('a', 'exclude = ["x"]\n') + machine('c').replace('/run/c', '/run/other') + machine('d'))
  const plan = planReload(now, read, idle)
  expect(names(plan.config.machines)).toEqual(['a', 'c', 'd'])
  expect(plan.config.machines[0]?.exclude).toEqual(['x'])
  expect([names(plan.started), names(plan.stopped)]).toEqual([
    ['c', 'd'],
    ['b', 'c'],
  ])
  expect(plan.reconnects).toBe(false)
  expect(plan.taken).toEqual(['machine a', 'machine b', 'machine c', 'machine d'])
})

test('a machine of which a backup runs stays as it is, and nobody takes its monitor over', () => {
  const now = config(machine('a') + machine('b'))
  const read = config(machine('b', 'exclude = ["x"]\n') + machine('c').replace('/run/c', '/run/a'))
  const plan = planReload(now, read, () => true)
  expect(plan.config.machines).toEqual(now.machines)
  expect([plan.started, plan.stopped, plan.reconnects]).toEqual([[], [], false])
  expect(plan.later).toEqual([
    'machine a: after its backup',
    'machine b: after its backup',
    'machine c: after the backup of the machine that it replaces',
  ])
})

test('what is looked at once needs a restart, and stays; the authority, relayed commands and the log’s level do not', () => {
  const now = config('')
  const read = parseConfig(
    'test',
    'gateway = "wss://y"\nstate = "/s"\nfreeze_limit = 5\nca = "/ca"\nrelay = ["stop"]\nlog_level = "debug"\n',
  )
  const plan = planReload(now, read, idle)
  expect(plan.taken).toEqual(['ca', 'relay', 'log_level'])
  expect(plan.later).toEqual(['gateway: after a restart', 'state: after a restart', 'freeze_limit: after a restart'])
  expect(plan.config).toEqual({ ...now, ca: '/ca', relay: ['stop'], log_level: 'debug' })
  expect(plan.reconnects).toBe(true)
})

test('a running agent takes new machines on SIGHUP, tells the gateway, and goes on where the file is wrong', async () => {
  await using stand = await startStand()
  const file = stand.config[1]
  const text = (...machines: readonly string[]): string =>
    `gateway = "${stand.gateway.url}"\nstate = "${stand.temp.join('state')}"\n` +
    machines.map((name) => `[[machine]]\nname = "${name}"\nqmp = "${stand.temp.join(name)}"\n`).join('')
  await writeFile(file, text('db1'))
  const { child, ended } = startCommand('run', ...stand.config)
  let log = ''
  child.stderr!.on('data', (part: string) => void (log += part))
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const known = async (): Promise<string[]> =>
    (await owner.call('machines.list', {})).machines.filter(({ online }) => online).map(({ name }) => name)
  await eventually(async () => (await known()).includes('db1'))
  await writeFile(file, text('db1', 'db2'))
  child.kill('SIGHUP')
  await eventually(async () => (await known()).includes('db2'))
  const status = await owner.call('machines.status', { machine: 'db2' })
  expect(status.problem).toContain(stand.temp.join('db2'))
  await writeFile(file, 'gatewy = "x"\n')
  child.kill('SIGHUP')
  await eventually(() => log.includes('the previous one stays'))
  expect(log).toContain('did you mean \\"gateway\\"?')
  await writeFile(file, text('db2'))
  child.kill('SIGHUP')
  await eventually(async () => {
    const answer = await owner.call('machines.status', { machine: 'db1' }).catch((error: Error) => error.message)
    return typeof answer === 'string' && answer.includes('no machine "db1"')
  })
  child.kill('SIGTERM')
  expect((await ended).code).toBe(0)
})
