// The agent's identity: its key, which never leaves the host, and what the gateway called it when it enrolled.
import { randomUUID } from 'node:crypto'
import { link, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { CryptoKey, JWK } from 'jose'
import * as v from 'valibot'
import { ASSERTION_LIFE_S, TOKEN_ALGORITHM, TOKEN_TYPE } from '../protocol/claims.ts'
import { VarveError } from '../protocol/errors.ts'
import { syncFolder } from '../protocol/host/durable.ts'
import { readSecret, writeSecret, writeUnnamed, type SecretFault } from '../protocol/host/secret-file.ts'
import { hasCode } from '../protocol/host/system-error.ts'
import { keepFormer, KEY_FILE } from './former-identities.ts'
import { makeStateFolder } from './state-folder.ts'

/** Largest file of the identity that is read, in bytes. */
const FILE_BYTES_MAX = 64 * 1024

const IDENTITY_FILE = 'identity.json'
const keyFile = (agentId: string): string => `agent-${agentId}.key`
/** The key that is to take its place, while the gateway may know either. */
const nextKeyFile = (agentId: string): string => `agent-${agentId}.next.key`

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

/** The error for a file or folder of the state that cannot be used, with what to do. */
const stateError = (thrown: unknown): VarveError => {
  if (thrown instanceof VarveError) return thrown
  const { code, path: place = 'the state folder' } = thrown as NodeJS.ErrnoException
  const denied = code === 'EACCES' || code === 'EPERM'
  const way = denied
    ? 'run this as the user that runs the agent'
    : `it can be neither made nor used there (${code ?? String(thrown)})`
  return new VarveError('CONFIG_INVALID', `cannot use ${place}: ${way}`, { cause: thrown })
}

const FAULTS: Readonly<Record<SecretFault, (file: string) => string>> = {
  'no file': () => 'is not a file: move it away, and enrol this host again',
  'open to others': (file) => `must be readable by its owner only: chmod 600 ${file}`,
  'too large': () => 'is too large',
}

const readState = async (file: string): Promise<string | null> => {
  const refusal = (fault: SecretFault): VarveError => new VarveError('CONFIG_INVALID', `${file} ${FAULTS[fault](file)}`)
  try {
    return await readSecret(file, FILE_BYTES_MAX, refusal)
  } catch (error) {
    throw stateError(error)
  }
}

const parse = <S extends v.GenericSchema>(schema: S, file: string, text: string): v.InferOutput<S> => {
  try {
    return v.parse(schema, JSON.parse(text))
  } catch {
    // the cause could quote the file, and the file may be a secret
    throw damaged(file)
  }
}

/** Unusable: enrolling this host again replaces it. */
const damaged = (file: string): VarveError =>
  new VarveError('CONFIG_INVALID', `${file} is damaged; enrol this host again`, { details: { damaged: true } })

const importKey = async (file: string, jwk: JWK): Promise<CryptoKey> => {
  try {
    return await crypto.subtle.importKey('jwk', jwk, 'Ed25519', false, ['sign'])
  } catch {
    // the cause could quote the key
    throw damaged(file)
  }
}

/** A key pair for an enrolment that has not happened yet. */
export class NewIdentity implements AsyncDisposable {
  /** The public key to send, 32 bytes in base64url. */
  readonly publicKey: string
  readonly #jwk: JWK
  /** Where the key is until the gateway has assigned it an agent. */
  #waiting: string | null = null

  private constructor(publicKey: string, jwk: JWK) {
    this.publicKey = publicKey
    this.#jwk = jwk
  }

  static async generate(): Promise<NewIdentity> {
    const [{ generateKeyPair }, { exportJWK }] = await Promise.all([
      import('jose/key/generate/keypair'),
      import('jose/key/export'),
    ])
    const pair = await generateKeyPair(TOKEN_ALGORITHM, { crv: 'Ed25519', extractable: true })
    const jwk = await exportJWK(pair.privateKey)
    return new NewIdentity(jwk.x!, jwk)
  }

  /** Makes the key durable in the state folder, so that no token is spent on one that cannot be kept; CONFIG_INVALID. */
  async prepare(folder: string): Promise<void> {
    const { kty, crv, x, d } = this.#jwk
    await makeStateFolder(folder)
    try {
      this.#waiting ??= await writeUnnamed(folder, `${JSON.stringify({ kty, crv, x, d })}\n`)
    } catch (error) {
      throw stateError(error)
    }
  }

  /**
   * Keeps key and record in the state folder; an earlier identity goes to the folder of former ones. The record names the
   * key file, so a crash leaves the old identity or the new one whole.
   */
  async save(folder: string, record: IdentityRecord): Promise<Identity> {
    const checked = parse(recordSchema, 'the answer of the gateway', JSON.stringify(record))
    await this.prepare(folder)
    try {
      await rename(this.#waiting!, path.join(folder, keyFile(checked.agentId)))
      this.#waiting = null
      await this.#write(folder, checked)
    } catch (error) {
      throw stateError(error)
    }
    return Identity.load(folder)
  }

  /** Keeps the key, once prepared, under a name of its own, or takes the key that has the name already; its public half. */
  async keepAs(folder: string, name: string): Promise<string> {
    const file = path.join(folder, name)
    try {
      await link(this.#waiting!, file)
      await syncFolder(folder)
      return this.publicKey
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw stateError(error)
      return (await readKey(file))?.publicKey ?? (await this.keepAs(folder, name))
    }
  }

  /** Without `save`, nothing of it stays under another name. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#waiting !== null) await rm(this.#waiting, { force: true })
  }

  async #write(folder: string, checked: IdentityRecord): Promise<void> {
    await keepFormer(folder, IDENTITY_FILE, keyFile(checked.agentId))
    await writeSecret(folder, IDENTITY_FILE, `${JSON.stringify(checked, null, 2)}\n`)
    const others = (await readdir(folder)).filter((name) => KEY_FILE.test(name) && name !== keyFile(checked.agentId))
    for (const name of others) await rm(path.join(folder, name), { force: true })
  }
}

/** Reads a key of the state folder; null where there is none, CONFIG_INVALID when it is damaged or open to others. */
const readKey = async (file: string): Promise<{ readonly publicKey: string; readonly key: CryptoKey } | null> => {
  const text = await readState(file)
  if (text === null) return null
  const jwk = parse(keySchema, file, text)
  return { publicKey: jwk.x, key: await importKey(file, jwk) }
}

/** The identity of an enrolled agent. */
export class Identity {
  readonly record: IdentityRecord
  /** Milliseconds by which this host's clock is ahead of the gateway's, which judges assertions; about 0 if both are right. */
  aheadMs = 0
  readonly #folder: string
  #key: CryptoKey
  /** Signs with the key of a rotation that was broken off. */
  #isNext = false

  private constructor(folder: string, record: IdentityRecord, key: CryptoKey) {
    this.#folder = folder
    this.record = record
    this.#key = key
  }

  /** Reads the identity in the state folder; NOT_ENROLLED without one, CONFIG_INVALID when it is damaged or open to others. */
  static async load(folder: string): Promise<Identity> {
    const file = path.join(folder, IDENTITY_FILE)
    const text = await readState(file)
    if (text === null) throw new VarveError('NOT_ENROLLED', 'this host is not enrolled: run "varve-agent enrol" first')
    const record = parse(recordSchema, file, text)
    const secret = path.join(folder, keyFile(record.agentId))
    const found = await readKey(secret)
    if (found === null)
      throw new VarveError('NOT_ENROLLED', `the key of this host, ${secret}, is missing: enrol it again`)
    return new Identity(folder, record, found.key)
  }

  /**
   * A signed assertion of who this agent is, good for ASSERTION_LIFE_S; with the key of the state folder, which
   * another process may have rotated.
   */
  async assertion(nowMs: number): Promise<string> {
    const { agentId, issuer } = this.record
    if (!this.#isNext) {
      // a key that was read stays good where its file is away
      const found = await readKey(this.#file(keyFile)).catch(() => null)
      this.#key = found?.key ?? this.#key
    }
    const iat = Math.floor((nowMs - this.aheadMs) / 1000)
    // a command that borrows the agent's session signs nothing
    const { SignJWT } = await import('jose/jwt/sign')
    return new SignJWT({ iss: agentId, sub: agentId, aud: issuer, jti: randomUUID(), iat, exp: iat + ASSERTION_LIFE_S })
      .setProtectedHeader({ alg: TOKEN_ALGORITHM, typ: TOKEN_TYPE.agent })
      .sign(this.#key)
  }

  /**
   * Makes the next key durable beside the one that signs, or takes the one that a rotation left which was broken off;
   * its public half.
   */
  async prepareNext(): Promise<string> {
    await using fresh = await NewIdentity.generate()
    await fresh.prepare(this.#folder)
    return await fresh.keepAs(this.#folder, nextKeyFile(this.record.agentId))
  }

  /** Puts the next key, with this public half, in the place of the one that signs: the gateway knows it. */
  async keepNext(publicKey: string): Promise<void> {
    // another process may have done it, and begun with another one
    if ((await readKey(this.#file(nextKeyFile)))?.publicKey !== publicKey) return
    try {
      await rename(this.#file(nextKeyFile), this.#file(keyFile))
      await syncFolder(this.#folder)
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw stateError(error)
    }
  }

  /**
   * Runs work that signs with the next key, which the gateway may know already after a rotation that was broken off, and
   * keeps that key where the
   * work succeeds; null where there is no such key.
   */
  async withNext<R>(work: () => Promise<R>): Promise<R | null> {
    const next = await readKey(this.#file(nextKeyFile))
    if (next === null) return null
    this.#key = next.key
    this.#isNext = true
    try {
      const result = await work()
      await this.keepNext(next.publicKey)
      return result
    } finally {
      this.#isNext = false
    }
  }

  #file(nameOf: (agentId: string) => string): string {
    return path.join(this.#folder, nameOf(this.record.agentId))
  }
}
