// Commands with a person's token on a host that has no agent, against a real gateway.
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { NbdClient } from '../../../agent/nbd/client.ts'
import { withAnyGateway } from '../../../agent/commands/context.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { TENANT } from '../../support/gateway.ts'
import { eventually } from '../../support/temp.ts'
import { runHere, type Said } from '../../commands/run-here.ts'
import { backUp, startCommand, startStand, type Stand } from './stand.ts'

const OPERATOR_LIFE_MS = 60 * 60 * 1000

/** A token that is over soon; the command that uses it must have begun by then. */
const SHORT_LIFE_MS = 6000

afterEach(() => {
  vi.unstubAllEnvs()
})

/** The point of a backup of db1's one disk. */
const pointOf = async (stand: Stand, disk: Buffer): Promise<string> => {
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      await backUp(peer, stand.temp, order, disk)
      return {}
    },
  })
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  return (await owner.call('backup.start', { machine: 'db1', full: false })).job
}

type PersonRole = Parameters<Stand['gateway']['tokenFor']>[0]

/** Puts a token into a file, at once as a careful person does. */
const putToken = async (stand: Stand, name: string, role: PersonRole, ttlMs = OPERATOR_LIFE_MS): Promise<string> => {
  const file = stand.temp.join(name)
  await writeFile(`${file}.new`, await stand.gateway.tokenFor(role, TENANT, ttlMs), { mode: 0o600 })
  await rename(`${file}.new`, file)
  return file
}

const here = (...args: readonly string[]): Promise<Said> => runHere('varve-agent', args)

const wayOf = async (stand: Stand, role: PersonRole): Promise<string[]> => [
  '--gateway',
  stand.gateway.url,
  '--token-file',
  await putToken(stand, role, role),
]

test('list, show and restore without an agent, its configuration or a state folder; the audit log has who read', async () => {
  await using stand = await startStand()
  const { temp } = stand
  vi.stubEnv('XDG_STATE_HOME', temp.join('home'))
  vi.stubEnv('VARVE_AGENT_CONFIG', temp.join('nowhere.toml'))
  const disk = Buffer.concat([randomBytes(204_800), Buffer.alloc(1024 * 1024), randomBytes(4096)])
  const point = await pointOf(stand, disk)
  const operator = await wayOf(stand, 'operator')

  const machines = await here('machines', ...operator)
  expect(machines).toMatchObject({ code: 0, stderr: '' })
  expect(machines.stdout).toMatch(/^MACHINE +HOST +AGENT/u)
  const listed = await here('points', 'db1', '--json', ...operator)
  expect(JSON.parse(listed.stdout).points).toMatchObject([{ id: point, machine: 'db1' }])

  const to = temp.join('disk.raw')
  const restored = await here('restore', 'db1', '--at', 'now', '--disk', 'vda', '--to', to, '--json', ...operator)
  expect(restored).toMatchObject({ code: 0 })
  expect(restored.stderr).toContain(`point ${point.slice(0, 8)} of `)
  expect(JSON.parse(restored.stdout)).toMatchObject({ point, machine: 'db1', to })
  expect((await readFile(to)).equals(disk)).toBe(true)

  const auditor = await stand.gateway.connectAs(await stand.gateway.tokenFor('auditor'))
  const reads = (await auditor.call('audit.list', { limit: 250 })).entries.filter(
    ({ action }) => action === 'image.download',
  )
  expect(reads).toMatchObject(
    ['begun', 'ok'].map((outcome) => ({
      subject: 'test operator',
      role: 'operator',
      resource: `point=${point} disk=vda`,
      outcome,
    })),
  )
})

test('an export is one act in the audit log, however much is read of it', async () => {
  await using stand = await startStand()
  const disk = randomBytes(1024 * 1024)
  const point = await pointOf(stand, disk)
  const socketPath = stand.temp.join('sock')
  const way = await wayOf(stand, 'operator')
  const running = startCommand('export', 'db1', '--at', 'now', '--socket', socketPath, ...way)
  await eventually(() => existsSync(socketPath))
  {
    await using client = await NbdClient.connect({ socketPath, exportName: 'vda', contexts: ['base:allocation'] })
    for (let offset = 0; offset < disk.length; offset += 65_536) {
      const bytes = Buffer.alloc(65_536)
      await client.readInto(offset, bytes)
      expect(bytes.equals(disk.subarray(offset, offset + bytes.length))).toBe(true)
    }
  }
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
  const auditor = await stand.gateway.connectAs(await stand.gateway.tokenFor('auditor'))
  const read = async (): Promise<string[]> =>
    (await auditor.call('audit.list', { limit: 250 })).entries
      .filter(({ action, resource }) => action === 'image.read' && resource === `point=${point} disk=vda`)
      .map(({ subject, outcome }) => `${subject} ${outcome}`)
  // its end is noted once the gateway has seen it
  const entries = await eventually(async () => ((await read()).length > 1 ? await read() : null))
  expect(entries).toEqual(['test operator begun', expect.stringMatching(/^test operator /u)])
})

