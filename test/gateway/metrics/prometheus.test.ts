// Metrics as Prometheus takes them: its own checks of the text, the rules and the dashboard, and a Prometheus that scrapes a
// gateway and answers with its machines.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { PLAIN } from '../../../protocol/host/metrics-format.ts'
import { startGateway, TENANT, type TestGateway } from '../../support/gateway.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { addAgent, addMachine, addPoint } from '../catalog.ts'

const MONITORING = path.resolve(import.meta.dirname, '../../../gateway/monitoring')
const RULES = path.join(MONITORING, 'prometheus-rules.yml')
const METRICS_PAGE = path.resolve(MONITORING, '../METRICS.md')

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] }
}

const dashboard = JSON.parse(readFileSync(path.join(MONITORING, 'grafana-dashboard.json'), 'utf8')) as Dashboard

/** Expressions of the dashboard, with its variables as "All". */
const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr }) => ({ title, expr: expr.replaceAll(/\$(tenant|instance)\b/gu, '.*') })),
)

/** Names of metrics in a text. */
const namesIn = (text: string): string[] =>
  [...new Set([...text.matchAll(/\b(?:varve|process|nodejs)_[a-z0-9_]+\b/gu)].map(([name]) => name))].toSorted()

/** The families of a text in the older format, with the samples that a histogram has. */
const familiesOf = (text: string): string[] =>
  [...text.matchAll(/^# TYPE (\S+) (\S+)$/gmu)].flatMap(([, name = '', type]) =>
    type === 'histogram' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  )

const tool = (args: readonly string[], input = ''): { status: number | null; output: string } => {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

/** A gateway with metrics on a listener of their own, and a machine that has a restore point. */
const gatewayWithMachine = async (temp: TempFolder): Promise<TestGateway> => {
  const folder = temp.join('data')
  // so that the machine is there when its state is looked at first
  await using gateway = await startGateway({ folder })
  const { catalog } = gateway
  const tenant = await gateway.addTenant(TENANT)
  const machine = await addMachine(catalog, tenant, await addAgent(catalog, tenant, 'h1'), 'db1')
  await addPoint(catalog, tenant, machine, { timeMs: 1_700_000_000_000, nowMs: 1_700_000_000_000 })
  await gateway[Symbol.asyncDispose]()
  return await startGateway({ folder, metricsListen: { host: '127.0.0.1', port: 0 }, works: true })
}

const scrape = async ({ metricsUrl }: TestGateway, accept = ''): Promise<string> =>
  await (await fetch(`${metricsUrl}/metrics`, { headers: { accept } })).text()

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => void server.close(resolve))
  return port
}

test('promtool finds nothing to say of the metrics, the rules and the example', async () => {
  await using temp = await tempFolder()
  await using gateway = await gatewayWithMachine(temp)
  expect(tool(['check', 'metrics'], await scrape(gateway))).toEqual({ status: 0, output: '' })
  expect(tool(['check', 'rules', '--lint-fatal', RULES])).toMatchObject({ status: 0 })
  expect(tool(['check', 'config', path.join(MONITORING, 'prometheus.yml')])).toMatchObject({ status: 0 })
  // it would say something of what is not right
  expect(tool(['check', 'metrics'], 'varve_x{a="b} 1\n').status).not.toBe(0)
})

test('the rules tell what they are for, when it is so and not before', () => {
  const output = execFileSync('promtool', ['test', 'rules', path.join(import.meta.dirname, 'rules.yml')], {
    encoding: 'utf8',
  })
  expect(output).toContain('SUCCESS')
})

test('what rules, dashboard and METRICS.md name is there, and METRICS.md names all', async () => {
  await using temp = await tempFolder()
  await using gateway = await gatewayWithMachine(temp)
  const families = familiesOf(await scrape(gateway, PLAIN))
  const page = namesIn(readFileSync(METRICS_PAGE, 'utf8'))
  const variables = dashboard.templating.list.map(({ definition = '' }) => definition)
  const used = namesIn([readFileSync(RULES, 'utf8'), ...expressions.map(({ expr }) => expr), ...variables].join('\n'))
  expect(used.filter((name) => !families.includes(name))).toEqual([])
  expect(page.filter((name) => !families.includes(name))).toEqual([])
  expect(families.filter((name) => !/_(bucket|sum|count)$/u.test(name) && !page.includes(name))).toEqual([])
  expect(used.length).toBeGreaterThan(25)
})

test('Prometheus scrapes a gateway, takes the rules, and answers every expression of the dashboard', async () => {
  await using temp = await tempFolder()
  await using gateway = await gatewayWithMachine(temp)
  const config = temp.join('prometheus.yml')
  const job = { job_name: 'varve', static_configs: [{ targets: [new URL(gateway.metricsUrl!).host] }] }
  // YAML takes JSON
  await writeFile(
    config,
    JSON.stringify({ global: { scrape_interval: '1s' }, rule_files: [RULES], scrape_configs: [job] }),
  )
  const address = `127.0.0.1:${await freePort()}`
  const args = [
    `--config.file=${config}`,
    `--storage.tsdb.path=${temp.join('tsdb')}`,
    `--web.listen-address=${address}`,
  ]
  const prometheus = spawn('prometheus', args, { stdio: 'ignore' })
  const ended = once(prometheus, 'exit')
  try {
    const ask = async <R>(what: string, params: Record<string, string> = {}): Promise<R> => {
      const query = new URLSearchParams(params).toString()
      return (await (await fetch(`http://${address}/api/v1/${what}?${query}`)).json()) as R
    }
    interface Answer {
      readonly status: string
      readonly error?: string
      readonly data?: { readonly result: readonly { metric: Record<string, string>; value: [number, string] }[] }
    }
    const query = (expr: string): Promise<Answer> => ask('query', { query: expr })
    const found = await eventually(async () => {
      if (prometheus.exitCode !== null) throw new Error(`prometheus ended with ${prometheus.exitCode}`)
      const answer = await query('varve_machine_last_point_timestamp_seconds').catch(() => null)
      return answer?.data?.result[0] ?? null
    })
    expect([found.metric['tenant'], found.metric['machine'], found.value[1]]).toEqual([TENANT, 'db1', '1700000000'])
    expect((await query('up{job="varve"}')).data?.result[0]?.value[1]).toBe('1')
    const state = await eventually(async () => (await query('varve_machine_state')).data?.result[0])
    expect([state.metric['machine'], state.value[1]]).toEqual(['db1', '1'])
    // no plan covers it
    expect(state.metric['state']).toBe('uncovered')
    // as Prometheus takes it, OpenMetrics, nothing is without its type
    const types = await ask<{ data: Record<string, { type: string }[]> }>('metadata', { metric: 'varve_backup_bytes' })
    expect(Object.values(types.data).flat()).toMatchObject([{ type: 'counter' }])
    for (const { title, expr } of expressions)
      expect([title, expr, await query(expr)]).toMatchObject([title, expr, { status: 'success' }])
    const rules = await ask<{ data: { groups: { rules: { health: string; lastError?: string }[] }[] } }>('rules')
    expect(rules.data.groups.flatMap((group) => group.rules).length).toBeGreaterThan(10)
  } finally {
    prometheus.kill('SIGTERM')
    await ended
  }
})
