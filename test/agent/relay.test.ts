// What a gateway may ask of a real machine: allowed commands, events, its state.
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { QmpDriver } from '../../agent/drivers/qmp/qmp-driver.ts'
import { listDisks } from '../../agent/qmp/disks.ts'
import { isAllowed, Relay } from '../../agent/relay.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { RELAY_DEFAULT } from '../../agent/config.ts'
import { VarveError } from '../../protocol/errors.ts'
import type { ServedCall } from '../../protocol/peer.ts'
import { driverHost } from '../support/driver-host.ts'
import { qmpMachine } from '../support/journal-entry.ts'
import { startMachine } from '../support/qemu.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'
import { codeOf, failureOf } from './restore/code-of.ts'
import { peerPair } from './session/peer-pair.ts'

interface Relayed extends AsyncDisposable {
  readonly relay: Relay
}

/** A relay to one machine, "db1". */
const relayTo = async (
  folder: TempFolder,
  qmp: string,
  options: { readonly allowed?: readonly string[]; readonly exclude?: readonly string[] } = {},
): Promise<Relayed> => {
  const driver = new QmpDriver(await driverHost(folder.path))
  const machine = qmpMachine(qmp, { exclude: options.exclude ?? [] })
  driver.attach(machine)
  const { allowed = RELAY_DEFAULT } = options
  const relay = new Relay({
    machines: [machine],
    driverOf: () => driver,
    allowed,
    jobOf: () => null,
    leaseOf: () => null,
  })
  return { relay, [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose]() }
}

test('a rule covers its own command, or with a star all that begin so', () => {
  expect(isAllowed(['query-status'], 'query-status')).toBe(true)
  expect(isAllowed(['query-status'], 'query-status-x')).toBe(false)
  expect(isAllowed(['query-*'], 'query-block')).toBe(true)
  expect(isAllowed(['query-*'], 'quit')).toBe(false)
  expect(isAllowed(['query-*'], 'Query-block')).toBe(false)
  expect(isAllowed(['*'], 'quit')).toBe(true)
  expect(isAllowed([], 'query-status')).toBe(false)
  expect(isAllowed([''], 'query-status')).toBe(false)
})

test('nothing that changes a machine is allowed by default', () => {
  expect(RELAY_DEFAULT.filter((command) => !command.startsWith('query-'))).toEqual([])
})

test('an allowed command gets the answer of the machine, anything else is refused', async () => {
  await using temp = await tempFolder()
  await using machine = await startMachine({ folder: temp.path, disks: [] })
  const allowed = ['query-*', 'cont', 'human-monitor-command']
  await using relayed = await relayTo(temp, machine.qmpPath, { allowed })
  const { relay } = relayed
  const execute = (command: string, text = ''): Promise<{ value: string }> =>
    relay.execute({ machine: 'db1', command, arguments: text })
  expect(JSON.parse((await execute('query-name')).value)).toEqual({ name: 'test' })
  expect(await execute('cont')).toEqual({ value: '{}' })
  expect((await execute('human-monitor-command', '{"command-line":"info version"}')).value).toMatch(/\d+\.\d+/u)
  const forbidden = await failureOf(execute('quit'))
  expect(forbidden?.code).toBe('QMP_FORBIDDEN')
  expect(forbidden?.message).toContain('"relay"')
  expect(await codeOf(execute('query-nonsense'))).toBe('QMP_ERROR')
  for (const text of ['{', '5', 'null', '[]', '"x"'])
    expect(await codeOf(execute('query-name', text))).toBe('PARAMS_INVALID')
  expect(await codeOf(relay.execute({ machine: 'other', command: 'query-name', arguments: '' }))).toBe('NOT_FOUND')
  expect(await machine.control.execute('query-status')).toMatchObject({ status: 'running' })
})

test('the state of a machine names its disks, and its trouble', async () => {
  await using temp = await tempFolder()
  const size = 1024 * 1024
  const disks = [
    { id: 'vda', format: 'qcow2', file: temp.join('a.qcow2'), size },
    { id: 'swap0', format: 'raw', file: temp.join('b.raw'), size },
  ] as const
  await using machine = await startMachine({ folder: temp.path, disks })
  await using relayed = await relayTo(temp, machine.qmpPath, { exclude: ['swap0'] })
  const { relay } = relayed
  expect(await relay.status('db1')).toMatchObject({
    name: 'db1',
    reachable: true,
    hypervisor: expect.stringMatching(/^QEMU \d+\.\d+\.\d+$/u),
    lease: null,
    target: null,
    problem: null,
    disks: [{ name: 'vda', size, format: 'qcow2' }],
  })
  // the filter that a backup puts over an image is not its format
  const { control: client } = machine
  await client.execute('blockdev-add', { driver: 'null-co', 'node-name': 'target', size })
  const node = (await listDisks(client)).disks[0]!.node
  await client.execute('blockdev-backup', { 'job-id': 'job', device: node, target: 'target', sync: 'none' })
  expect((await listDisks(client)).disks[0]!.format).toBe('copy-before-write')
  expect((await relay.status('db1')).disks).toEqual([{ name: 'vda', size, format: 'qcow2' }])
  await machine.kill9()
  const gone = await relay.status('db1')
  expect(gone).toMatchObject({ reachable: false, runState: null, hypervisor: null, disks: [] })
  expect(gone.problem).toContain('QMP')
  expect(await codeOf(relay.status('other'))).toBe('NOT_FOUND')
})

test('events reach a subscriber over the protocol until it has enough', async () => {
  await using temp = await tempFolder()
  await using machine = await startMachine({ folder: temp.path, disks: [] })
  await using relayed = await relayTo(temp, machine.qmpPath)
  const { relay } = relayed
  await eventually(async () => (await relay.status('db1')).reachable)
  const { agent, gateway } = peerPair({}, systemClock, { 'agent.events': (params, call) => relay.events(params, call) })
  const call = gateway.open('agent.events', { machine: 'db1' })
  const seen: string[] = []
  const reading = (async () => {
    for await (const { event, data, timeMs } of call.messages) {
      seen.push(event)
      expect(JSON.parse(data)).toEqual({})
      expect(timeMs).toBeGreaterThan(1.6e12)
    }
  })()
  const failed = codeOf(reading)
  await turn()
  await machine.control.execute('cont')
  await machine.control.execute('stop')
  await eventually(() => seen.length >= 2)
  expect(seen).toEqual(['RESUME', 'STOP'])
  call.cancel()
  expect(await failed).toBe('CANCELLED')
  await machine.control.execute('cont')
  agent.close(new VarveError('CANCELLED', 'done'))
  expect(seen).toHaveLength(2)
})

test('a subscriber that stopped taking events is let go, and no pile of them is kept', async () => {
  await using temp = await tempFolder()
  await using machine = await startMachine({ folder: temp.path, disks: [] })
  await using relayed = await relayTo(temp, machine.qmpPath)
  const { relay } = relayed
  await eventually(async () => (await relay.status('db1')).reachable)
  const abort = new AbortController()
  const stuck = {
    signal: abort.signal,
    send: () => new Promise<void>(() => undefined),
    messages: (async function* () {})(),
  } as unknown as ServedCall<'agent.events'>
  const ended = codeOf(relay.events({ machine: 'db1' }, stuck))
  // each pair of commands makes two events
  for (let at = 0; at < 520; at++) {
    await machine.control.execute('cont')
    await machine.control.execute('stop')
  }
  expect(await ended).toBe('TOO_MANY_REQUESTS')
})