test('a token that may only look reads no disk, nor is a target touched', async () => {
  await using stand = await startStand()
  const point = await pointOf(stand, randomBytes(65_536))
  const to = stand.temp.join('precious')
  await writeFile(to, 'precious')
  for (const role of ['viewer', 'auditor', 'platform'] as const) {
    const way = await wayOf(stand, role)
    const restored = await here('restore', point, '--disk', 'vda', '--to', to, '--force', ...way)
    expect(restored).toMatchObject({ code: 4, stderr: expect.stringContaining('may not read what disks hold') })
    expect(await readFile(to, 'utf8')).toBe('precious')
    const exported = await here('export', point, '--socket', stand.temp.join('sock'), ...way)
    expect(exported).toMatchObject({ code: 4, stderr: expect.stringContaining('ROLE_FORBIDDEN') })
    expect((await here('points', ...way)).code).toBe(role === 'platform' ? 4 : 0)
  }
})

test('a person of another tenant sees nothing of it', async () => {
  await using stand = await startStand()
  const point = await pointOf(stand, randomBytes(65_536))
  const file = stand.temp.join('other')
  await writeFile(file, await stand.gateway.tokenFor('owner', 'globex'), { mode: 0o600 })
  const way = ['--gateway', stand.gateway.url, '--token-file', file]
  const restored = await here('restore', point, '--disk', 'vda', '--to', stand.temp.join('disk'), ...way)
  expect(restored).toMatchObject({ code: 1, stderr: expect.stringContaining('NOT_FOUND') })
  expect(await here('points', ...way)).toMatchObject({ code: 0, stdout: 'No restore points yet.\n' })
})

test('what a killed restore left is removed by the same person’s next one', async () => {
  await using stand = await startStand()
  const { temp } = stand
  vi.stubEnv('XDG_STATE_HOME', temp.join('home'))
  const point = await pointOf(stand, randomBytes(96 * 1024 * 1024))
  const way = await wayOf(stand, 'operator')
  await mkdir(temp.join('to'))
  const halves = async (): Promise<string[]> => await readdir(temp.join('to'))
  const running = startCommand('restore', point, '--disk', 'vda', '--to', temp.join('to', 'disk.raw'), ...way)
  await eventually(async () => (await halves()).length > 0)
  running.child.kill('SIGKILL')
  await running.ended
  expect(await halves()).toEqual([expect.stringMatching(/^\.varve-restore-/u)])
  const next = await here('restore', point, '--disk', 'vda', '--to', temp.join('to', 'again.raw'), ...way)
  expect(next).toMatchObject({ code: 0, stderr: expect.stringContaining('left by a killed restore') })
  expect(await halves()).toEqual(['again.raw'])
})

test('work goes on with the token that the file has once the one before has expired', async () => {
  await using stand = await startStand()
  const { gateway } = stand
  const tokenFile = await putToken(stand, 'token', 'operator', SHORT_LIFE_MS)
  const said = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  using _said = { [Symbol.dispose]: () => said.mockRestore() }
  await withAnyGateway(
    { gateway: gateway.url, tokenFile },
    async ({ link, signal, role }) => {
      expect(role).toBe('operator')
      const first = await link.peer()
      expect((await first.closed).code).toBe('TOKEN_EXPIRED')
      await eventually(() => said.mock.calls.some(([text]) => String(text).includes('put a new one there')))
      const asked = link.call('machines.list', {}, signal)
      await putToken(stand, 'token', 'operator')
      expect(await asked).toEqual({ machines: [], next: null })
      expect(await link.peer()).not.toBe(first)
    },
    { works: true },
  )
})

test('a token that is revoked ends the work', async () => {
  await using stand = await startStand()
  const { gateway } = stand
  const tokenFile = await putToken(stand, 'token', 'operator')
  const said = vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  using _said = { [Symbol.dispose]: () => said.mockRestore() }
  const owner = await gateway.connectAs(await gateway.tokenFor('owner'))
  const work = withAnyGateway(
    { gateway: gateway.url, tokenFile },
    async ({ link, signal }) => {
      const { tokens } = await owner.call('tokens.list', {})
      const { id } = tokens.find(({ role }) => role === 'operator')!
      const peer = await link.peer()
      await owner.call('tokens.revoke', { token: id })
      await peer.closed
      await link.call('machines.list', {}, signal)
    },
    { works: true },
  )
  await expect(work).rejects.toMatchObject({ code: 'TOKEN_REVOKED' })
})
