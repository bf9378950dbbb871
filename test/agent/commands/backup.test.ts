// The backup command against a real gateway and an agent that the test plays.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import type { LeftOutDisk } from '../../../protocol/backup.ts'
import { VarveError } from '../../../protocol/errors.ts'
import type { Handlers, Peer } from '../../../protocol/peer.ts'
import { eventually } from '../../support/temp.ts'
import { backUp, command, commitBackup, startCommand, startStand, type Stand } from './stand.ts'

const disk = randomBytes(307_200)

/** An agent that makes each backup once `ready` resolves. */
const serve = async (stand: Stand, ready: Promise<void> = Promise.resolve()): Promise<Peer> => {
  const handlers: Handlers = {
    'agent.backup': async (order) => {
      void ready.then(() => backUp(peer, stand.temp, order, disk)).catch(() => undefined)
      return {}
    },
    'agent.cancel': async ({ job }) => {
      void peer.call('backup.released', { job })
      return {}
    },
  }
  const peer = await stand.serve(handlers)
  return peer
}

test('ends with 0 only once the point is durable, and prints it', async () => {
  await using stand = await startStand()
  await serve(stand)
  const { code, stdout, stderr } = await command('backup', 'db1', '--json', ...stand.config)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const lines = stdout.trimEnd().split('\n')
  expect(lines).toHaveLength(1)
  const { point: summary } = JSON.parse(lines[0]!)
  expect(summary).toMatchObject({
    machine: 'db1',
    kind: 'full',
    reason: 'first',
    consistency: 'crash',
    bytesRead: disk.length,
    disks: [{ name: 'vda', size: disk.length }],
  })
  expect(summary.durationMs).toBeGreaterThan(0)
  expect(summary.bytesSent).toBeGreaterThan(disk.length)
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  expect((await owner.call('points.get', { point: summary.id })).point.id).toBe(summary.id)
  const text = await command('backup', 'db1', '--full', ...stand.config)
  expect(text.code).toBe(0)
  expect(text.stdout).toContain(`vda: 300 KiB`)
})

test('with --compare it asks for a comparison, and says what was compared and what was left out', async () => {
  await using stand = await startStand()
  const orders: boolean[] = []
  const leftOut: LeftOutDisk[] = [{ name: 'cd', reason: 'read-only' }]
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      orders.push(order.compare)
      void backUp(peer, stand.temp, order, disk, { leftOut, comparedChunks: 7 }).catch(() => undefined)
      return {}
    },
  })
  const { stdout } = await command('backup', 'db1', '--compare', '--json', ...stand.config)
  expect(JSON.parse(stdout)).toMatchObject({
    point: { leftOut, disks: [{ name: 'vda', comparedChunks: 7 }] },
    released: true,
  })
  const text = await command('backup', 'db1', ...stand.config)
  expect(orders).toEqual([true, false])
  expect(text.stdout).toMatch(/^ {2}vda: 300 KiB, .*; 7 unchanged chunks compared$/mu)
  expect(text.stdout).toMatch(/^ {2}cd: left out \(read-only\)$/mu)
})

test('a machine that the gateway does not know: start the agent, or mind the name', async () => {
  await using stand = await startStand()
  const early = await command('backup', 'db1', ...stand.config)
  expect(early).toMatchObject({ code: 3, stdout: '' })
  expect(early.stderr).toContain('"varve-agent run" is not running on this host')
  const wrong = await command('backup', 'nope', ...stand.config)
  expect(wrong).toMatchObject({ code: 1, stdout: '' })
  expect(wrong.stderr).toContain('this host has: db1')
})

test('an agent that is away is 3, a backup that runs already is 5', async () => {
  await using stand = await startStand()
  const first = await serve(stand, new Promise(() => undefined))
  const running = startCommand('backup', 'db1', ...stand.config)
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const job = await eventually(async () => (await owner.call('jobs.list', { machine: 'db1', limit: 1 })).jobs[0])
  const second = await command('backup', 'db1', '--json', ...stand.config)
  expect(second.code).toBe(5)
  expect(JSON.parse(second.stdout)).toMatchObject({ error: { code: 'JOB_RUNNING', exit: 5, details: { job: job.id } } })
  expect(second.stderr).toContain('JOB_RUNNING')
  // somebody else cancels the first one
  await owner.call('jobs.cancel', { job: job.id })
  expect((await running.ended).code).toBe(130)
  first.close(new VarveError('CANCELLED', 'away'))
  await eventually(async () => (await owner.call('machines.list', {})).machines[0]?.online === false)
  const away = await command('backup', 'db1', ...stand.config)
  expect(away.code).toBe(3)
  expect(away.stderr).toContain('AGENT_OFFLINE')
})

