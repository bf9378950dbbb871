// Secrets of targets: encrypted with a key that lies beside the catalog and never in it.
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import path from 'node:path'
import { VarveError } from '../../protocol/errors.ts'
import { readSecret, writeSecret } from '../../protocol/host/secret-file.ts'

/** In the folder of the signing keys. */
export const NOTICE_KEY_NAME = 'notices.key'

const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Bytes of the hash of a key that stand before what it encrypted. */
const KEY_ID_BYTES = 8

/** The first byte of all that is encrypted: how. */
const VERSION = 1

/** A hex text and a line end; what else a person may have added is too much. */
const FILE_BYTES_MAX = 256

const keyIdOf = (key: Buffer): Buffer =>
  createHash('sha256').update('varve notices key\0').update(key).digest().subarray(0, KEY_ID_BYTES)

const unusable = (why: string): VarveError =>
  new VarveError(
    'CONFIG_INVALID',
    `the key of notifications, ${NOTICE_KEY_NAME} in the folder keys, ${why}: put it back from a copy, or move it away and set the secrets of all targets again`,
  )

/** Encrypts and decrypts what only a target needs; each secret is bound to what it belongs to. */
export class SecretBox {
  readonly #folder: string
  #key: Buffer | null = null
  /** Why the key that is there cannot be used; null where it can, or there is none. */
  #fault: VarveError | null = null

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Opens the key in a folder of secrets, where there is one; an unusable one is no reason not to start. */
  static async open(folder: string): Promise<SecretBox> {
    const box = new SecretBox(folder)
    await box.#read()
    return box
  }

  /** Why secrets can neither be read nor set; null where they can. */
  get fault(): VarveError | null {
    return this.#fault
  }

  /** Encrypts; makes the key first where there is none. CONFIG_INVALID where the one that is there cannot be used. */
  async seal(plain: string, belongsTo: string): Promise<Uint8Array> {
    const key = await this.#make()
    const nonce = randomBytes(NONCE_BYTES)
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    const head = Buffer.concat([Buffer.from([VERSION]), keyIdOf(key)])
    cipher.setAAD(Buffer.concat([head, Buffer.from(belongsTo)]))
    const text = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()])
    return Uint8Array.from(Buffer.concat([head, nonce, cipher.getAuthTag(), text]))
  }

  /** The plain text; null where its key is lost, or the bytes are not what was encrypted for this purpose. */
  open(sealed: Uint8Array, belongsTo: string): string | null {
    const bytes = Buffer.from(sealed)
    const head = bytes.subarray(0, 1 + KEY_ID_BYTES)
    if (this.#key === null || bytes[0] !== VERSION || !head.subarray(1).equals(keyIdOf(this.#key))) return null
    try {
      const nonce = bytes.subarray(head.length, head.length + NONCE_BYTES)
      const tag = bytes.subarray(head.length + NONCE_BYTES, head.length + NONCE_BYTES + TAG_BYTES)
      const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(Buffer.concat([head, Buffer.from(belongsTo)]))
      decipher.setAuthTag(tag)
      const text = bytes.subarray(head.length + NONCE_BYTES + TAG_BYTES)
      return Buffer.concat([decipher.update(text), decipher.final()]).toString('utf8')
    } catch {
      return null
    }
  }

  async #make(): Promise<Buffer> {
    if (this.#key === null) await this.#read()
    if (this.#fault !== null) throw this.#fault
    if (this.#key !== null) return this.#key
    const key = randomBytes(KEY_BYTES)
    await writeSecret(this.#folder, NOTICE_KEY_NAME, `${key.toString('hex')}\n`)
    this.#key = key
    return key
  }

  async #read(): Promise<void> {
    this.#fault = null
    try {
      const text = await readSecret(path.join(this.#folder, NOTICE_KEY_NAME), FILE_BYTES_MAX, (fault) =>
        unusable(fault === 'open to others' ? 'can be read by others' : 'is damaged'),
      )
      if (text === null) return
      const hex = /^([0-9a-f]{64})\s*$/u.exec(text)?.[1]
      if (hex === undefined) throw unusable('is damaged')
      this.#key = Buffer.from(hex, 'hex')
    } catch (thrown) {
      // the cause could quote the file, which is secret
      this.#fault = thrown instanceof VarveError ? thrown : unusable('cannot be read')
    }
  }
}
