// The gateway's signing keys: made at first start, kept one per file, rotated; the newest signs and all of them verify.
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type CryptoKey } from 'jose'
import * as v from 'valibot'
import { TOKEN_ALGORITHM } from '../../protocol/claims.ts'
import { VarveError } from '../../protocol/errors.ts'
import { syncFolder } from '../../protocol/host/durable.ts'
import { readSecret, writeSecret } from '../../protocol/host/secret-file.ts'
import { hasCode } from '../../protocol/host/system-error.ts'
import { TOKEN_LIFE_MAX_MS } from '../../protocol/limits.ts'

/** Keys that may be held at once. */
export const KEYS_MAX = 32

/** How long a key that no longer signs is kept for verifying, in milliseconds: as long as a token lives. */
export const KEY_KEEP_MS = TOKEN_LIFE_MAX_MS

/** Shortest time between two looks at the folder for a key that another process made, in milliseconds. */
const RELOAD_INTERVAL_MS = 5000

/** Largest key file that is read, in bytes. */
const KEY_FILE_BYTES_MAX = 4096

const KEY_FILE = /^signing-[\w-]+\.json$/u

const keyFileSchema = v.object({
  createdMs: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  kty: v.literal('OKP'),
  crv: v.literal('Ed25519'),
  x: v.string(),
  d: v.string(),
})

/** One public key as RFC 7517 and RFC 8037 write it. */
export interface PublicJwk {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly x: string
  readonly kid: string
  readonly alg: typeof TOKEN_ALGORITHM
  readonly use: 'sig'
}

interface SigningKey {
  readonly kid: string
  readonly createdMs: number
  readonly jwk: PublicJwk
  readonly publicKey: CryptoKey
  readonly privateKey: CryptoKey
}

const damaged = (file: string): VarveError =>
  new VarveError(
    'DATA_DAMAGED',
    `the key file ${path.basename(file)} in the folder keys is damaged, or none: put it back from a copy, or move it away and make a new key with: varve-gateway keys new`,
  )

/** Null where the file is gone: another process may remove an expired key. */
const readKey = (file: string): Promise<string | null> =>
  readSecret(file, KEY_FILE_BYTES_MAX, (fault) =>
    fault === 'open to others'
      ? new VarveError('CONFIG_INVALID', `the key file ${path.basename(file)} must be readable by its owner only`)
      : damaged(file),
  )

const importKey = async (jwk: { kty: string; crv: string; x: string; d?: string }): Promise<CryptoKey> => {
  const key = await importJWK(jwk, TOKEN_ALGORITHM)
  if (key instanceof Uint8Array) throw new VarveError('DATA_DAMAGED', 'not an Ed25519 key')
  return key
}

/** An agent's public key from its 32 bytes in base64url; DATA_DAMAGED. */
export const importPublicKey = (x: string): Promise<CryptoKey> => importKey({ kty: 'OKP', crv: 'Ed25519', x })

const parseKey = async (name: string, text: string): Promise<SigningKey> => {
  try {
    const { createdMs, kty, crv, x, d } = v.parse(keyFileSchema, JSON.parse(text))
    const kid = await calculateJwkThumbprint({ kty, crv, x })
    const [publicKey, privateKey] = await Promise.all([importKey({ kty, crv, x }), importKey({ kty, crv, x, d })])
    return { kid, createdMs, publicKey, privateKey, jwk: { kty, crv, x, kid, alg: TOKEN_ALGORITHM, use: 'sig' } }
  } catch {
    // the cause could quote the file, which is secret
    throw damaged(name)
  }
}

/** What a catalog knows of earlier keys. */
export interface KnownKeys {
  /** Id of the newest; null if only their existence is known. */
  readonly kid: string | null
}

const missing = (folder: string, { kid }: KnownKeys): VarveError =>
  new VarveError(
    'KEYS_MISSING',
    `the signing ${kid === null ? 'keys are' : `key ${kid} is`} not in ${folder}: put the folder back from a copy, or make a new key, with which all tokens given out so far end, with: varve-gateway keys new`,
  )

const makeKeysFolder = async (folder: string): Promise<void> => {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
  } catch (cause) {
    if (!hasCode(cause, 'EEXIST') && !hasCode(cause, 'ENOTDIR')) throw cause
    throw new VarveError('CONFIG_INVALID', `${folder} is not a folder: move it away`, { cause })
  }
}

/** The keys in one folder; other processes may add to it. */
export class SigningKeys {
  readonly #folder: string
  /** Oldest first; never empty once open. */
  #keys: readonly SigningKey[] = []
  #loadedMs = 0

  private constructor(folder: string) {
    this.#folder = folder
  }

