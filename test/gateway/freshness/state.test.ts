// The state of a machine: a row for each rule and each of its edges, and which rule goes before which.
import { describe, expect, test } from 'vitest'
import {
  heardMs,
  stateOf,
  SEVERITY_OF,
  UNCOVERED_TOLD_MS,
  UNHEARD_MS,
  VERIFY_MARGIN_MS,
  type MachineFacts,
} from '../../../gateway/freshness/state.ts'
import { MACHINE_STATES, STATES_WORST_FIRST } from '../../../protocol/coverage.ts'
import { DAY_MS } from '../../../protocol/host/duration.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 29, 12)

const PLAN = { name: 'nightly', enabled: true, schedule: '0 1 * * *', rpoMs: null, verifyDays: 30 } as const

/** A machine that is fresh. */
const FRESH: MachineFacts = {
  plan: PLAN,
  exclusion: null,
  host: 'hv1',
  online: true,
  revokedMs: null,
  seenMs: NOW_MS - HOUR_MS,
  goneMs: null,
  createdMs: NOW_MS - 90 * DAY_MS,
  lastPointMs: NOW_MS - 11 * HOUR_MS,
  firstPointMs: NOW_MS - 60 * DAY_MS,
  lastVerifiedMs: NOW_MS - 2 * DAY_MS,
  failing: null,
  deadlineMs: NOW_MS + 14 * HOUR_MS,
}

const is = (facts: Partial<MachineFacts>, nowMs = NOW_MS) => stateOf({ ...FRESH, ...facts }, nowMs)

const EXCLUSION = { by: 'ann', reason: 'a test machine', sinceMs: NOW_MS - DAY_MS, untilMs: NOW_MS + DAY_MS }
const FAILING = {
  sinceMs: NOW_MS - 5 * HOUR_MS,
  error: { code: 'SCRATCH_LOW', message: 'only 2 GiB are left' },
  open: false,
  retryMs: null,
}

