// One POST to a server that may be anything: bounded in time and size, over an address that was looked at, without redirects.
import { request as plainRequest, type IncomingMessage } from 'node:http'
import { request as tlsRequest } from 'node:https'
import { isIP } from 'node:net'
import { connect as tlsConnect, getCACertificates, type TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import { VarveError } from '../../protocol/errors.ts'
import { connectTo, type Reach } from './addresses.ts'

/** Most of an answer that is read, in bytes. */
export const ANSWER_BYTES_MAX = 64 * 1024

export interface Post {
  readonly url: URL
  readonly method?: 'POST' | 'GET'
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Certificate authority to trust besides the system's, PEM. */
  readonly authority: string | null
}

/** An answer: its status, and the beginning of its text. */
export interface HttpAnswer {
  readonly status: number
  readonly text: string
}

/** What TLS trusts: the system's authorities, and one of the target's own. */
export const trusting = (authority: string | null): { ca?: string[] } =>
  authority === null ? {} : { ca: [...getCACertificates('default'), authority] }

const secured = async (socket: Duplex, host: string, authority: string | null): Promise<TLSSocket> => {
  const named = isIP(host) === 0 ? { servername: host } : {}
  const tls = tlsConnect({ socket, host, ...named, ...trusting(authority), ALPNProtocols: ['http/1.1'] })
  tls.on('error', () => {})
  await new Promise<void>((done, fail) => {
    tls.once('secureConnect', done)
    tls.once('error', fail)
    tls.once('close', () => fail(new Error('the server ended the connection')))
  })
  return tls
}

const answerOf = async (response: IncomingMessage): Promise<string> => {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    parts.push(part)
    bytes += part.length
    if (bytes >= ANSWER_BYTES_MAX) break
  }
  return Buffer.concat(parts).subarray(0, ANSWER_BYTES_MAX).toString('utf8')
}

/** Posts and reads the answer. What connecting ends with; the signal's reason. */
export const post = async (
  { url, method = 'POST', headers, body, authority }: Post,
  reach: Reach,
  signal: AbortSignal,
): Promise<HttpAnswer> => {
  const host = url.hostname.replace(/^\[|\]$/gu, '')
  const isTls = url.protocol === 'https:'
  const port = url.port === '' ? (isTls ? 443 : 80) : Number(url.port)
  await using resources = new AsyncDisposableStack()
  const socket = await connectTo({ host, port }, reach, signal)
  resources.defer(() => void socket.destroy())
  const through = isTls ? await secured(socket, host, authority) : socket
  resources.defer(() => void through.destroy())
  const length = { 'content-length': String(Buffer.byteLength(body)) }
  const options = {
    method,
    headers: { connection: 'close', ...headers, ...(method === 'POST' ? length : {}) },
    // without an agent, which would connect by the name itself
    createConnection: () => through,
    signal,
  } as const
  const response = await new Promise<IncomingMessage>((done, fail) => {
    const sent = (isTls ? tlsRequest : plainRequest)(url, options, done)
    sent.on('error', fail)
    sent.end(method === 'POST' ? body : undefined)
  })
  response.on('error', () => {})
  const text = await answerOf(response).catch(() => '')
  signal.throwIfAborted()
  return { status: response.statusCode ?? 0, text }
}

/** The answer of a server that took it; PEER_FAILED for another one. */
export const accepted = ({ status, text }: HttpAnswer): string => {
  const words = text.trim().slice(0, 200)
  const said = `${status}${words === '' ? '' : ` ${words}`}`
  if (status >= 200 && status < 300) return said
  const why = status >= 300 && status < 400 ? ', a redirect, which is not followed' : ''
  throw new VarveError('PEER_FAILED', `the server answered ${said}${why}`)
}
