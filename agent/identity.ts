// The agent's identity: its key, which never leaves the host, and what the gateway called it when it enrolled.
import { randomUUID } from 'node:crypto'
import { open, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { exportJWK, generateKeyPair, importJWK, SignJWT, type CryptoKey, type JWK } from 'jose'
import * as v from 'valibot'
import { ASSERTION_LIFE_S, TOKEN_ALGORITHM, TOKEN_TYPE } from '../protocol/claims.ts'
import { VarveError } from '../protocol/errors.ts'
import { makeStateFolder } from './state-folder.ts'

/** Largest file of the identity that is read, in bytes. */
const FILE_BYTES_MAX = 64 * 1024

const IDENTITY_FILE = 'identity.json'
const KEY_FILE = /^agent-[0-9a-f-]{36}\.key$/u
const keyFile = (agentId: string): string => `agent-${agentId}.key`

const recordSchema = v.object({
  agentId: v.pipe(v.string(), v.uuid()),
  issuer: v.pipe(v.string(), v.startsWith('varve:')),
  gateway: v.pipe(v.string(), v.minLength(1)),
  tenant: v.pipe(v.string(), v.uuid()),
  tenantName: v.string(),
})

/** What an agent keeps of its enrolment: its id, the gateway's issuer name and address, its tenant's uuid and name. */
export type IdentityRecord = Readonly<v.InferOutput<typeof recordSchema>>

const keySchema = v.object({ kty: v.literal('OKP'), crv: v.literal('Ed25519'), x: v.string(), d: v.string() })

/** Writes a file that only its owner may read, whole or not at all, durable when it returns. */
const writeSecret = async (folder: string, name: string, text: string): Promise<void> => {
  const temporary = path.join(folder, `.${randomUUID()}.tmp`)
  try {
    await using handle = await open(temporary, 'wx', 0o600)
    await handle.writeFile(text)
    await handle.sync()
    await rename(temporary, path.join(folder, name))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await using handle = await open(folder, 'r')
  await handle.sync()
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT'

/** A file or folder of the state that cannot be used, in words that say what to do. */
const stateError = (thrown: unknown): VarveError => {
  if (thrown instanceof VarveError) return thrown
  const { code, path: place = 'the state folder' } = thrown as NodeJS.ErrnoException
  const denied = code === 'EACCES' || code === 'EPERM'
  const way = denied ? 'run this as the user that runs the agent' : `(${code ?? String(thrown)})`
  return new VarveError('CONFIG_INVALID', `cannot use ${place}: ${way}`, { cause: thrown })
}

const readSecret = async (file: string): Promise<string | null> => {
  try {
    await using handle = await open(file, 'r')
    const { mode, size } = await handle.stat()
    if ((mode & 0o077) !== 0) throw new VarveError('CONFIG_INVALID', `${file} must be readable by its owner only`)
    if (size > FILE_BYTES_MAX) throw new VarveError('CONFIG_INVALID', `${file} is too large`)
    return await handle.readFile('utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw stateError(error)
  }
}

const parse = <S extends v.GenericSchema>(schema: S, file: string, text: string): v.InferOutput<S> => {
  try {
    return v.parse(schema, JSON.parse(text))
  } catch {
    // the cause could quote the file, and the file may be a secret
    throw new VarveError('CONFIG_INVALID', `${file} is damaged; enrol this host again`)
  }
}

const importKey = async (file: string, jwk: JWK): Promise<CryptoKey> => {
  try {
    const key = await importJWK(jwk, TOKEN_ALGORITHM)
    if (!(key instanceof Uint8Array)) return key
  } catch {
    // falls through to the error that quotes nothing
  }
  throw new VarveError('CONFIG_INVALID', `${file} is damaged; enrol this host again`)
}

/** A key pair for an enrolment that has not happened yet. */
export class NewIdentity {
  /** The public key to send, 32 bytes in base64url. */
  readonly publicKey: string
  readonly #jwk: JWK

  private constructor(publicKey: string, jwk: JWK) {
    this.publicKey = publicKey
    this.#jwk = jwk
  }

  static async generate(): Promise<NewIdentity> {
    const pair = await generateKeyPair(TOKEN_ALGORITHM, { crv: 'Ed25519', extractable: true })
    const jwk = await exportJWK(pair.privateKey)
    return new NewIdentity(jwk.x!, jwk)
  }

  /**
   * Keeps key and record in the state folder, in place of an earlier identity. The record names the key file, so a crash
   * leaves the old identity or the new one whole.
   */
  async save(folder: string, record: IdentityRecord): Promise<Identity> {
    const checked = parse(recordSchema, 'the answer of the gateway', JSON.stringify(record))
    try {
      await this.#write(folder, checked)
    } catch (error) {
      throw stateError(error)
    }
    return Identity.load(folder)
  }

  async #write(folder: string, checked: IdentityRecord): Promise<void> {
    await makeStateFolder(folder)
    const { kty, crv, x, d } = this.#jwk
    await writeSecret(folder, keyFile(checked.agentId), `${JSON.stringify({ kty, crv, x, d })}\n`)
    await writeSecret(folder, IDENTITY_FILE, `${JSON.stringify(checked, null, 2)}\n`)
    const others = (await readdir(folder)).filter((name) => KEY_FILE.test(name) && name !== keyFile(checked.agentId))
    for (const name of others) await rm(path.join(folder, name), { force: true })
  }
}

/** The identity of an enrolled agent. */
export class Identity {
  readonly record: IdentityRecord
  readonly #key: CryptoKey

  private constructor(record: IdentityRecord, key: CryptoKey) {
    this.record = record
    this.#key = key
  }

  /** Reads the identity in the state folder; NOT_ENROLLED when there is none, CONFIG_INVALID when it is damaged or open to others. */
  static async load(folder: string): Promise<Identity> {
    const file = path.join(folder, IDENTITY_FILE)
    const text = await readSecret(file)
    if (text === null) throw new VarveError('NOT_ENROLLED', 'this host is not enrolled: run "varve-agent enrol" first')
    const record = parse(recordSchema, file, text)
    const secret = path.join(folder, keyFile(record.agentId))
    const key = await readSecret(secret)
    if (key === null)
      throw new VarveError('NOT_ENROLLED', `the key of this host, ${secret}, is missing: enrol it again`)
    return new Identity(record, await importKey(secret, parse(keySchema, secret, key)))
  }

  /** A signed assertion of who this agent is, good for ASSERTION_LIFE_S. */
  assertion(nowMs: number): Promise<string> {
    const { agentId, issuer } = this.record
    const iat = Math.floor(nowMs / 1000)
    return new SignJWT({ iss: agentId, sub: agentId, aud: issuer, jti: randomUUID(), iat, exp: iat + ASSERTION_LIFE_S })
      .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: TOKEN_TYPE.agent })
      .sign(this.#key)
  }
}
