// Enrolment: a key pair made here, a one-time token sent with the public half, an identity kept in the state folder.
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { hostname } from 'node:os'
import * as v from 'valibot'
import { isErrorCode, VarveError } from '../protocol/errors.ts'
import { unreachable } from './session/unreachable.ts'
import { NewIdentity, type IdentityRecord } from './identity.ts'

const ANSWER_BYTES_MAX = 16 * 1024
const TIMEOUT_MS = 15_000

const answerSchema = v.object({
  agentId: v.string(),
  issuer: v.string(),
  tenant: v.string(),
  tenantName: v.string(),
})

const bodyOf = async (response: IncomingMessage): Promise<unknown> => {
  let text = ''
  for await (const part of response as AsyncIterable<Buffer>) {
    text += part.toString('utf8')
    if (text.length > ANSWER_BYTES_MAX) throw new VarveError('CONNECTION_LOST', 'the gateway answered too much')
  }
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new VarveError(
      'CONNECTION_LOST',
      `the gateway answered HTTP ${response.statusCode} without JSON; is the address right?`,
    )
  }
}

const post = async (url: URL, ca: Buffer | null, body: string): Promise<unknown> => {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const options = { method: 'POST', headers, timeout: TIMEOUT_MS }
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request =
      url.protocol === 'https:'
        ? requestHttps(url, { ...options, ...(ca === null ? {} : { ca }) }, resolve)
        : requestHttp(url, options, resolve)
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', (error) => reject(unreachable(url.host, error)))
    request.end(body)
  })
  const answer = await bodyOf(response)
  if (response.statusCode === 200) return answer
  const { code, message } = answer as { code?: unknown; message?: unknown }
  if (typeof code === 'string' && isErrorCode(code)) throw new VarveError(code, String(message).slice(0, 1024))
  throw new VarveError('CONNECTION_LOST', `the gateway answered HTTP ${response.statusCode}; is the address right?`)
}

/** Makes this host an agent of the token's tenant; an earlier identity in the folder is replaced. The gateway's TOKEN_ codes, ENROLMENT_USED, CONNECTION_LOST. */
export const enrolHost = async (options: {
  readonly gateway: string
  readonly ca: Buffer | null
  readonly token: string
  readonly state: string
}): Promise<IdentityRecord> => {
  const { gateway, ca, token, state } = options
  const identity = await NewIdentity.generate()
  const url = new URL('/enrol', gateway.replace(/^ws/u, 'http'))
  const answer = await post(url, ca, JSON.stringify({ token, publicKey: identity.publicKey, host: hostname() }))
  const checked = v.safeParse(answerSchema, answer)
  if (!checked.success) throw new VarveError('CONNECTION_LOST', 'the gateway answered something else than an enrolment')
  return (await identity.save(state, { ...checked.output, gateway })).record
}
