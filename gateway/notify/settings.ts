// What targets may be: where they may go in the clear, which secrets each kind has, and when those have to be given again. Pure.
import { X509Certificate } from 'node:crypto'
import { VarveError } from '../../protocol/errors.ts'
import type { TargetSecrets, TargetSettings } from '../../protocol/notify.ts'
import { isLoopbackHost } from './addresses.ts'
import { templateProblem } from './template.ts'

/** Secrets as they are kept: those that are there. */
export interface Secrets {
  readonly password?: string
  readonly token?: string
  readonly url?: string
  readonly key?: string
  readonly headers?: readonly { readonly name: string; readonly value: string }[]
}

const USED: Readonly<Record<TargetSettings['kind'], readonly (keyof Secrets)[]>> = {
  smtp: ['password'],
  webhook: ['url', 'key', 'headers'],
  ntfy: ['token'],
  gotify: ['token'],
}

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

/** A URL that a target or a ping may have; PARAMS_INVALID. */
export const checkedUrl = (text: string, insecure: boolean): URL => {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    // the text may be a secret
    throw wrong('the URL is none')
  }
  if (!/^https?:$/u.test(url.protocol) || /[^!-~]/u.test(text)) throw wrong('the URL is none of http or https')
  if (url.username !== '' || url.password !== '') throw wrong('the URL names a user: give a token or a header instead')
  if (url.protocol !== 'https:' && !insecure && !isLoopbackHost(url.hostname))
    throw wrong(`the URL of ${url.host} would carry messages and secrets in the clear: take https, or say insecure`)
  return url
}

const checkAuthority = (authority: string | null): void => {
  if (authority === null) return
  try {
    void new X509Certificate(authority)
  } catch {
    throw wrong('the certificate authority of the target is no certificate in PEM')
  }
}

/** The secrets that a target has from now on: given ones, and those of before that it keeps. */
const merged = (kind: TargetSettings['kind'], given: TargetSecrets, before: Secrets): Secrets => {
  const entries = USED[kind].flatMap((name) => {
    const value = given[name] === undefined ? before[name] : given[name]
    return value === undefined || value === null ? [] : [[name, value] as const]
  })
  return Object.fromEntries(entries) as Secrets
}

/** All that says who gets the secrets of a target, and how well they are kept on the way. */
const destination = (settings: TargetSettings, { url }: Secrets): string => {
  const { kind, insecure, authority } = settings
  const where =
    settings.kind === 'smtp'
      ? [settings.host, settings.port, settings.security, settings.user]
      : [new URL(settings.kind === 'webhook' ? (url ?? 'https://none') : settings.url).origin]
  return JSON.stringify([kind, insecure, authority, ...where])
}

/** The target of before, with its secrets; null where its key is lost. */
export interface Before {
  readonly settings: TargetSettings
  readonly secrets: Secrets | null
}

/** What a change of a target makes of its secrets; PARAMS_INVALID for settings that cannot be, or that lack a secret. */
export const settledSecrets = (settings: TargetSettings, given: TargetSecrets, before: Before | null): Secrets => {
  checkAuthority(settings.authority)
  if (settings.kind === 'smtp') {
    const { host, security, insecure } = settings
    if (security === 'none' && !insecure && !isLoopbackHost(host))
      throw wrong(`mail to ${host} would cross the network in the clear: take starttls or tls, or say insecure`)
  } else if (settings.kind !== 'webhook') checkedUrl(settings.url, settings.insecure)
  else if (settings.template !== null) {
    const problem = templateProblem(settings.template)
    if (problem !== null) throw wrong(problem)
  }
  const known = before?.secrets ?? {}
  const secrets = merged(settings.kind, given, known)
  if (settings.kind === 'webhook') {
    if (secrets.url === undefined) throw wrong('a webhook needs its URL')
    checkedUrl(secrets.url, settings.insecure)
  }
  if (before !== null && destination(settings, secrets) !== destination(before.settings, known)) {
    const kept = USED[settings.kind].find((name) => given[name] === undefined && known[name] !== undefined)
    if (kept !== undefined) throw wrong(`the target goes another way than before: give its ${kept} again, or remove it`)
  }
  if (settings.kind === 'smtp' && settings.user !== null && secrets.password === undefined)
    throw wrong(`the user ${settings.user} needs a password`)
  if (settings.kind === 'gotify' && secrets.token === undefined) throw wrong('Gotify needs the token of an application')
  return secrets
}

/** Where a webhook goes, as it may be shown. */
export const originOf = ({ url }: Secrets): string | null => (url === undefined ? null : new URL(url).origin)

const base64 = (plain: string): string => Buffer.from(plain).toString('base64')

/** Shortest part of a path that is taken for a secret, in characters: shorter ones are words. */
const PATH_SECRET_CHARS_MIN = 8

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** All of a URL that may be its secret, as it stands there and as servers read it. */
const urlSecrets = (text: string): string[] => {
  const { pathname, search, searchParams, hash } = new URL(text)
  const parts = pathname.split('/').filter((part) => part.length >= PATH_SECRET_CHARS_MIN)
  const written = [text, `${pathname}${search}`, pathname, search.slice(1), hash.slice(1), ...parts]
  const asked = search
    .slice(1)
    .split('&')
    .map((one) => one.slice(one.indexOf('=') + 1))
  return [...written, ...written.map(decoded), ...searchParams.values(), ...asked]
}

/** A text of another side without any of the secrets that it was given. */
export const redacted = (text: string, { password, token, url, key, headers = [] }: Secrets, user = ''): string => {
  const plain = [
    password,
    token,
    key,
    ...(url === undefined ? [] : urlSecrets(url)),
    ...headers.map(({ value }) => value),
  ]
    .filter((one): one is string => one !== undefined && one.length > 3)
    .toSorted((a, b) => b.length - a.length)
  const login = password === undefined ? [] : [base64(`\0${user}\0${password}`)]
  return [...login, ...plain.flatMap((one) => [one, base64(one)])].reduce(
    (left, one) => left.replaceAll(one, '***'),
    text,
  )
}
