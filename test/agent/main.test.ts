// The program as a person calls it: help, wrong usage, and the exit codes that its help promises.
import { writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { startGateway } from '../support/gateway.ts'
import { eventually, tempFolder } from '../support/temp.ts'
import { command, startCommand, startStand } from './commands/stand.ts'

test('explains itself, and each of its commands', async () => {
  const help = await startCommand('--help').ended
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(help.stdout).toContain('Exit codes:')
  expect(help.stdout).toContain('[[machine]]')
  const commands = [...help.stdout.matchAll(/^ {2}([a-z]+) .*/gmu)].map((match) => match[1]!)
  const own = ['enrol', 'run', 'machines', 'status', 'backup', 'points', 'restore']
  expect(commands).toEqual(expect.arrayContaining(own))
  for (const name of own) {
    const one = await command(name, '--help')
    expect(one).toMatchObject({ code: 0, stderr: '' })
    expect(one.stdout).toContain(`varve-agent ${name}`)
    expect(one.stdout).toContain('--config <file>')
    if (name !== 'run') expect(one.stdout).toContain('--json')
  }
  expect((await command('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/u)
})

test('wrong usage is 2, and prints nothing to standard output', async () => {
  const wrong = [
    [],
    ['nonsense'],
    ['--nonsense'],
    ['backup'],
    ['backup', 'a', 'b'],
    ['points', '--limit', '5'],
    ['enrol', '--gateway', 'wss://x'],
    ['restore', 'abcd', '--disk', 'vda'],
    ['restore', 'abcd', '--disk', 'vda', '--to', 'x', '--format', 'vmdk'],
  ]
  for (const args of wrong) {
    const { code, stdout, stderr } = await command(...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).not.toBe('')
  }
  for (const args of wrong.slice(1)) {
    const { code, stdout } = await command(...args, '--json')
    expect({ code, ...(JSON.parse(stdout) as object) }).toMatchObject({
      code: 2,
      error: { code: expect.stringMatching(/^(?:PARAMS|CONFIG)_INVALID$/u) as string },
    })
  }
})

test('a configuration that is missing or wrong is 2, with its path', async () => {
  await using temp = await tempFolder()
  const missing = temp.join('none.toml')
  const wrong = temp.join('wrong.toml')
  await writeFile(wrong, 'gateway = "ws://backup.example"\n')
  for (const args of [['run'], ['machines'], ['enrol', '--gateway', 'wss://x', '--token', 't']]) {
    const ended = await command(...args, '--config', missing)
    expect(ended.code).toBe(2)
    expect(ended.stderr).toContain(missing)
    expect(ended.stderr).toContain('CONFIG_INVALID')
  }
  const insecure = await command('status', '--config', wrong)
  expect(insecure.code).toBe(2)
  expect(insecure.stderr).toContain('insecure = true')
})

test('a host that is not enrolled is 4', async () => {
  await using temp = await tempFolder()
  const config = temp.join('agent.toml')
  await writeFile(config, `gateway = "ws://127.0.0.1:1"\nstate = "${temp.join('state')}"\n`)
  for (const args of [['run'], ['points'], ['backup', 'db1']]) {
    const ended = await command(...args, '--config', config)
    expect(ended).toMatchObject({ code: 4, stdout: '' })
    expect(ended.stderr).toContain('varve-agent enrol')
  }
})

test('a gateway that is away is 3', async () => {
  await using stand = await startStand()
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const config = stand.temp.join('away.toml')
  await writeFile(config, `gateway = "ws://127.0.0.1:${port}"\nstate = "${stand.temp.join('state')}"\n`)
  for (const args of [
    ['machines'],
    ['backup', 'db1', '--timeout', '1s', '--json'],
    ['enrol', '--gateway', `ws://127.0.0.1:${port}`, '--token', 't', '--force'],
  ]) {
    const ended = await command(...args, '--config', config)
    expect(ended.code).toBe(3)
    if (args.includes('--json'))
      expect(JSON.parse(ended.stdout)).toMatchObject({ error: { code: 'CONNECTION_LOST', exit: 3 } })
    else expect(ended.stdout).toBe('')
    expect(ended.stderr).toContain(`127.0.0.1:${port}`)
  }
})

test('enrols, runs, and ends on a signal; a token works once', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const file = temp.join('agent.toml')
  await writeFile(
    file,
    `gateway = "${gateway.url}"\nstate = "${temp.join('state')}"\n[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`,
  )
  const config = ['--config', file]
  const token = await gateway.enrolmentToken()
  const enrol = (...more: string[]): ReturnType<typeof command> =>
    command('enrol', '--gateway', gateway.url, '--token', token, '--json', ...more, ...config)
  const first = await startCommand('enrol', '--gateway', gateway.url, '--token', token, '--json', ...config).ended
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(first.stdout)).toEqual({
    agent: expect.any(String),
    tenant: 'acme',
    gateway: gateway.url,
    former: null,
  })
  const second = await enrol()
  expect(second).toMatchObject({ code: 5, stderr: expect.stringContaining('EXISTS') as string })
  expect(JSON.parse(second.stdout)).toMatchObject({ error: { code: 'EXISTS', exit: 5 } })
  const forced = await enrol('--force')
  expect(forced.code).toBe(4)
  expect(forced.stderr).toContain('ENROLMENT_USED')
  const plain = await command('enrol', '--gateway', 'http://backup.example', '--token', token, ...config)
  expect(plain.code).toBe(2)

  const owner = await gateway.connectAs(await gateway.tokenFor('owner'))
  const online = async (): Promise<boolean> => (await owner.call('machines.list', {})).machines[0]?.online === true
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const running = startCommand('run', ...config)
    await eventually(online)
    const other = await command('run', ...config)
    expect(other.code).toBe(5)
    expect(other.stderr).toContain('STATE_LOCKED')
    const meanwhile = await enrol('--force')
    expect(meanwhile).toMatchObject({ code: 5, stderr: expect.stringContaining('stop it first') })
    running.child.kill(signal)
    const { code, stdout, stderr } = await running.ended
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    for (const line of stderr.trimEnd().split('\n')) expect(() => JSON.parse(line)).not.toThrow()
    expect(stderr).toContain('connected to the gateway')
    expect(stderr).not.toContain(token)
    await eventually(async () => !(await online()))
  }
})

test('a revoked agent ends by itself, with 4', async () => {
  await using stand = await startStand()
  const running = startCommand('run', ...stand.config)
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const agent = await eventually(async () => (await owner.call('agents.list', {})).agents.find(({ online }) => online))
  await owner.call('agents.revoke', { agent: agent.id })
  const { code, stderr } = await running.ended
  expect(code).toBe(4)
  expect(stderr).toContain('AGENT_REVOKED')
})

/** A port that takes connections and says nothing. */
const mute = async (): Promise<AsyncDisposable & { port: number; asked: Promise<unknown> }> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const asked = once(server, 'connection')
  const { port } = server.address() as AddressInfo
  return { port, asked, [Symbol.asyncDispose]: async () => void server.close() }
}

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'an enrolment ended by %s leaves nothing and says so',
  async (signal) => {
    await using temp = await tempFolder()
    await using hole = await mute()
    const file = temp.join('agent.toml')
    const gateway = `ws://127.0.0.1:${hole.port}`
    await writeFile(file, `gateway = "${gateway}"\nstate = "${temp.join('state')}"\n`)
    const { child, ended } = startCommand('enrol', '--gateway', gateway, '--token', 't', '--json', '--config', file)
    await hole.asked
    child.kill(signal)
    const { code, stdout, stderr } = await ended
    expect(code).toBe(130)
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CANCELLED', exit: 130 } })
    expect(stderr).toMatch(/interrupted by SIG[A-Z]+: this host is unchanged/u)
    expect(existsSync(temp.join('state'))).toBe(false)
  },
)

