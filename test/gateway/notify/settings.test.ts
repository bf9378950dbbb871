// What targets may be: nothing secret crosses a network in the clear unseen, no secret follows to another host, and no text of
// a person or a server gets into headers.
import { expect, test } from 'vitest'
import * as v from 'valibot'
import { redacted, settledSecrets, type Secrets } from '../../../gateway/notify/settings.ts'
import { templateProblem } from '../../../gateway/notify/template.ts'
import { targetSecrets, targetSettings, type TargetSettings } from '../../../protocol/notify.ts'
import { MAIL } from './stand.ts'

const HOOK = { kind: 'webhook', insecure: false, template: null, authority: null } as const
const GOTIFY = {
  kind: 'gotify',
  url: 'https://push.example',
  insecure: false,
  priorities: { info: 1, warning: 5, error: 8 },
  authority: null,
} as const

const codeOf = (work: () => unknown): string => {
  try {
    work()
    return 'none'
  } catch (error) {
    return (error as { code: string }).code
  }
}

const refused = (
  settings: TargetSettings,
  given: object = {},
  before: Parameters<typeof settledSecrets>[2] = null,
): string => codeOf(() => settledSecrets(settings, given, before))

test('in the clear only to this host, or where that is said', () => {
  const clear = { ...MAIL, security: 'none' } as const
  expect(refused(clear)).toBe('PARAMS_INVALID')
  expect(refused({ ...clear, insecure: true })).toBe('none')
  expect(refused({ ...clear, host: '127.0.0.1' })).toBe('none')
  const url = 'http://hook.example/x'
  expect(refused(HOOK, { url })).toBe('PARAMS_INVALID')
  expect(refused({ ...HOOK, insecure: true }, { url })).toBe('none')
  expect(refused(HOOK, { url: 'http://[::1]/x' })).toBe('none')
  expect(refused({ ...GOTIFY, url: 'http://push.example' }, { token: 'x' })).toBe('PARAMS_INVALID')
})

test('what cannot work is refused: no URL, no token, no password, no certificate, a user in the URL', () => {
  expect(refused(HOOK)).toBe('PARAMS_INVALID')
  expect(refused(HOOK, { url: 'https://ann:swordfish@hook.example/' })).toBe('PARAMS_INVALID')
  expect(refused(HOOK, { url: 'https://' })).toBe('PARAMS_INVALID')
  expect(refused(GOTIFY)).toBe('PARAMS_INVALID')
  expect(refused({ ...MAIL, user: 'varve' })).toBe('PARAMS_INVALID')
  expect(refused({ ...MAIL, authority: 'no certificate' })).toBe('PARAMS_INVALID')
})

test('secrets stay with their host: who sends them elsewhere has to know them', () => {
  const before = { settings: { ...MAIL, user: 'varve' }, secrets: { password: 'swordfish' } }
  expect(settledSecrets(before.settings, {}, before)).toEqual({ password: 'swordfish' })
  expect(settledSecrets({ ...before.settings, to: ['bob@example.org'] }, {}, before)).toEqual({ password: 'swordfish' })
  for (const change of [
    { host: 'evil.example' },
    { port: 2525 },
    { security: 'tls' as const },
    { insecure: true },
    { user: 'other' },
  ]) {
    expect(refused({ ...before.settings, ...change }, {}, before)).toBe('PARAMS_INVALID')
    expect(refused({ ...before.settings, ...change }, { password: 'new' }, before)).toBe('none')
  }
  const hook = { settings: HOOK, secrets: { url: 'https://a.example/x', key: 'k', headers: [] } as Secrets }
  expect(refused(HOOK, { url: 'https://a.example/y' }, hook)).toBe('none')
  expect(refused(HOOK, { url: 'https://b.example/x' }, hook)).toBe('PARAMS_INVALID')
  expect(settledSecrets(HOOK, { url: 'https://b.example/x', key: null, headers: null }, hook)).toEqual({
    url: 'https://b.example/x',
  })
  // of another kind, nothing of before is of use
  expect(settledSecrets(GOTIFY, { token: 't' }, before)).toEqual({ token: 't' })
})

test('templates make JSON, and name what they do not know', () => {
  expect(templateProblem('{"text": "{{subject}}"}')).toBeNull()
  expect(templateProblem('{"text": {{subject}}}')).toContain('JSON')
  expect(templateProblem('{"text": "{{subjekt}}"}')).toContain('{{subjekt}}')
  expect(templateProblem('{"text": "{{constructor}}"}')).toContain('constructor')
})

test.each([
  { ...MAIL, from: 'varve@example.org\r\nBcc: eve@example.org' },
  { ...MAIL, to: ['ann@example.org, eve@example.org'] },
  { ...MAIL, to: ['Ann <ann@example.org>'] },
  { ...MAIL, to: ['"a\r\nb"@example.org'] },
  { ...MAIL, to: [] },
  { ...MAIL, host: 'mail.example\r\nQUIT' },
  { ...MAIL, host: 'a b' },
  { ...MAIL, port: 0 },
  { ...MAIL, user: 'ann\nroot' },
  { ...GOTIFY, url: 'file:///etc/passwd' },
  { ...GOTIFY, url: 'https://a b/' },
  { ...GOTIFY, kind: 'ntfy', topic: '../admin' },
])('%j is no target', (settings) => {
  expect(v.safeParse(targetSettings, settings).success).toBe(false)
})

test('headers hold no line ends, and secrets neither', () => {
  for (const headers of [
    [{ name: 'A: b\r\nC', value: 'd' }],
    [{ name: 'A', value: 'b\r\nC: d' }],
    [{ name: '', value: 'd' }],
  ])
    expect(v.safeParse(targetSecrets, { headers }).success).toBe(false)
  expect(v.safeParse(targetSecrets, { token: 'a\r\nb' }).success).toBe(false)
})

test('the words of a server lose every secret, also as it stands in a login', () => {
  const login = Buffer.from('\0varve\0swordfish').toString('base64')
  const text = `535 swordfish ${login} ${Buffer.from('swordfish').toString('base64')} refused`
  expect(redacted(text, { password: 'swordfish' }, 'varve')).toBe('535 *** *** *** refused')
})

test.each([
  'no token f4b1c0ffee here',
  'GET /hooks/T0B0SECRET?sig=f4b1c0ffee&to=a%2Bbcd',
  'unknown: a+bcd',
  'no a%2Bbcd',
  'no hook T0B0SECRET',
  'sig=f4b1c0ffee&to=a%2Bbcd',
])('"%s" of a webhook’s server keeps nothing of its URL', (text) => {
  const url = 'https://hook.example/hooks/T0B0SECRET?sig=f4b1c0ffee&to=a%2Bbcd'
  expect(redacted(text, { url })).not.toMatch(/f4b1c0ffee|T0B0SECRET|a\+bcd|a%2Bbcd/u)
})
