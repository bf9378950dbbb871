// QMP commands and events through the gateway: the agent's list and the caller's role decide.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { asVarveError } from '../../protocol/errors.ts'
import { KIB } from '../support/model-machine.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

let stand: Stand
let host: Host

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost({ settings: { relay: ['query-*', 'stop'] } })
  await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 64 * KIB }])
  await host.start()
})

afterAll(() => stand[Symbol.asyncDispose]())

const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (thrown: unknown) => asVarveError(thrown).code,
  )

test('an operator runs an allowed command and gets QEMU’s own answer', async () => {
  const peer = await stand.peer('operator')
  const { value } = await peer.call('machines.qmp', { machine: 'db1', command: 'query-name', arguments: '{}' })
  expect(JSON.parse(value)).toEqual({ name: 'test' })
  const status = await peer.call('machines.status', { machine: 'db1' })
  expect(status).toMatchObject({
    reachable: true,
    lease: null,
    target: null,
    problem: null,
    disks: [{ name: 'vda', size: 64 * KIB }],
  })
})

test('a command off the agent’s list never reaches QEMU', async () => {
  const peer = await stand.peer('operator')
  const call = (command: string): Promise<string> =>
    codeOf(peer.call('machines.qmp', { machine: 'db1', command, arguments: '{}' }))
  expect(await call('quit')).toBe('QMP_FORBIDDEN')
  expect(await call('stop-everything')).toBe('QMP_FORBIDDEN')
  expect(await call('human-monitor-command')).toBe('QMP_FORBIDDEN')
  expect(await host.machine('db1').qemu.control.execute('query-name')).toEqual({ name: 'test' })
})

test('QEMU’s own refusal and arguments that are none come back as such', async () => {
  const peer = await stand.peer('operator')
  const call = (args: string): Promise<string> =>
    codeOf(peer.call('machines.qmp', { machine: 'db1', command: 'query-name', arguments: args }))
  expect(await call('{"no-such-argument": 1}')).toBe('QMP_ERROR')
  expect(await call('[1]')).toBe('PARAMS_INVALID')
  expect(await call('{')).toBe('PARAMS_INVALID')
})

test.each(['viewer', 'auditor', 'platform'] as const)(
  'a %s may neither run commands nor follow events',
  async (role) => {
    const peer = await stand.peer(role)
    expect(await codeOf(peer.call('machines.qmp', { machine: 'db1', command: 'query-name', arguments: '{}' }))).toBe(
      'ROLE_FORBIDDEN',
    )
    expect(await codeOf(peer.open('machines.events', { machine: 'db1' }).result)).toBe('ROLE_FORBIDDEN')
  },
)

test('a subscription delivers the machine’s events in order until it is cancelled', async () => {
  const { control } = host.machine('db1').qemu
  await control.execute('cont')
  const peer = await stand.peer('operator')
  const call = peer.open('machines.events', { machine: 'db1' })
  const result = codeOf(call.result)
  const seen: string[] = []
  const reading = (async () => {
    for await (const { event, timeMs } of call.messages) {
      seen.push(event)
      expect(Math.abs(Date.now() - timeMs)).toBeLessThan(60_000)
    }
  })().catch(() => undefined)
  // the subscription is there when an event arrives
  await eventually(async () => {
    await control.execute('stop')
    await control.execute('cont')
    return seen.length > 0
  })
  const states = ['STOP', 'RESUME']
  await eventually(() => seen.length >= 2 && seen.at(-1) === 'RESUME')
  expect(seen).toEqual(seen.map((_, index) => states[(index + (seen[0] === 'STOP' ? 0 : 1)) % 2]))
  call.cancel()
  await reading
  expect(await result).toBe('CANCELLED')
  // an agent whose subscriber is gone still answers
  expect(await codeOf(peer.call('machines.qmp', { machine: 'db1', command: 'stop', arguments: '{}' }))).toBe('none')
})

test('a machine whose agent is away is AGENT_OFFLINE, and its caller’s session stays', async () => {
  const peer = await stand.peer('operator')
  await host.end('SIGTERM')
  const call = (): Promise<string> =>
    codeOf(peer.call('machines.qmp', { machine: 'db1', command: 'query-name', arguments: '{}' }))
  await eventually(async () => (await call()) === 'AGENT_OFFLINE')
  expect(await codeOf(peer.call('machines.list', {}))).toBe('none')
})