describe('each state', () => {
  test('fresh, until its deadline and not past it', () => {
    expect(is({})).toEqual({
      state: 'fresh',
      reason: 'its newest restore point is of 2026-11-29 01:00:00 UTC; the next one is due by 2026-11-30 02:00:00 UTC',
      sinceMs: null,
      deadlineMs: NOW_MS + 14 * HOUR_MS,
      telling: 'now',
    })
    expect(is({}, FRESH.deadlineMs!).state).toBe('fresh')
    expect(is({}, FRESH.deadlineMs! + 1).state).toBe('late')
  })

  test('late, by how much and since when; an agent that is away is named', () => {
    const late = is({ deadlineMs: NOW_MS - 8 * HOUR_MS, lastPointMs: NOW_MS - 40 * HOUR_MS })
    expect(late).toEqual({
      state: 'late',
      reason:
        'late by 8 h: its newest restore point is of 2026-11-27 20:00:00 UTC, the next one was due by 2026-11-29 04:00:00 UTC',
      sinceMs: NOW_MS - 8 * HOUR_MS,
      deadlineMs: NOW_MS - 8 * HOUR_MS,
      telling: 'now',
    })
    const away = is({ deadlineMs: NOW_MS - 1, online: false })
    expect(away.reason).toContain('late by 1 s')
    expect(away.reason).toContain('its agent on hv1 is not connected since 2026-11-29 11:00:00 UTC')
  })

  test('a point from the future proves nothing of its age', () => {
    expect(is({ lastPointMs: NOW_MS + DAY_MS })).toMatchObject({ state: 'late', telling: 'now' })
    // clocks differ a little
    expect(is({ lastPointMs: NOW_MS + 60_000 }).state).toBe('fresh')
  })

  test('never: not yet due is shown and not told, overdue is told', () => {
    const none = { lastPointMs: null, firstPointMs: null, lastVerifiedMs: null }
    expect(is(none)).toMatchObject({
      state: 'never',
      reason: 'it has no restore point yet; the first one is due by 2026-11-30 02:00:00 UTC',
      telling: 'quiet',
    })
    expect(is({ ...none, deadlineMs: NOW_MS - 2 * HOUR_MS })).toMatchObject({
      state: 'never',
      reason: 'it has no restore point, and the first one was due 2 h ago',
      telling: 'now',
    })
  })

  test('uncovered: no plan covers it, with points or without; a new machine’s owner has an hour', () => {
    const none = { plan: null, deadlineMs: null }
    expect(is(none)).toMatchObject({ state: 'uncovered', deadlineMs: null, telling: 'now' })
    const bare = is({ ...none, lastPointMs: null, firstPointMs: null, lastVerifiedMs: null, failing: FAILING })
    expect(bare).toMatchObject({
      state: 'uncovered',
      reason:
        'no plan covers it, so nothing backs it up by itself; it has no restore point: add it to a plan, or exclude it',
      telling: 'now',
    })
    expect(SEVERITY_OF.uncovered).toBe(SEVERITY_OF.never)
    expect(is(none).reason).toContain('no plan covers it')
    expect(is(none).reason).toContain('its newest restore point is of 2026-11-29 01:00:00 UTC')
    expect(is({ ...none, createdMs: NOW_MS - UNCOVERED_TOLD_MS + 1 }).telling).toBe('later')
    expect(is({ ...none, createdMs: NOW_MS - UNCOVERED_TOLD_MS }).telling).toBe('now')
  })

  test('failing: since when, with the error, the way out and when it is tried again', () => {
    const failing = is({ failing: FAILING })
    expect(failing).toMatchObject({ state: 'failing', sinceMs: FAILING.sinceMs, telling: 'now' })
    expect(failing.reason).toContain('backups fail since 2026-11-29 07:00:00 UTC: only 2 GiB are left (SCRATCH_LOW)')
    expect(failing.reason).toContain('make room')
    const again = is({ failing: { ...FAILING, open: true, retryMs: NOW_MS + HOUR_MS } })
    expect(again.reason).toContain('it is tried again at 2026-11-29 13:00:00 UTC')
    // what may succeed by itself in time is told later
    expect(again.telling).toBe('later')
    const late = { deadlineMs: NOW_MS - 1, failing: { ...FAILING, open: true } }
    expect(is(late)).toMatchObject({ state: 'failing', telling: 'now' })
    // a code without a way out keeps its own message
    const other = { ...FAILING, error: { code: 'CHUNK_INVALID', message: 'a chunk is not what it says' } }
    expect(is({ failing: other }).reason).toContain('a chunk is not what it says (CHUNK_INVALID); its newest')
  })

  test('an agent that is away makes a machine late in time, not failing', () => {
    const away = { ...FAILING, error: { code: 'AGENT_OFFLINE', message: 'not connected' }, open: true }
    expect(is({ failing: away, online: false }).state).toBe('fresh')
    expect(is({ failing: away, online: false, deadlineMs: NOW_MS - 1 }).state).toBe('late')
  })

  test('excluded until its time, with who and why; nothing is due meanwhile', () => {
    expect(is({ exclusion: EXCLUSION })).toEqual({
      state: 'excluded',
      reason: 'left out on purpose by ann until 2026-11-30 12:00:00 UTC: a test machine',
      sinceMs: EXCLUSION.sinceMs,
      deadlineMs: null,
      telling: 'now',
    })
    expect(is({ exclusion: EXCLUSION }, EXCLUSION.untilMs - 1).state).toBe('excluded')
    expect(is({ exclusion: EXCLUSION }, EXCLUSION.untilMs).state).not.toBe('excluded')
    expect(is({ exclusion: { ...EXCLUSION, untilMs: null } }, NOW_MS + 900 * DAY_MS).state).toBe('excluded')
  })

  test('archived: gone from its host, points kept', () => {
    const gone = is({ goneMs: NOW_MS - DAY_MS, deadlineMs: NOW_MS - HOUR_MS })
    expect(gone).toMatchObject({ state: 'archived', sinceMs: NOW_MS - DAY_MS, deadlineMs: null, telling: 'now' })
    expect(gone.reason).toContain('the agent of hv1 serves it no more')
  })

  test('orphaned: its agent was revoked, or not heard of for long and is not there now', () => {
    expect(is({ revokedMs: NOW_MS - HOUR_MS, online: false })).toMatchObject({
      state: 'orphaned',
      sinceMs: NOW_MS - HOUR_MS,
      telling: 'now',
    })
    const seenMs = NOW_MS - UNHEARD_MS
    expect(is({ online: false, seenMs }).state).toBe('fresh')
    expect(is({ online: false, seenMs: seenMs - 1 })).toMatchObject({ state: 'orphaned', sinceMs: seenMs - 1 })
    expect(is({ online: true, seenMs: seenMs - 1 }).state).toBe('fresh')
  })

  test('unverified: past what the plan allows and the margin; never verified counts from its oldest point', () => {
    const allowedMs = 30 * DAY_MS + VERIFY_MARGIN_MS
    expect(is({ lastVerifiedMs: NOW_MS - allowedMs }).state).toBe('fresh')
    expect(is({ lastVerifiedMs: NOW_MS - allowedMs - 1 })).toMatchObject({ state: 'unverified', telling: 'now' })
    expect(is({ lastVerifiedMs: null, firstPointMs: NOW_MS - allowedMs }).state).toBe('fresh')
    expect(is({ lastVerifiedMs: null, firstPointMs: NOW_MS - allowedMs - 1 }).reason).toContain('was ever verified')
    expect(is({ lastVerifiedMs: null, plan: { ...PLAN, verifyDays: null } }).state).toBe('fresh')
  })

  test('of a plan that starts nothing nothing is expected and nothing told', () => {
    for (const plan of [
      { ...PLAN, enabled: false },
      { ...PLAN, schedule: null },
    ]) {
      expect(is({ plan, deadlineMs: null, failing: FAILING })).toMatchObject({ state: 'fresh', telling: 'quiet' })
      expect(is({ plan, deadlineMs: null, lastPointMs: null })).toMatchObject({ state: 'never', telling: 'quiet' })
    }
    expect(is({ plan: { ...PLAN, enabled: false }, deadlineMs: null }).reason).toContain('nightly is turned off')
  })
})