  /**
   * Opens the folder, and makes it and a first key where there is none. KEYS_MISSING, with nothing made, where `known` says that
   * there were keys before and none is there, or not that of its id; CONFIG_INVALID, DATA_DAMAGED.
   */
  static async open(folder: string, nowMs: number, known: KnownKeys | null = null): Promise<SigningKeys> {
    const keys = new SigningKeys(folder)
    if (known !== null && !existsSync(folder)) throw missing(folder, known)
    await makeKeysFolder(folder)
    await keys.reload(nowMs)
    if (known !== null && (keys.#keys.length === 0 || (known.kid !== null && keys.#find(known.kid) === null)))
      throw missing(folder, known)
    if (keys.#keys.length === 0) await keys.rotate(nowMs)
    return keys
  }

  /** The key that signs now. */
  get newest(): { readonly kid: string; readonly privateKey: CryptoKey } {
    return this.#keys.at(-1)!
  }

  /** The key of this id, or null; for an unknown id the folder is read again from time to time. */
  async verifier(kid: string, nowMs: number): Promise<CryptoKey | null> {
    const known = this.#find(kid)
    if (known !== null) return known
    // a clock that was set back must not stop re-reading
    if (Math.abs(nowMs - this.#loadedMs) < RELOAD_INTERVAL_MS) return null
    await this.reload(nowMs)
    return this.#find(kid)
  }

  /** The public keys, for `/.well-known/jwks.json`. */
  jwks(): { readonly keys: readonly PublicJwk[] } {
    return { keys: this.#keys.map(({ jwk }) => jwk) }
  }

  /** The keys, oldest first, each with when its tokens stop being valid; null for the one that signs now. */
  list(): readonly { readonly id: string; readonly createdMs: number; readonly endsMs: number | null }[] {
    return this.#keys.map(({ kid: id, createdMs }, index) => {
      const successor = this.#keys[index + 1]
      return { id, createdMs, endsMs: successor === undefined ? null : successor.createdMs + KEY_KEEP_MS }
    })
  }

  /** Makes a new signing key and returns its id; older ones verify for another KEY_KEEP_MS. LIMIT_REACHED at KEYS_MAX. */
  async rotate(nowMs: number): Promise<string> {
    await this.reload(nowMs)
    await this.#dropOld(nowMs)
    if (this.#keys.length >= KEYS_MAX)
      throw new VarveError(
        'LIMIT_REACHED',
        `there are ${KEYS_MAX} signing keys already; each goes 90 days after the next one came`,
      )
    const pair = await generateKeyPair(TOKEN_ALGORITHM, { crv: 'Ed25519', extractable: true })
    const { kty, crv, x, d } = await exportJWK(pair.privateKey)
    // the new key is the newest even where the clock was set back
    const createdMs = Math.max(nowMs, (this.#keys.at(-1)?.createdMs ?? 0) + 1)
    const text = JSON.stringify({ createdMs, kty, crv, x, d })
    const key = await parseKey('of a new key', text)
    await writeSecret(this.#folder, `signing-${key.kid}.json`, `${text}\n`)
    await this.reload(nowMs)
    return key.kid
  }

  /** Reads the folder again. */
  async reload(nowMs: number): Promise<void> {
    const entries = await readdir(this.#folder).catch((error: unknown) => {
      // loaded keys stay usable when their folder disappears; the next start reports that
      if (this.#keys.length > 0 && hasCode(error, 'ENOENT')) return []
      throw error
    })
    const names = entries.filter((name) => KEY_FILE.test(name))
    if (names.length > KEYS_MAX * 2)
      throw new VarveError('CONFIG_INVALID', `there are more than ${KEYS_MAX} signing keys`)
    const keys = await Promise.all(
      names.map(async (name) => {
        const text = await readKey(path.join(this.#folder, name))
        return text === null ? [] : [await parseKey(name, text)]
      }),
    )
    this.#loadedMs = nowMs
    const found = keys.flat().sort((a, b) => a.createdMs - b.createdMs || (a.kid < b.kid ? -1 : 1))
    if (found.length > 0) this.#keys = found
  }

  #find(kid: string): CryptoKey | null {
    return this.#keys.find((key) => key.kid === kid)?.publicKey ?? null
  }

  async #dropOld(nowMs: number): Promise<void> {
    const old = this.#keys.filter((_, index) => {
      const successor = this.#keys[index + 1]
      return successor !== undefined && successor.createdMs + KEY_KEEP_MS < nowMs
    })
    for (const { kid } of old) await rm(path.join(this.#folder, `signing-${kid}.json`), { force: true })
    this.#keys = this.#keys.filter((key) => !old.includes(key))
    if (old.length > 0) await syncFolder(this.#folder)
  }
}
