// The checks of the unattended run see what is wrong. Method: facts of a run in which all is right, and ones with one flaw each.
import { createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { EventRow } from '../../gateway/catalog/events.ts'
import type { RunRow } from '../../gateway/catalog/runs.ts'
import type { Message } from '../../protocol/notify.ts'
import { allChecks, MINUTE_MS, type Facts } from './checks.ts'
import { isSigned } from './hook.ts'
import type { Mail } from './mailbox.ts'

const T = 1_900_000_020_000 - (1_900_000_020_000 % MINUTE_MS)

const runAt = (minute: number, rest: Partial<RunRow> = {}): RunRow => ({
  id: `run ${minute}`,
  tenant: 't',
  kind: 'backup',
  machine: 'db1',
  plan: 'minutely',
  dueMs: T + minute * MINUTE_MS,
  state: 'done',
  skipped: null,
  attempts: 1,
  error: null,
  nextMs: null,
  startedMs: null,
  endedMs: null,
  job: `job ${minute}`,
  by: null,
  summary: '',
  owner: null,
  leaseMs: null,
  jobState: null,
  jobError: null,
  ...rest,
})

const changed = (active: boolean | null, rest: Partial<EventRow> = {}): EventRow => ({
  seq: 1,
  number: 1,
  tenant: 't',
  tenantName: 'acme',
  timeMs: T,
  kind: 'machine.state',
  severity: 'warning',
  machine: 'db1',
  group: null,
  active,
  key: 'machine.state db1',
  text: '',
  data: {},
  ...rest,
})

const said = (state: Message['items'][number]['state']): Message => ({
  version: 1,
  id: state,
  timeMs: T,
  tenant: 'acme',
  target: 'hook',
  kind: 'notice',
  severity: 'warning',
  subject: `db1 ${state}`,
  text: '',
  items: [
    {
      kind: 'machine.state',
      severity: 'warning',
      state,
      machine: 'db1',
      group: null,
      sinceMs: T,
      text: '',
      look: '',
      data: {},
    },
  ],
  more: 0,
})

const mailOf = ({ subject }: Message, rest: Partial<Mail> = {}): Mail => ({
  from: 'varve@example.org',
  to: ['ops@example.org'],
  subject,
  raw: '',
  secure: true,
  ...rest,
})

const MESSAGES = [said('active'), said('resolved')]

const RIGHT: Facts = {
  machines: ['db1'],
  fromMs: T - 5000,
  toMs: T + 3 * MINUTE_MS + 5000,
  gatewayAway: [],
  runs: [
    ...[0, 1, 2, 3].map((minute) => runAt(minute)),
    runAt(3, { id: 'prune', kind: 'prune', machine: null, plan: null, job: null }),
    runAt(3, { id: 'gc', kind: 'collect', machine: null, plan: null, job: null }),
  ],
  events: [changed(true), changed(false, { severity: 'info' })],
  proofs: [0, 1, 2, 3].map((minute) => ({ point: `job ${minute}`, machine: 'db1', timeMs: T, wrong: null })),
  gone: 0,
  points: 2,
  removable: 0,
  mails: MESSAGES.map((message) => mailOf(message)),
  messages: MESSAGES,
  wrongHooks: [],
  mostBytes: 1000,
  bytes: 500,
}

const wrongIn = (facts: Partial<Facts>): string[] =>
  allChecks({ ...RIGHT, ...facts }).flatMap(({ what, ok }) => (ok ? [] : [what]))

describe('checks', () => {
  test('find nothing where all is right', () => {
    expect(wrongIn({})).toEqual([])
  })

  test.each<[string, Partial<Facts>]>([
    ['every slot has a run, none twice', { toMs: T + 5 * MINUTE_MS }],
    ['every run is over and says why', { runs: [...RIGHT.runs, runAt(4, { state: 'failed', job: null })] }],
    ['every run is over and says why', { runs: [...RIGHT.runs, runAt(4, { state: 'due', job: null })] }],
    ['every point is of one run', { runs: [...RIGHT.runs, runAt(4, { job: 'job 3' })] }],
    [
      'every point is exact',
      { proofs: RIGHT.proofs.map((proof) => ({ ...proof, wrong: 'disk vda is not as it was' })) },
    ],
    ['retention holds', { removable: 1 }],
    ['retention holds', { points: 4 }],
    ['retention holds', { runs: RIGHT.runs.filter(({ kind }) => kind !== 'prune') }],
    ['space is reclaimed', { bytes: 1000 }],
    ['one message for each change of state, one when it is good', { events: [...RIGHT.events, changed(true)] }],
    ['mail says the same, over TLS', { mails: MESSAGES.map((message) => mailOf(message, { secure: false })) }],
    ['mail says the same, over TLS', { mails: [] }],
    ['webhooks are signed right', { wrongHooks: ['signature ""'] }],
    ['each crash is told once', { gatewayAway: [{ fromMs: T, toMs: T }] }],
  ])('%s', (what, flaw) => {
    expect(wrongIn(flaw)).toEqual([what])
  })

  test('a second message of one change is one too often', () => {
    const messages = [...MESSAGES, { ...said('active'), id: 'again' }]
    const mails = messages.map((message) => mailOf(message))
    expect(wrongIn({ messages, mails })).toEqual(['one message for each change of state, one when it is good'])
  })

  test('a slot that came while the gateway was away may be stood for by another one', () => {
    const gatewayAway = [{ fromMs: T + MINUTE_MS - 1, toMs: T + MINUTE_MS + 1 }]
    const runs = RIGHT.runs.filter(({ dueMs }) => dueMs !== T + MINUTE_MS)
    const crashed = changed(null, { kind: 'gateway.crashed', key: null, machine: null })
    expect(
      wrongIn({ gatewayAway, runs, proofs: RIGHT.proofs.slice(2), points: 1, events: [...RIGHT.events, crashed] }),
    ).toEqual([])
  })
})

test('a signature is one over time and body, and not an old one', () => {
  const sign = (seconds: number, body: string): string =>
    `t=${seconds},v1=${createHmac('sha256', 'key').update(`${seconds}.${body}`).digest('hex')}`
  const now = Math.floor(T / 1000)
  expect(isSigned('key', sign(now, 'body'), 'body', T)).toBe(true)
  expect(isSigned('key', sign(now, 'body'), 'bodY', T)).toBe(false)
  expect(isSigned('yek', sign(now, 'body'), 'body', T)).toBe(false)
  expect(isSigned('key', sign(now - 400, 'body'), 'body', T)).toBe(false)
  expect(isSigned('key', '', 'body', T)).toBe(false)
})