/** What brings each state about, the first ones before the later ones. */
const CAUSES: readonly (readonly [string, Partial<MachineFacts>])[] = [
  ['excluded', { exclusion: EXCLUSION }],
  ['archived', { goneMs: NOW_MS - DAY_MS }],
  ['orphaned', { revokedMs: NOW_MS - DAY_MS }],
  ['failing', { failing: FAILING }],
  ['late', { deadlineMs: NOW_MS - HOUR_MS }],
  ['unverified', { lastVerifiedMs: NOW_MS - 90 * DAY_MS }],
]

test('of several causes the first one in the table counts, in every combination', () => {
  for (let mask = 0; mask < 2 ** CAUSES.length; mask++) {
    const held = CAUSES.filter((_, index) => (mask & (1 << index)) !== 0)
    const facts = Object.assign({}, ...held.map(([, cause]) => cause)) as Partial<MachineFacts>
    expect(is(facts).state).toBe(held[0]?.[0] ?? 'fresh')
    // without a plan only what says more goes before that
    const uncovered = is({ ...facts, plan: null }).state
    expect(uncovered).toBe(
      ['excluded', 'archived', 'orphaned'].includes(held[0]?.[0] ?? '') ? held[0]![0] : 'uncovered',
    )
    // without a point late becomes never
    const none = is({ ...facts, lastPointMs: null, firstPointMs: null, lastVerifiedMs: null }).state
    const first = held[0]?.[0] ?? 'fresh'
    expect(none).toBe(['late', 'unverified', 'fresh'].includes(first) ? 'never' : first)
    expect(MACHINE_STATES).toContain(none)
  }
  expect([...STATES_WORST_FIRST].toSorted()).toEqual([...MACHINE_STATES].toSorted())
})

test('an agent was heard of when it was noted, not before the gateway started, and never later than now', () => {
  const startedMs = NOW_MS - 5 * DAY_MS
  expect(heardMs(NOW_MS - HOUR_MS, startedMs, NOW_MS)).toBe(NOW_MS - HOUR_MS)
  expect(heardMs(NOW_MS - 9 * DAY_MS, startedMs, NOW_MS)).toBe(startedMs)
  // a clock that is ahead a little is none that is wrong
  expect(heardMs(NOW_MS + 60_000, startedMs, NOW_MS)).toBe(NOW_MS + 60_000)
  const seenMs = heardMs(NOW_MS + 400 * DAY_MS, startedMs, NOW_MS)
  expect(is({ online: false, seenMs }).state).toBe('orphaned')
})
