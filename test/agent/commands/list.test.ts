// The commands that look, against a real gateway and an agent that the test plays.
import { announced } from '../../support/announced.ts'
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { lockState } from '../../../agent/state-lock.ts'
import type { MachineStatus } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import { backUp, command, startStand } from './stand.ts'

const STATUS: MachineStatus = {
  name: 'db1',
  reachable: true,
  runState: 'running',
  hypervisor: 'QEMU 7.2.0',
  lease: null,
  target: null,
  problem: null,
  disks: [{ name: 'vda', size: 2 ** 30, format: 'qcow2' }],
  leftOut: [{ name: 'cd0', reason: 'read-only' as const }],
}

test('show nothing where nothing is', async () => {
  await using stand = await startStand()
  expect(await command('machines', '--json', ...stand.config)).toMatchObject({ code: 0, stdout: '{"machines":[]}\n' })
  expect(await command('points', '--json', ...stand.config)).toMatchObject({ code: 0, stdout: '{"points":[]}\n' })
  expect(await command('points', ...stand.config)).toMatchObject({ code: 0, stdout: 'No restore points yet.\n' })
  const status = await command('status', '--json', ...stand.config)
  expect(status.code).toBe(0)
  expect(JSON.parse(status.stdout)).toMatchObject({
    gateway: stand.gateway.url,
    running: false,
    machines: [{ name: 'db1', reachable: false, problem: expect.any(String) }],
  })
})

test('show machines, their state and their points, newest first', async () => {
  await using stand = await startStand()
  const disk = randomBytes(102_400)
  const peer: Peer = await stand.serve({
    'agent.backup': async (order) => {
      await backUp(peer, stand.temp, order, disk)
      return {}
    },
    'agent.status': async () => STATUS,
  })
  const owner = await stand.gateway.connectAs(await stand.gateway.tokenFor('owner'))
  const jobs: string[] = []
  for (let count = 0; count < 2; count++)
    jobs.unshift((await owner.call('backup.start', { machine: 'db1', full: true })).job)

  const points = await command('points', 'db1', '--json', ...stand.config)
  expect(points.code).toBe(0)
  const { points: rows } = JSON.parse(points.stdout)
  expect(rows.map(({ id }: { id: string }) => id)).toEqual(jobs)
  expect(rows[0]).toMatchObject({
    id: jobs[0],
    machine: 'db1',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/u),
    future: false,
    kind: 'full',
    reason: 'requested',
    consistency: 'crash',
    timeMs: expect.any(Number) as number,
    note: null,
    bytesStored: expect.any(Number) as number,
    disks: [{ name: 'vda', size: 102_400, root: expect.stringMatching(/^[0-9a-f]{64}$/u) as string }],
    leftOut: [],
  })
  const table = await command('points', ...stand.config)
  expect(table.stdout.split('\n')[1]).toMatch(new RegExp(`^${jobs[0]!.slice(0, 8)}  db1 .* vda 100 KiB  -$`, 'u'))
  const unknown = await command('points', 'bd1', '--json', ...stand.config)
  expect(unknown.code).toBe(1)
  expect(JSON.parse(unknown.stdout)).toMatchObject({ error: { code: 'NOT_FOUND' } })
  for (const typed of ['two words', '']) {
    const { code, stderr } = await command('points', typed, ...stand.config)
    expect([code, stderr]).toEqual([
      1,
      `varve-agent: there is no machine "${typed}"; this agent has: db1 (NOT_FOUND)\n`,
    ])
  }
  expect(unknown.stderr).toContain('there is no machine "bd1"; did you mean "db1"? (NOT_FOUND)')

  const { machines } = JSON.parse((await command('machines', '--json', ...stand.config)).stdout)
  expect(machines).toMatchObject([{ name: 'db1', online: true, job: null, lastPoint: { id: jobs[0] } }])
  expect((await command('machines', ...stand.config)).stdout).toMatch(/^db1 +connected +- /mu)
  const status = await command('status', ...stand.config)
  expect(status.stdout).toContain('Agent: running.')
  expect(status.stdout).toContain('db1: QEMU 7.2.0, running')
  expect(status.stdout).toContain('vda: 1.0 GiB qcow2')
  expect(status.stdout).toContain('cd0: left out (read-only)')

  // one that left the configuration
  await peer.call('agent.inventory', { host: 'h', machines: [announced('db1'), announced('old1')], jobs: [] })
  const after = await command('status', ...stand.config)
  expect(after.stdout).toContain("old1: no longer in this host's configuration")
})

test('points of a machine that the gateway has not heard of are no empty list', async () => {
  await using stand = await startStand()
  const { code, stderr } = await command('points', 'db1', ...stand.config)
  expect([code, stderr]).toEqual([3, expect.stringContaining('the gateway has not heard of db1 yet')])
})

test('a machine that cannot be asked in time is told, by status and by forget', async () => {
  await using stand = await startStand()
  const never = Promise.withResolvers<never>()
  await stand.serve({ 'agent.status': () => never.promise, 'agent.forget': () => never.promise })
  const status = await command('status', '--timeout', '1s', ...stand.config)
  expect(status.code).toBe(0)
  expect(status.stdout).toMatch(
    /db1: .* did not answer machines\.status within 1 s: the agent of the machine, its QEMU/u,
  )
  // a running agent has the state folder, so that forget asks it through the gateway
  await using _running = await lockState(stand.temp.join('state'))
  const forget = await command('forget', 'db1', '--timeout', '1s', ...stand.config)
  expect([forget.code, forget.stderr]).toEqual([3, expect.stringMatching(/machines\.forget within 1 s.*QEMU/u)])
})
