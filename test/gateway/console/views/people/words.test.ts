// What the view works out before it draws: agents in order, matches in words, limits in GiB, and the form of a target.
import * as v from 'valibot'
import { expect, test } from 'vitest'
import { match, targetSecrets, targetSettings } from '../../../../../protocol/notify.ts'
import { agentState, inOrder } from '../../../../../gateway/console/views/people/agent-state.ts'
import { bytesOfGib, gibOfBytes } from '../../../../../gateway/console/views/people/gib.ts'
import { matchOf, matchText } from '../../../../../gateway/console/views/people/match-text.ts'
import { EMPTY_FORM, settingsOfForm } from '../../../../../gateway/console/views/people/target-settings.ts'
import type { Agent } from '../../../../../gateway/console/stores/people.ts'

const agent = (host: string, change: Partial<Agent> = {}): Agent => ({
  id: host,
  host,
  enrolledMs: 1,
  seenMs: 2,
  revokedMs: null,
  online: false,
  site: null,
  link: null,
  ...change,
})

test('agents that are away come first, revoked ones last, each by host', () => {
  const agents = [
    agent('e', { revokedMs: 3, online: true }),
    agent('d', { online: true }),
    agent('c', { seenMs: null }),
    agent('b'),
    agent('a', { online: true }),
    agent('a2'),
  ]
  expect(agents.map(agentState)).toEqual(['revoked', 'connected', 'never', 'away', 'connected', 'away'])
  expect(inOrder(agents).map(({ host }) => host)).toEqual(['a2', 'b', 'c', 'a', 'd', 'e'])
})

test('a match is a sentence, and what a form makes is one that the gateway takes', () => {
  expect(matchText({})).toBe('everything')
  expect(matchText({ severity: 'error', kinds: ['damage', 'quota.hard'], not: { machines: ['t*'] } })).toBe(
    'errors, damage or quota.hard, not (machines t*)',
  )
  const made = matchOf({ severity: 'warning', machines: ' db*, web? ' })
  expect(made).toEqual({ severity: 'warning', machines: ['db*', 'web?'] })
  expect(v.is(match, made)).toBe(true)
  expect(matchOf({ severity: 'info', machines: ' ' })).toEqual({ severity: 'info' })
})

test('limits are read as they are written, with a point or a comma, and nothing else is', () => {
  for (const text of ['', '1', '0.5', '1000']) expect(gibOfBytes(bytesOfGib(text)!)).toBe(text)
  expect(bytesOfGib('1,5')).toBe(1.5 * 2 ** 30)
  for (const text of ['0', '-1', '1e3', 'x', '1.5 GiB', '0.0000000001']) expect(bytesOfGib(text)).toBeUndefined()
})

test('the form of each kind of target gives settings and secrets that the gateway takes, secrets apart', () => {
  const form = {
    ...EMPTY_FORM,
    host: 'mail.example',
    from: 'a@example.org',
    to: 'b@example.org, c@example.org',
    password: ' p ',
    url: 'https://desk.example/x',
    topic: 'varve',
    token: 'tk',
  }
  for (const kind of ['smtp', 'webhook', 'ntfy', 'gotify'] as const) {
    const { settings, secrets } = settingsOfForm({ ...form, kind })
    expect(v.safeParse(targetSettings, settings).issues).toBeUndefined()
    expect(v.safeParse(targetSecrets, secrets).issues).toBeUndefined()
    expect(JSON.stringify(settings)).not.toMatch(/"tk"| p /u)
    expect(Object.keys(secrets)).toEqual([{ smtp: 'password', webhook: 'url', ntfy: 'token', gotify: 'token' }[kind]])
  }
  expect(settingsOfForm({ ...form, kind: 'smtp' }).settings).toMatchObject({ to: ['b@example.org', 'c@example.org'] })
})
