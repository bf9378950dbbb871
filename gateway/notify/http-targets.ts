// Requests to webhooks, ntfy and Gotify. Pure.
import { createHmac } from 'node:crypto'
import { VERSION } from '../../protocol/host/version.ts'
import type { GotifySettings, Message, NtfySettings, WebhookSettings } from '../../protocol/notify.ts'
import type { Post } from './http-post.ts'
import type { Secrets } from './settings.ts'
import { rendered } from './template.ts'

/** Longest text that ntfy takes as a message and not as a file, in bytes, with room for the rest. */
const NTFY_BYTES_MAX = 3800

const JSON_HEADERS = { 'content-type': 'application/json', 'user-agent': `varve-gateway/${VERSION}` }

/** `t=…,v1=…`: seconds since 1970, and HMAC-SHA256 over them, a dot and the body, in hex. */
export const signatureOf = (key: string, timeMs: number, body: string): string => {
  const seconds = Math.floor(timeMs / 1000)
  return `t=${seconds},v1=${createHmac('sha256', key).update(`${seconds}.${body}`).digest('hex')}`
}

export const webhookPost = (
  { template, authority }: WebhookSettings,
  { url = '', key, headers = [] }: Secrets,
  message: Message,
  nowMs: number,
): Post => {
  const body = template === null ? JSON.stringify(message) : rendered(template, message)
  const own = Object.fromEntries(headers.map(({ name, value }) => [name.toLowerCase(), value]))
  const signed = key === undefined ? {} : { 'varve-signature': signatureOf(key, nowMs, body) }
  return {
    url: new URL(url),
    headers: { ...JSON_HEADERS, ...own, 'varve-id': message.id, ...signed },
    body,
    authority,
  }
}

/** The beginning of a text that has at most so many bytes. */
const bytesOf = (text: string, max: number): string => {
  const bytes = Buffer.from(text)
  if (bytes.length <= max) return text
  return `${bytes
    .subarray(0, max)
    .toString('utf8')
    .replace(/\uFFFD$/u, '')}…`
}

/** A base URL with a path behind it. */
const under = (base: string, path: string): URL => {
  const url = new URL(base)
  url.pathname = `${url.pathname.replace(/\/+$/u, '')}/${path}`
  return url
}

export const ntfyPost = (
  { url, topic, priorities, authority }: NtfySettings,
  { token }: Secrets,
  { subject, text, severity }: Message,
): Post => ({
  url: under(url, ''),
  headers: { ...JSON_HEADERS, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
  body: JSON.stringify({
    topic,
    title: subject,
    message: bytesOf(text, NTFY_BYTES_MAX),
    priority: Math.min(5, Math.max(1, priorities[severity])),
  }),
  authority,
})

export const gotifyPost = (
  { url, priorities, authority }: GotifySettings,
  { token = '' }: Secrets,
  { subject, text, severity }: Message,
): Post => ({
  url: under(url, 'message'),
  headers: { ...JSON_HEADERS, 'x-gotify-key': token },
  body: JSON.stringify({
    title: subject,
    message: text,
    priority: priorities[severity],
    extras: { 'client::display': { contentType: 'text/plain' } },
  }),
  authority,
})
