// What commands say while gateway or agent is away, and that none of them waits for ever: real sockets that do not answer well.
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { Peer } from '../../../protocol/peer.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { eventually } from '../../support/temp.ts'
import { startGateway } from '../../support/gateway.ts'
import { backUp, command, startCommand, startStand, type Stand } from './stand.ts'

/** A configuration of the stand's agent with another gateway. */
const configFor = async (stand: Stand, gateway: string): Promise<readonly [string, string]> => {
  const file = stand.temp.join(`agent-${gateway.replaceAll(/\W/gu, '-')}.toml`)
  const machine = `[[machine]]\nname = "db1"\nqmp = "${stand.temp.join('qmp')}"\n`
  await writeFile(file, `gateway = "${gateway}"\nstate = "${stand.temp.join('state')}"\n${machine}`)
  return ['--config', file]
}

/** A port on which each connection meets this. */
const portOf = async (onSocket: (socket: Socket) => void): Promise<{ port: number; server: Server; end(): void }> => {
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const end = (): void => {
    for (const socket of open) socket.destroy()
    server.close()
  }
  return { port: (server.address() as AddressInfo).port, server, end }
}

const COMMANDS = [
  ['machines'],
  ['status'],
  ['points'],
  ['forget', 'db1'],
  ['backup', 'db1'],
  ['restore', '0192'],
] as const

/** What the gateway has heard from the agent before these it has told the command. */
const started = async (agent: Peer): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await agent.call('machines.list', {})
}

const restoreArgs = (stand: Stand, args: readonly string[]): readonly string[] =>
  args[0] === 'restore' ? [...args, '--disk', 'vda', '--to', stand.temp.join('out.raw')] : args

test.each([
  ['takes connections and never answers', 'ws'],
  ['takes connections and never answers', 'wss'],
])('a port that %s (%s) ends every command with 3 once its timeout is over', async (_, scheme) => {
  await using stand = await startStand()
  const hole = await portOf(() => {})
  const config = await configFor(stand, `${scheme}://127.0.0.1:${hole.port}`)
  // a running agent has the state folder, so that forget asks the gateway
  await using running = startRun(stand)
  await running.locked()
  const all = COMMANDS.map((args) => command(...restoreArgs(stand, args), '--timeout', '1s', ...config))
  for (const { code, stdout, stderr } of await Promise.all(all)) {
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr).toContain(`127.0.0.1:${hole.port} did not answer within 1 s (CONNECTION_LOST)`)
  }
  hole.end()
})

