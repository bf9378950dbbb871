// Enrolment: makes a key pair, sends the one-time token with the public key, and keeps the identity in the state folder.
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { hostname } from 'node:os'
import path from 'node:path'
import * as v from 'valibot'
import { asVarveError, toldError, VarveError } from '../protocol/errors.ts'
import { FORMER_FOLDER } from './former-identities.ts'
import { Identity, NewIdentity, type IdentityRecord } from './identity.ts'
import { removeUnnamed } from '../protocol/host/secret-file.ts'
import { removeFolders } from './make-folder.ts'
import { explained, notOurs } from '../protocol/host/unreachable.ts'
import { makeStateFolder } from './state-folder.ts'
import { lockState } from './state-lock.ts'

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

const textOf = async (response: IncomingMessage): Promise<string> => {
  let text = ''
  for await (const part of response as AsyncIterable<Buffer>) {
    text += part.toString('utf8')
    if (text.length > ANSWER_BYTES_MAX) throw new VarveError('CONNECTION_LOST', "the gateway's answer is too long")
  }
  return text
}

interface Answer {
  readonly status: number | undefined
  readonly location: string | undefined
  readonly text: string
}

const parse = (gateway: string, { status, location, text }: Answer): unknown => {
  try {
    return JSON.parse(text) as unknown
  } catch {
    throw notOurs(gateway, status, location)
  }
}

/** CANCELLED: whether the request arrived is not known. */
const interrupted = (signal: AbortSignal): VarveError => {
  const { code, message } = asVarveError(signal.reason)
  return new VarveError(code, `${message}: this host is unchanged; if the token has been used, get a new one`)
}

/** Sends the request and reads the answer; whatever breaks on the way is CONNECTION_LOST. */
const exchange = async (gateway: string, ca: Buffer | null, body: string, signal?: AbortSignal): Promise<Answer> => {
  const url = new URL('/enrol', gateway.replace(/^ws/u, 'http'))
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  const options = { method: 'POST', headers, timeout: TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) }
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request =
        url.protocol === 'https:'
          ? requestHttps(url, { ...options, ...(ca === null ? {} : { ca }) }, resolve)
          : requestHttp(url, options, resolve)
      request.on('timeout', () => request.destroy(new Error('no answer in time')))
      request.on('error', reject)
      // also where no error says why: an answer that switches to another protocol, say
      request.on('close', () => reject(new Error('it does not answer as a gateway does: is the address right?')))
      request.end(body)
    })
    const { statusCode: status, headers } = response
    return { status, location: headers.location, text: await textOf(response) }
  } catch (thrown) {
    if (signal?.aborted === true) throw interrupted(signal)
    if (thrown instanceof VarveError) throw thrown
    throw await explained({ gateway, hasCa: ca !== null }, thrown as Error)
  }
}

/** The gateway's refusal of an enrolment; for an unusable token, with how to get a new one. */
const refused = ({ code, message, details }: VarveError, { host }: URL): VarveError => {
  const spent = code.startsWith('TOKEN_') || code === 'ENROLMENT_USED'
  const way = `; "varve-gateway enrol --tenant NAME" at ${host} prints a new one`
  return new VarveError(code, `${message}${spent ? way : ''}`, { details })
}

const post = async (gateway: string, ca: Buffer | null, body: string, signal?: AbortSignal): Promise<unknown> => {
  const answer = await exchange(gateway, ca, body, signal)
  const value = parse(gateway, answer)
  if (answer.status === 200) return value
  const refusal = v.safeParse(refusalSchema, value)
  if (refusal.success) throw refused(toldError(refusal.output.code, refusal.output.message), new URL(gateway))
  throw notOurs(gateway, answer.status, answer.location)
}

/** The identity that the folder has now, null where it has no usable one. */
const present = async (state: string): Promise<IdentityRecord | null> => {
  try {
    return (await Identity.load(state)).record
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code === 'NOT_ENROLLED' || error.details['damaged'] === true) return null
    throw error
  }
}

