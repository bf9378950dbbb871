// The state of an agent: what runs, what is left, what scratch images take, told over its socket and as metrics.
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { agentMetrics } from '../../../agent/status/agent-metrics.ts'
import { agentStatus, lookAtAgent, type RunningBackup, type StatusParts } from '../../../agent/status/agent-status.ts'
import { askAgent } from '../../../agent/status/ask-status.ts'
import { LinkRecord } from '../../../agent/status/link-record.ts'
import { agentLines } from '../../../agent/status/status-lines.ts'
import { serveMetrics, serveStatus, STATUS_SOCKET } from '../../../agent/status/status-server.ts'
import { Traffic } from '../../../agent/status/traffic.ts'
import type { JournalEntry } from '../../../agent/drivers/journal.ts'
import { OPENMETRICS, PLAIN } from '../../../protocol/host/metrics-format.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'

const MIB = 1024 * 1024

const entry = (id: string, machine: string, payload: object): JournalEntry =>
  ({ id, machine: { name: machine, driver: 'qmp' }, payload }) as unknown as JournalEntry

const running: RunningBackup = {
  job: 'j1',
  machine: 'db1',
  driver: 'qmp',
  sinceMs: 5000,
  step: 'disk',
  bytesRead: 7,
  bytesSent: 3,
}

const partsOf = async (temp: TempFolder): Promise<StatusParts> => {
  const scratchFolder = temp.join('scratch', 'j1')
  await mkdir(scratchFolder, { recursive: true })
  await writeFile(path.join(scratchFolder, '0.qcow2'), Buffer.alloc(MIB, 1))
  const clock = new HandClock(9000)
  const link = new LinkRecord(clock)
  link.up()
  const traffic = new Traffic(clock)
  traffic.read(7)
  traffic.sent(3)
  return {
    link: () => link.state,
    running: () => [running, { ...running, job: 'j3', machine: 'app', step: 'lease' }],
    leaseOf: () => null,
    ended: () => ({ committed: 2, failed: 1 }),
    journal: { list: async () => [entry('j1', 'db1', { scratchFolder }), entry('j2', 'web', {})] },
    traffic,
    stateFolder: temp.path,
    reserveBytes: MIB,
  }
}

test('leases are those under way, with what their scratch images take, and those that are left', async () => {
  await using temp = await tempFolder()
  const status = await lookAtAgent(await partsOf(temp), 1000)
  expect(v.parse(agentStatus, status)).toEqual(status)
  const [first, left, waiting] = status.leases
  expect(first).toMatchObject({ ...running, running: true })
  expect(first!.scratch!.usedBytes).toBeGreaterThanOrEqual(MIB)
  expect(first!.scratch!.limitBytes).toBeGreaterThan(first!.scratch!.usedBytes)
  expect(left).toMatchObject({ job: 'j2', machine: 'web', running: false, sinceMs: null, scratch: null })
  expect(waiting).toMatchObject({ job: 'j3', running: true, step: 'lease', scratch: null })
  expect(status).toMatchObject({
    startedMs: 1000,
    pid: process.pid,
    link: { connected: true, sinceMs: 9000 },
    traffic: { bytesRead: 7, bytesSent: 3 },
    backups: { committed: 2, failed: 1 },
    scratch: { folder: temp.path, reserveBytes: MIB },
  })
})

test('a journal or a folder that cannot be looked at leaves the rest', async () => {
  await using temp = await tempFolder()
  const parts = await partsOf(temp)
  const list = () => Promise.reject(new Error('damaged'))
  const status = await lookAtAgent({ ...parts, journal: { list }, stateFolder: temp.join('none') }, 1000)
  expect([status.scratch, status.leases.map(({ job }) => job)]).toEqual([null, ['j1', 'j3']])
})

