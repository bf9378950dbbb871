// Sending spans: what a collector takes, what is tried again, and what is given up, also at the end.
import { expect, test } from 'vitest'
import { spansOf } from '../../../gateway/metrics/spans.ts'
import { RETRY_PAUSES_MS, SPANS_WAITING_MAX, TraceSender, tracesUrl } from '../../../gateway/metrics/trace-sender.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually } from '../../support/temp.ts'
import { startCollector } from './collector.ts'

const SPANS = spansOf({
  job: '0f9c6a52-5b1e-4d2e-8f9a-0123456789ab',
  tenant: 'acme',
  machine: 'db1',
  startedMs: 1000,
  endedMs: 2000,
  error: null,
  bytes: { read: 1, sent: 1, stored: 1 },
  noted: { toldMs: 1900, steps: [] },
})

const stand = (endpoint: string) => {
  const clock = new HandClock()
  const counted = { sent: 0, dropped: 0 }
  const sender = new TraceSender({
    url: tracesUrl(endpoint),
    instance: 'i1',
    count: (outcome, spans) => void (counted[outcome] += spans),
    clock,
    log: openLog({ level: 'silent' }),
  })
  return { sender, clock, counted }
}

test('the path of OTLP is added to the base of a collector', () => {
  expect(tracesUrl('http://127.0.0.1:4318')).toBe('http://127.0.0.1:4318/v1/traces')
  expect(tracesUrl('https://a.example/otlp/')).toBe('https://a.example/otlp/v1/traces')
  expect(tracesUrl('https://a.example/v1/traces')).toBe('https://a.example/v1/traces')
})

test('a collector is given what it can read', async () => {
  await using collector = await startCollector()
  const { sender, counted } = stand(collector.url)
  await using _ = sender
  sender.send(SPANS)
  sender.send(SPANS)
  await eventually(() => counted.sent === 4)
  expect(collector.spans).toEqual([...SPANS, ...SPANS])
  expect(new Set(collector.answered)).toEqual(new Set([200]))
})

test('what may succeed later is tried again, and dropped after the last try', async () => {
  await using collector = await startCollector((request) => (request === 1 ? 200 : 503))
  const { sender, clock, counted } = stand(collector.url)
  await using _ = sender
  sender.send(SPANS)
  await eventually(() => clock.waiting === 1)
  clock.advance(RETRY_PAUSES_MS[0]!)
  await eventually(() => counted.sent === SPANS.length)
  sender.send(SPANS)
  for (const pauseMs of RETRY_PAUSES_MS) {
    await eventually(() => clock.waiting === 1)
    clock.advance(pauseMs)
  }
  await eventually(() => counted.dropped === SPANS.length)
  expect(collector.answered).toHaveLength(2 + 1 + RETRY_PAUSES_MS.length)
})

test('what a collector refuses for good is dropped at once', async () => {
  await using collector = await startCollector(() => 401)
  const { sender, counted } = stand(collector.url)
  await using _ = sender
  sender.send(SPANS)
  await eventually(() => counted.dropped === SPANS.length)
  expect(collector.answered).toEqual([401])
})

test('without a collector nothing is hoarded, and the end does not wait for one', async () => {
  const { sender, clock, counted } = stand('http://127.0.0.1:9')
  sender.send(SPANS)
  await eventually(() => clock.waiting === 1)
  const many = Array.from({ length: SPANS_WAITING_MAX }, () => SPANS[0]!)
  sender.send(many)
  expect(counted.dropped).toBe(SPANS_WAITING_MAX)
  const ended = sender[Symbol.asyncDispose]()
  clock.advance(2000)
  await ended
  expect([counted, clock.waiting]).toEqual([{ sent: 0, dropped: SPANS_WAITING_MAX + SPANS.length }, 0])
  sender.send(SPANS)
  expect(counted.dropped).toBe(SPANS_WAITING_MAX + 2 * SPANS.length)
})
