// The spans of a backup: one trace by the id of its job, steps within it whatever an agent says, and its failure.
import { expect, test } from 'vitest'
import type { EndedBackup } from '../../../gateway/metrics/ended-backups.ts'
import { exportOf, spansOf, traceIdOf } from '../../../gateway/metrics/spans.ts'
import type { Step } from '../../../protocol/steps.ts'

const JOB = '0f9c6a52-5b1e-4d2e-8f9a-0123456789ab'

const step = (changes: Partial<Step>): Step => ({
  step: 'lease',
  disk: null,
  agoMs: 0,
  tookMs: 0,
  bytes: 0,
  ...changes,
})

const ended = (changes: Partial<EndedBackup> = {}): EndedBackup => ({
  job: JOB,
  tenant: 'acme',
  machine: 'db1',
  startedMs: 1_000_000,
  endedMs: 1_009_000,
  error: null,
  bytes: { read: 7, sent: 5, stored: 3 },
  noted: null,
  ...changes,
})

const timesOf = ({ startTimeUnixNano, endTimeUnixNano }: { startTimeUnixNano: string; endTimeUnixNano: string }) =>
  [startTimeUnixNano, endTimeUnixNano].map((nanos) => Number(BigInt(nanos) / 1_000_000n))

test('steps lie below the backup, at the times that they are counted back to', () => {
  const steps = [
    step({ agoMs: 7000, tookMs: 2000 }),
    step({ step: 'disk', disk: 'vda', agoMs: 5000, tookMs: 4000, bytes: 99 }),
  ]
  const [root, lease, disk, end] = spansOf(ended({ noted: { toldMs: 1_008_000, steps } }))
  expect([root!.name, lease!.name, disk!.name, end!.name]).toEqual([
    'backup',
    'agent lease',
    'agent disk',
    'gateway commit',
  ])
  expect([root!, lease!, disk!, end!].map(timesOf)).toEqual([
    [1_000_000, 1_009_000],
    [1_001_000, 1_003_000],
    [1_003_000, 1_007_000],
    [1_008_000, 1_009_000],
  ])
  expect(root).not.toHaveProperty('parentSpanId')
  expect([lease, disk, end].map((span) => span!.parentSpanId)).toEqual(Array(3).fill(root!.spanId))
  expect(disk!.attributes).toEqual([
    { key: 'varve.disk', value: { stringValue: 'vda' } },
    { key: 'varve.bytes_read', value: { intValue: '99' } },
  ])
})

test('ids have the form of OTLP, differ within a trace, and are the same again', () => {
  const noted = { toldMs: 1_008_000, steps: [step({}), step({})] }
  const spans = spansOf(ended({ noted }))
  for (const { traceId, spanId } of spans) {
    expect(traceId).toBe(JOB.replaceAll('-', ''))
    expect(spanId).toMatch(/^[0-9a-f]{16}$/u)
  }
  expect(traceIdOf(JOB)).toMatch(/^[0-9a-f]{32}$/u)
  expect(new Set(spans.map(({ spanId }) => spanId)).size).toBe(4)
  expect(spansOf(ended({ noted }))).toEqual(spans)
})

test('whatever an agent says, a step is not outside of its backup', () => {
  const steps = [
    step({ agoMs: Number.MAX_SAFE_INTEGER, tookMs: Number.MAX_SAFE_INTEGER }),
    step({ agoMs: 0, tookMs: 10 ** 12 }),
  ]
  const [, first, second] = spansOf(ended({ noted: { toldMs: 1_008_000, steps } }))
  expect([first!, second!].map(timesOf)).toEqual([
    [1_000_000, 1_008_000],
    [1_008_000, 1_009_000],
  ])
})

test('a failure is the error of the backup, with its code', () => {
  const error = { code: 'LEASE_LOST', message: 'the backup of db1 failed' }
  const [root, end] = spansOf(ended({ error, noted: { toldMs: 1_008_000, steps: [] } }))
  expect(root!.status).toEqual({ code: 2, message: 'the backup of db1 failed' })
  expect(root!.attributes).toContainEqual({ key: 'error.type', value: { stringValue: 'LEASE_LOST' } })
  expect(root!.attributes.map(({ key }) => key)).not.toContain('varve.bytes_read')
  expect(end!.name).toBe('gateway fail')
  expect(spansOf(ended({ error }))).toHaveLength(1)
})

test('an export names the service', () => {
  expect(exportOf([], 'i1')).toMatchObject({
    resourceSpans: [
      {
        resource: {
          attributes: expect.arrayContaining([
            { key: 'service.name', value: { stringValue: 'varve-gateway' } },
          ]) as unknown,
        },
      },
    ],
  })
})