/** EXISTS, with the consequences of another enrolment. */
const enrolledAlready = ({ agentId, tenantName, gateway }: IdentityRecord): VarveError =>
  new VarveError(
    'EXISTS',
    `this host is agent ${agentId} of tenant ${tenantName} at ${gateway} already; with --force it becomes a new agent: its machines stay with the old one until an owner assigns them ("varve-gateway machine assign"), and the old key is kept`,
  )

const lock = async (state: string): Promise<AsyncDisposable> => {
  try {
    return await lockState(state)
  } catch (thrown) {
    const error = asVarveError(thrown)
    if (error.code !== 'STATE_LOCKED') throw error
    const sentence = `"varve-agent run" is running with the state folder ${state}: stop it first, or it would continue as the old agent`
    throw new VarveError('STATE_LOCKED', sentence, { cause: error })
  }
}

export interface Enrolled {
  readonly record: IdentityRecord
  /** The identity that this one replaced, which is kept. */
  readonly former: IdentityRecord | null
}

/**
 * Makes this host an agent of the token's tenant. EXISTS where it is one already, unless `force`; STATE_LOCKED while it
 * runs; the gateway's TOKEN_ codes, ENROLMENT_USED, PEER_FAILED, CONNECTION_LOST, and CANCELLED by the signal. The token is
 * not spent unless the key can be kept.
 */
export const enrolHost = async (options: {
  readonly gateway: string
  readonly ca: Buffer | null
  readonly token: string
  readonly state: string
  readonly force?: boolean
  /** Aborts with the reason to cancel the enrolment; one that the gateway has answered is kept. */
  readonly signal?: AbortSignal
}): Promise<Enrolled> => {
  const { gateway, ca, token, state, force = false, signal } = options
  const made = await makeStateFolder(state)
  try {
    await using _lock = await lock(state)
    await removeUnnamed(state)
    const former = await present(state)
    if (former !== null && !force) throw enrolledAlready(former)
    await using identity = await NewIdentity.generate()
    await identity.prepare(state)
    const request = { token, publicKey: identity.publicKey, host: hostname() }
    const answer = await post(gateway, ca, JSON.stringify(request), signal)
    const checked = v.safeParse(answerSchema, answer)
    if (!checked.success) throw new VarveError('CONNECTION_LOST', "the gateway's answer is not an enrolment")
    const { record } = await identity.save(state, { ...checked.output, gateway })
    return { record, former }
  } catch (error) {
    await removeFolders(made)
    throw error
  }
}

/** An address without the slash that may end it. */
const place = (address: string): string => address.replace(/\/$/u, '')

/** What a person must do and know after an enrolment that replaced another, in sentences. */
export const whatFollows = (
  { record, former }: Enrolled,
  config: { readonly gateway: string; readonly state: string; readonly machines: readonly { readonly name: string }[] },
): string[] => {
  const sentences: string[] = []
  if (place(record.gateway) !== place(config.gateway))
    sentences.push(
      `The configuration says gateway = "${config.gateway}", and that is where "varve-agent run" connects.`,
    )
  if (former === null) return sentences
  const folder = path.join(config.state, FORMER_FOLDER, former.agentId)
  sentences.push(
    `The previous identity, agent ${former.agentId} of tenant ${former.tenantName} at ${former.gateway}, is kept in ${folder}; to go back, stop the agent and copy its two files to ${config.state}.`,
  )
  if (former.tenant !== record.tenant)
    sentences.push(
      `Another tenant: the restore points of ${former.tenantName} are out of reach, and every machine starts with a full backup.`,
    )
  else if (config.machines.length > 0) {
    sentences.push('Machines and their restore points stay with the old agent until an owner assigns them to this one:')
    for (const { name } of config.machines)
      sentences.push(`  varve-gateway machine assign ${name} --agent ${record.agentId} --tenant ${record.tenantName}`)
  }
  return sentences
}
