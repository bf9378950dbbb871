// Monitoring of a real backup: its trace with the agent's steps, the metrics of gateway and agent, and what the agent says of
// itself while its gateway is there and while it is away.
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { traceIdOf } from '../../gateway/metrics/spans.ts'
import { startCollector, type CollectedSpan } from '../gateway/metrics/collector.ts'
import { ScriptedGuestAgent } from '../support/guest-agent.ts'
import { MIB } from '../support/model-machine.ts'
import { Stand, TENANT } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

const timesOf = ({ startTimeUnixNano, endTimeUnixNano }: CollectedSpan): [bigint, bigint] => [
  BigInt(startTimeUnixNano),
  BigInt(endTimeUnixNano),
]

const textFrom = async (url: string): Promise<string> => await (await fetch(`${url}/metrics`)).text()

const valueOf = (text: string, series: string): number =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1),
  )

test('a backup leaves a trace with its steps, and counts at the gateway and at its agent', async () => {
  await using collector = await startCollector()
  await using stand = await Stand.start({
    serve: ['--metrics-listen', '127.0.0.1:0', '--otlp-endpoint', collector.url],
  })
  await using guest = await ScriptedGuestAgent.listen(stand.folder.join('qga.sock'))
  const host = await stand.addHost({ settings: { metricsListen: '127.0.0.1:0' } })
  const vda = { id: 'vda', format: 'qcow2', size: MIB } as const
  const machine = await host.addMachine('db1', [vda], { guestAgent: guest.socketPath })
  await machine.write('vda', 0, randomBytes(MIB / 4))
  await host.start()
  const { point } = await host.backup('db1')

  const root = await eventually(() => collector.spans.find(({ name }) => name === 'backup'))
  expect(root.traceId).toBe(traceIdOf(point))
  const steps = collector.spans.filter(({ name }) => name !== 'backup')
  expect(steps.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'agent lease',
      'agent freeze',
      'agent compare',
      'agent announce',
      'agent disk',
      'agent check',
      'gateway commit',
    ]),
  )
  const [beganNs, endedNs] = timesOf(root)
  for (const span of steps) {
    expect(span).toMatchObject({ traceId: root.traceId, parentSpanId: root.spanId })
    const [from, to] = timesOf(span)
    expect([span.name, beganNs <= from && from <= to && to <= endedNs]).toEqual([span.name, true])
  }
  const named = (name: string): [bigint, bigint] => timesOf(steps.find((span) => span.name === name)!)
  // the guest is frozen while the lease begins, and what is read is read after that
  expect(named('agent freeze')[1]).toBeLessThanOrEqual(named('agent lease')[1])
  expect(named('agent lease')[1]).toBeLessThanOrEqual(named('agent disk')[0])
  const disk = steps.find(({ name }) => name === 'agent disk')!
  expect(disk.attributes).toContainEqual({ key: 'varve.disk', value: { stringValue: 'vda' } })

  const [, gatewayUrl = ''] = await stand.gateway.says(/"metricsUrl":"([^"]+)"/u)
  const text = await textFrom(gatewayUrl)
  expect(valueOf(text, `varve_backup_duration_seconds_count{tenant="${TENANT}"}`)).toBe(1)
  expect(valueOf(text, `varve_guest_freeze_seconds_count{tenant="${TENANT}"}`)).toBe(1)
  expect(valueOf(text, `varve_backup_bytes_total{tenant="${TENANT}",stage="read"}`)).toBeGreaterThan(0)
  expect(valueOf(text, `varve_full_reads_total{tenant="${TENANT}",reason="first"}`)).toBe(1)
  expect(valueOf(text, `varve_jobs_ended_total{tenant="${TENANT}",state="committed"}`)).toBe(1)
  expect(text).toMatch(new RegExp(`^varve_agent_connected\\{tenant="${TENANT}".*\\} 1$`, 'mu'))
  expect(text).toMatch(/^varve_machine_last_point_timestamp_seconds\{.*machine="db1"\} \d+/mu)

  const [, agentUrl = ''] = await host.agent.says(/"url":"(http:[^"]+)\/metrics"/u)
  const agentText = await textFrom(agentUrl)
  expect(valueOf(agentText, 'varve_agent_link_connected')).toBe(1)
  expect(valueOf(agentText, 'varve_agent_backups_total{state="committed"}')).toBe(1)
  const status = JSON.parse((await host.done('status', '--json')).stdout)
  expect(status.agent).toMatchObject({
    link: { connected: true, reconnects: 0 },
    leases: [],
    backups: { committed: 1, failed: 0 },
    traffic: { bytesRead: valueOf(text, `varve_backup_bytes_total{tenant="${TENANT}",stage="read"}`) },
  })

  await stand.endGateway('SIGTERM')
  const away = await eventually(async () => {
    const { agent } = JSON.parse((await host.done('status', '--local', '--json')).stdout)
    return agent.link.connected === false ? agent : null
  })
  expect(away.link.lastError.code).toMatch(/^(GOING_AWAY|CONNECTION_LOST)$/u)
  await host.end('SIGTERM')
  const none = await host.run('status', '--local')
  expect([none.code, none.stderr]).toEqual([3, expect.stringContaining('AGENT_OFFLINE')])
})
