// The gauges of machines as text: what is known of each, escaped, and other work between portions.
import { expect, test } from 'vitest'
import { labelText, machineLines, MACHINE_GAUGES, type MachineFigures } from '../../../gateway/metrics/machine-lines.ts'

const machine = (changes: Partial<MachineFigures> = {}): MachineFigures => ({
  tenant: 'acme',
  machine: 'db1',
  lastPointMs: null,
  rpoMs: null,
  deadlineMs: null,
  verifiedMs: null,
  state: null,
  ...changes,
})

const samples = (text: string): string[] => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))

test('what is known of a machine is given, in seconds, and nothing else', async () => {
  const known = { lastPointMs: 1500, rpoMs: 3_600_000, deadlineMs: 9000, verifiedMs: 0, state: 'late' }
  const text = await machineLines([machine(known), machine({ machine: 'db2' })])
  expect(samples(text)).toEqual([
    'varve_machine_state{tenant="acme",machine="db1",state="late"} 1',
    'varve_machine_last_point_timestamp_seconds{tenant="acme",machine="db1"} 1.5',
    'varve_machine_deadline_timestamp_seconds{tenant="acme",machine="db1"} 9',
    'varve_machine_rpo_seconds{tenant="acme",machine="db1"} 3600',
    'varve_machine_last_verified_timestamp_seconds{tenant="acme",machine="db1"} 0',
  ])
  expect([...text.matchAll(/^# TYPE (\S+) gauge$/gmu)].map(([, name]) => name)).toEqual(MACHINE_GAUGES)
})

test('a label holds no quote, backslash or line end as it is', () => {
  expect(labelText('a"b\\c\nd')).toBe(String.raw`a\"b\\c\nd`)
})

test('other work goes on while very many are written', async () => {
  const machines = Array.from({ length: 10_000 }, (_, index) => machine({ machine: `m${index}`, lastPointMs: index }))
  let turns = 0
  let over = false
  const count = (): void => {
    turns++
    if (!over) setImmediate(count)
  }
  setImmediate(count)
  const text = await machineLines(machines)
  over = true
  expect(samples(text)).toHaveLength(10_000)
  expect(turns).toBeGreaterThan(10)
})