/** The agent's own program, which holds its state folder. */
const startRun = (stand: Stand): AsyncDisposable & { locked(): Promise<void> } => {
  const { child, ended } = startCommand('run', ...stand.config)
  return {
    locked: async () => {
      const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
      await eventually(async () => (await owner.call('machines.list', {})).machines[0]?.online === true)
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

test('with nobody there, commands that look end at once; those that work say what they wait for, and give up', async () => {
  await using stand = await startStand()
  const gone = await portOf(() => {})
  gone.end()
  const config = await configFor(stand, `ws://127.0.0.1:${gone.port}`)
  const looks = COMMANDS.slice(0, 3).map((args) => command(...args, ...config))
  for (const { code, stderr } of await Promise.all(looks)) {
    expect(code).toBe(3)
    expect(stderr).toMatch(
      /^varve-agent: cannot reach ws:.*does the gateway run.*\(ECONNREFUSED\) \(CONNECTION_LOST\)\n$/u,
    )
  }
  const works = COMMANDS.slice(4).map((args) =>
    command(...restoreArgs(stand, args), '--timeout', '2s', '--json', ...config),
  )
  for (const { code, stdout, stderr } of await Promise.all(works)) {
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CONNECTION_LOST', exit: 3 } })
    expect(stderr).toMatch(/^varve-agent: waiting for the gateway: cannot reach ws:.*\(ECONNREFUSED\)\n/u)
    expect(stderr).toMatch(/gave up waiting for the gateway after 2 s: .*\(ECONNREFUSED\) \(CONNECTION_LOST\)\n$/u)
    // the place once in each sentence
    for (const line of stderr.trimEnd().split('\n')) expect(line.split('ws://')).toHaveLength(2)
  }
})

test('what no waiting mends ends at once, whatever the timeout', async () => {
  await using stand = await startStand()
  const web = await portOf((socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n')),
  )
  const config = await configFor(stand, `ws://127.0.0.1:${web.port}`)
  const { code, stderr } = await command('backup', 'db1', '--timeout', '1d', ...config)
  expect(code).toBe(3)
  expect(stderr).toMatch(/^varve-agent: ws:\S+ answered HTTP 404, which no gateway does.*\n$/u)
  web.end()
})

test('a name without an address, and one that cannot be a duration', async () => {
  await using stand = await startStand()
  const config = await configFor(stand, 'wss://no-such-host.invalid:1')
  const { code, stderr } = await command('points', ...config)
  expect(code).toBe(3)
  expect(stderr).toContain('no-such-host.invalid:1')
  for (const text of ['5', 'soon', '-1s', '']) {
    const wrong = await command('points', '--timeout', text, ...config)
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toContain('is not a duration such as 90s')
  }
})

test('a backup says that the gateway went and came back, and ends well', async () => {
  await using stand = await startStand()
  const ordered = Promise.withResolvers<void>()
  const peer = await stand.serve({
    'agent.backup': async () => {
      ordered.resolve()
      return {}
    },
  })
  const { ended, child } = startCommand('backup', 'db1', ...stand.config)
  let said = ''
  child.stderr!.on('data', (text: string) => void (said += text))
  await ordered.promise
  await started(peer)
  const { port } = stand.gateway
  await stand.gateway[Symbol.asyncDispose]()
  await eventually(() => said.includes('waiting for the gateway: '))
  await using again = await startGateway({ folder: stand.temp.join('data'), port })
  await eventually(() => said.includes('is back'))
  const owner = await again.connectAs(await again.tokenFor('owner'))
  const [job] = (await owner.call('jobs.list', { machine: 'db1', limit: 1 })).jobs
  await owner.call('jobs.cancel', { job: job!.id })
  const { code, stderr } = await ended
  expect([code, stderr]).toEqual([130, expect.stringContaining('(CANCELLED)')])
})

test('a backup whose agent goes says so, and with a timeout leaves the job alone and ends with 3', async () => {
  await using stand = await startStand()
  const ordered = Promise.withResolvers<void>()
  const peer: Peer = await stand.serve({
    'agent.backup': async () => {
      ordered.resolve()
      return {}
    },
  })
  const { ended } = startCommand('backup', 'db1', '--timeout', '11s', ...stand.config)
  await ordered.promise
  await started(peer)
  peer.close(new VarveError('CANCELLED', 'away'))
  const { code, stderr } = await ended
  expect(code).toBe(3)
  expect(stderr).toContain('waiting for the agent of db1: it is not connected; the backup continues when it is back')
  // longer than the gateway takes to repeat the job's state, which says nothing of the agent
  expect(stderr).not.toContain('the agent of db1 is back')
  expect(stderr).toMatch(/gave up waiting for the agent of db1 .*; backup [0-9a-f]{8} continues on its own/u)
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  expect((await owner.call('jobs.list', { machine: 'db1', limit: 1 })).jobs).toMatchObject([{ state: 'running' }])
})

test('--timeout waits for an agent that is not there yet, --wait too', async () => {
  await using stand = await startStand()
  const late = await command('backup', 'db1', '--timeout', '1s', ...stand.config)
  expect(late.code).toBe(3)
  expect(late.stderr).toMatch(/waiting for the agent of db1: the gateway has not heard of db1/u)
  expect(late.stderr).toMatch(/gave up waiting for the agent of db1.*\(AGENT_OFFLINE\)\n$/u)
  const { ended, child } = startCommand('backup', 'db1', '--timeout', '5m', ...stand.config)
  let said = ''
  child.stderr!.on('data', (text: string) => void (said += text))
  await eventually(() => said.includes('waiting for the agent of db1'))
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      await backUp(peer, stand.temp, order, Buffer.alloc(65_536, 1))
      return {}
    },
  })
  const { code, stderr } = await ended
  expect(code).toBe(0)
  expect(stderr).toContain('the agent of db1 is back')
})

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s says what became of the backup', async (signal) => {
  await using stand = await startStand()
  const ordered = Promise.withResolvers<void>()
  const peer: Peer = await stand.serve({
    'agent.backup': async () => {
      ordered.resolve()
      return {}
    },
    'agent.cancel': async ({ job }) => {
      void peer.call('backup.released', { job })
      return {}
    },
  })
  const { child, ended } = startCommand('backup', 'db1', ...stand.config)
  await ordered.promise
  await started(peer)
  child.kill(signal)
  const { code, stdout, stderr } = await ended
  expect({ code, stdout }).toEqual({ code: 130, stdout: '' })
  expect(stderr).toMatch(
    /interrupted by SIG[A-Z]+: backup [0-9a-f]{8} was cancelled and the machine released \(CANCELLED\)\n$/u,
  )
})