test('with --wait it waits for the agent', async () => {
  await using stand = await startStand()
  const known = await serve(stand)
  known.close(new VarveError('CANCELLED', 'away'))
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  await eventually(async () => (await owner.call('machines.list', {})).machines[0]?.online === false)
  const waiting = startCommand('backup', 'db1', '--wait', '--json', ...stand.config)
  await eventually(async () =>
    (await owner.call('audit.list', { limit: 250 })).entries.some(({ outcome }) => outcome === 'AGENT_OFFLINE'),
  )
  expect(waiting.child.exitCode).toBe(null)
  await serve(stand)
  expect((await waiting.ended).code).toBe(0)
})

test.each(['before', 'after'])('Ctrl-C %s its start is answered cancels the job and ends with 130', async (moment) => {
  await using stand = await startStand()
  const cancelled: string[] = []
  const interrupted = Promise.withResolvers<void>()
  if (moment === 'after') interrupted.resolve()
  await stand.serve({
    'agent.backup': async () => {
      await interrupted.promise
      return {}
    },
    'agent.cancel': async ({ job }) => {
      cancelled.push(job)
      return {}
    },
  })
  const running = startCommand('backup', 'db1', ...stand.config)
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const job = await eventually(async () => (await owner.call('jobs.list', { machine: null, limit: 1 })).jobs[0])
  running.child.kill('SIGINT')
  interrupted.resolve()
  expect((await running.ended).code).toBe(130)
  expect(cancelled).toEqual([job.id])
  expect((await owner.call('jobs.list', { machine: null, limit: 1 })).jobs[0]).toMatchObject({
    state: 'failed',
    error: { code: 'CANCELLED' },
  })
})

test.each([
  ['committed', 0],
  ['failed', 1],
])('a backup that has %s ends only when its machine is given back', async (outcome, code) => {
  await using stand = await startStand()
  const ordered = Promise.withResolvers<string>()
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      const work =
        outcome === 'committed'
          ? commitBackup(peer, stand.temp, order, Buffer.alloc(65_536, 1))
          : peer.call('backup.fail', { job: order.job, code: 'LEASE_LOST', message: 'gone' })
      void work.then(() => ordered.resolve(order.job))
      return {}
    },
  })
  const { child, ended } = startCommand('backup', 'db1', ...stand.config)
  const job = await ordered.promise
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const watch = owner.open('jobs.watch', { job })
  const states: boolean[] = []
  for await (const { state, released } of watch.messages) {
    if (state === 'running') continue
    states.push(released)
    expect(child.exitCode).toBe(null)
    await peer.call('backup.released', { job })
  }
  expect(states.length).toBeGreaterThan(0)
  expect((await watch.result).released).toBe(true)
  expect((await ended).code).toBe(code)
})

test('a failed backup ends with its own code and sentence', async () => {
  await using stand = await startStand()
  const peer: Peer = await stand.serve({
    'agent.backup': async ({ job }) => {
      void peer.call('backup.fail', { job, code: 'FULL_REFUSED', message: 'the policy refuses first' })
      return {}
    },
  })
  const refused = await command('backup', 'db1', ...stand.config)
  expect(refused).toMatchObject({ code: 5, stdout: '' })
  expect(refused.stderr).toContain('the policy refuses first (FULL_REFUSED)')
  const unknown = await command('backup', 'db2', ...stand.config)
  expect(unknown.code).toBe(1)
  expect(unknown.stderr).toContain('NOT_FOUND')
})

test('Ctrl-C ends the command also when the gateway has gone away meanwhile', async () => {
  await using stand = await startStand()
  const ordered = Promise.withResolvers<void>()
  const agent = await stand.serve({
    'agent.backup': async () => {
      ordered.resolve()
      return {}
    },
  })
  const running = startCommand('backup', 'db1', ...stand.config)
  await ordered.promise
  // what the gateway has heard from the agent before these it has told the command
  for (let turn = 0; turn < 3; turn++) await agent.call('machines.list', {})
  await stand.gateway[Symbol.asyncDispose]()
  running.child.kill('SIGINT')
  const { code, stderr } = await running.ended
  expect(code).toBe(3)
  expect(stderr).toContain('CONNECTION_LOST')
})