test.each([['forget', 'db1'], ['uninstall']])(
  '%s beside a QEMU that hangs ends on Ctrl-C, with its one JSON object',
  async (...args) => {
    await using temp = await tempFolder()
    const file = temp.join('agent.toml')
    const silent = createServer()
    silent.listen(temp.join('qmp'))
    await once(silent, 'listening')
    const asked = once(silent, 'connection')
    await writeFile(
      file,
      `gateway = "ws://127.0.0.1:1"\nstate = "${temp.join('state')}"\n[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`,
    )
    const { child, ended } = startCommand(...args, '--json', '--config', file)
    await asked
    child.kill('SIGINT')
    const { code, stdout } = await ended
    silent.close()
    expect(code).toBe(130)
    expect(existsSync(temp.join('state'))).toBe(false)
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CANCELLED', exit: 130 } })
  },
)

test('without a state folder, uninstall names what it cannot reach and leaves none', async () => {
  await using temp = await tempFolder()
  const file = temp.join('agent.toml')
  const machine = `[[machine]]\nname = "db1"\nqmp = "${temp.join('qmp')}"\n`
  await writeFile(file, `gateway = "ws://127.0.0.1:1"\nstate = "${temp.join('state')}"\n${machine}`)
  const { code, stdout, stderr } = await command('uninstall', '--config', file)
  expect([code, stdout]).toEqual([5, expect.stringMatching(/^db1: QMP socket.*\nRemoved 0 bitmaps\.\n/u)])
  expect(stderr).toBe('varve-agent: not everything can be removed (LEASE_HELD)\n')
  expect(existsSync(temp.join('state'))).toBe(false)
})