test('the socket is for the agent’s own user, in a folder of whatever length, and gone at the end', async () => {
  await using temp = await tempFolder()
  const parts = await partsOf(temp)
  for (const folder of [temp.path, temp.join('x'.repeat(120))]) {
    await mkdir(folder, { recursive: true })
    expect(await askAgent(folder)).toBeNull()
    const socket = path.join(folder, STATUS_SOCKET)
    // one that a killed agent left
    await writeFile(socket, '')
    {
      await using _ = await serveStatus(folder, () => lookAtAgent(parts, 1000))
      expect(await askAgent(folder)).toMatchObject({ leases: [{ job: 'j1' }, { job: 'j2' }, { job: 'j3' }] })
      expect((await stat(socket)).mode & 0o777).toBe(0o600)
    }
    expect(await askAgent(folder)).toBeNull()
    await expect(stat(socket)).rejects.toMatchObject({ code: 'ENOENT' })
  }
  await chmod(temp.path, 0o755)
})

test('metrics say the same, in both formats, on loopback', async () => {
  await using temp = await tempFolder()
  const status = await lookAtAgent(await partsOf(temp), 1000)
  const text = await agentMetrics(status)
  for (const line of [
    'varve_agent_start_time_seconds 1',
    'varve_agent_link_connected 1',
    'varve_agent_link_since_timestamp_seconds 9',
    'varve_agent_reconnects_total 0',
    'varve_agent_backups_total{state="committed"} 2',
    'varve_agent_backups_total{state="failed"} 1',
    'varve_agent_bytes_total{stage="read"} 7',
    'varve_agent_lease_since_timestamp_seconds{machine="db1"} 5',
    `varve_agent_scratch_reserve_bytes ${MIB}`,
  ])
    expect(text).toContain(`${line}\n`)
  const ratio = Number(/^varve_agent_scratch_used_ratio\{machine="db1"\} (\S+)$/mu.exec(text)?.[1])
  expect(ratio).toBeGreaterThan(0)
  expect(ratio).toBeLessThan(1)
  await using port = await serveMetrics({ host: '127.0.0.1', port: 0 }, async () => status)
  const answer = await fetch(`${port.url}/metrics`, { headers: { accept: 'application/openmetrics-text' } })
  expect(answer.headers.get('content-type')).toBe(OPENMETRICS)
  expect((await fetch(`${port.url}/metrics`)).headers.get('content-type')).toBe(PLAIN)
  for (const at of ['/status', '/', '/constructor']) expect((await fetch(port.url + at)).status).toBe(404)
  const taken = serveMetrics({ host: '127.0.0.1', port: Number(new URL(port.url).port) }, async () => status)
  await expect(taken).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})

test('a person reads it in lines', async () => {
  await using temp = await tempFolder()
  const parts = await partsOf(temp)
  const away = { code: 'CONNECTION_LOST', message: 'it was cut', timeMs: 8000 }
  const link = { connected: false, sinceMs: 8000, reconnects: 2, lastError: away }
  const status = { ...(await lookAtAgent({ ...parts, link: () => link }, 1000)), pid: 42 }
  const [first] = status.leases
  const lines = agentLines({ ...status, leases: [{ ...first!, scratch: null }, ...status.leases.slice(1)] })
  expect(lines.filter((line) => !line.startsWith('Scratch'))).toEqual([
    `Agent ${status.version}, process 42, since 1970-01-01 00:00:01 UTC: 2 backups done, 1 failed.`,
    'Link: away since 1970-01-01 00:00:08 UTC; came back 2 times; last error, 1970-01-01 00:00:08 UTC: it was cut (CONNECTION_LOST).',
    'Rates: 0 B/s read, 0 B/s sent.',
    'Backup: db1, job j1 since 1970-01-01 00:00:05 UTC, disk; 7 B read, 3 B sent.',
    'Left to be settled: the lease of web, job j2.',
    'Backup: app, job j3 since 1970-01-01 00:00:05 UTC, lease; 7 B read, 3 B sent.',
  ])
})
