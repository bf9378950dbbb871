// Enrolment: a key pair made here, a one-time token sent with the public half, an identity kept in the state folder.
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { hostname } from 'node:os'
import * as v from 'valibot'
import { isErrorCode, VarveError } from '../protocol/errors.ts'
import { unreachable } from './session/unreachable.ts'
import { makeStateFolder, removeFolders } from './state-folder.ts'
import { NewIdentity, type IdentityRecord } from './identity.ts'

const ANSWER_BYTES_MAX = 16 * 1024
const TIMEOUT_MS = 15_000

const answerSchema = v.object({
  agentId: v.string(),
  issuer: v.string(),
  tenant: v.string(),
  tenantName: v.string(),
})

/** What a gateway says instead of an enrolment. */
const refusalSchema = v.object({ code: v.string(), message: v.string() })

const ANSWERED_ELSE = 'is the address right?'

const textOf = async (response: IncomingMessage): Promise<string> => {
  let text = ''
  for await (const part of response as AsyncIterable<Buffer>) {
    text += part.toString('utf8')
    if (text.length > ANSWER_BYTES_MAX) throw new VarveError('CONNECTION_LOST', 'the gateway answered too much')
  }
  return text
}

const parse = (status: number | undefined, text: string): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw new VarveError('CONNECTION_LOST', `the gateway answered HTTP ${status} without JSON; ${ANSWERED_ELSE}`)
  }
}

/** Sends the request and reads the answer; whatever breaks on the way is CONNECTION_LOST. */
const exchange = async (
  url: URL,
  ca: Buffer | null,
  body: string,
): Promise<{ status: number | undefined; text: string }> => {
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const options = { method: 'POST', headers, timeout: TIMEOUT_MS }
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request =
        url.protocol === 'https:'
          ? requestHttps(url, { ...options, ...(ca === null ? {} : { ca }) }, resolve)
          : requestHttp(url, options, resolve)
      request.on('timeout', () => request.destroy(new Error('no answer in time')))
      request.on('error', reject)
      // also where no error says why: an answer that switches to another protocol, say
      request.on('close', () => reject(new Error(`it did not answer as a gateway does; ${ANSWERED_ELSE}`)))
      request.end(body)
    })
    return { status: response.statusCode, text: await textOf(response) }
  } catch (thrown) {
    throw thrown instanceof VarveError ? thrown : unreachable(url.host, thrown as Error)
  }
}

const post = async (url: URL, ca: Buffer | null, body: string): Promise<unknown> => {
  const { status, text } = await exchange(url, ca, body)
  const answer = parse(status, text)
  if (status === 200) return answer
  const refusal = v.safeParse(refusalSchema, answer)
  if (refusal.success && isErrorCode(refusal.output.code))
    throw new VarveError(refusal.output.code, refusal.output.message.slice(0, 1024))
  throw new VarveError('CONNECTION_LOST', `the gateway answered HTTP ${status}; ${ANSWERED_ELSE}`)
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
  const body = JSON.stringify({ token, publicKey: identity.publicKey, host: hostname() })
  // before the token is spent
  const made = await makeStateFolder(state)
  try {
    const checked = v.safeParse(answerSchema, await post(url, ca, body))
    if (!checked.success)
      throw new VarveError('CONNECTION_LOST', 'the gateway answered something else than an enrolment')
    return (await identity.save(state, { ...checked.output, gateway })).record
  } catch (error) {
    await removeFolders(made)
    throw error
  }
}
