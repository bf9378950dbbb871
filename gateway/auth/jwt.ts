// Tokens as text: strict parsing before any trust, the signature check, and the error that a refused token becomes.
import { compactVerify, errors, type CryptoKey } from 'jose'
import { TOKEN_ALGORITHM } from '../../protocol/claims.ts'
import { VarveError, type ErrorCode } from '../../protocol/errors.ts'
import { TOKEN_CHARS_MAX } from '../../protocol/limits.ts'

const BASE64URL = /^[A-Za-z0-9_-]*$/u

type JsonObject = Readonly<Record<string, unknown>>

/** A token's parts as its sender wrote them; untrusted until the signature is checked. */
export interface Jwt {
  readonly text: string
  readonly type: string
  readonly keyId: string | null
  readonly payload: JsonObject
}

interface Bearer {
  readonly tenantId: string | null
  readonly subject: string
  readonly role: string
}

/** A token that was refused; names its bearer only where the signature was valid. Never holds the token. */
export class TokenRefused extends VarveError {
  readonly bearer: Bearer | null

  constructor(code: ErrorCode, message: string, bearer: Bearer | null = null) {
    super(code, message)
    this.bearer = bearer
  }
}

const malformed = (): TokenRefused => new TokenRefused('TOKEN_MALFORMED', 'the token is not a well-formed signed token')

const decodePart = (part: string): Buffer => {
  const bytes = Buffer.from(part, 'base64url')
  // one text per value: spare bits in the last character must be zero
  if (!BASE64URL.test(part) || bytes.toString('base64url') !== part) throw malformed()
  return bytes
}

const decodeObject = (part: string): JsonObject => {
  const bytes = decodePart(part)
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    throw malformed()
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed()
  return value as JsonObject
}

/**
 * Takes a token apart. At most TOKEN_CHARS_MAX characters.
 * TOKEN_MISSING, TOKEN_MALFORMED, or TOKEN_ALGORITHM for any algorithm but EdDSA.
 */
export const parseJwt = (text: string): Jwt => {
  if (text === '') throw new TokenRefused('TOKEN_MISSING', 'a token is needed')
  if (text.length > TOKEN_CHARS_MAX) throw malformed()
  const parts = text.split('.')
  const [head, body, signature] = parts
  if (parts.length !== 3 || head === undefined || body === undefined || signature === undefined) throw malformed()
  const header = decodeObject(head)
  if (header['alg'] !== TOKEN_ALGORITHM)
    throw new TokenRefused('TOKEN_ALGORITHM', `a token must be signed with ${TOKEN_ALGORITHM}`)
  // critical extensions must be understood, and none is supported here
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) throw malformed()
  const { typ: type, kid: keyId } = header
  if (typeof type !== 'string') throw malformed()
  const payload = decodeObject(body)
  decodePart(signature)
  return { text, type, keyId: typeof keyId === 'string' ? keyId : null, payload }
}

/** Checks the signature with this one key; TOKEN_SIGNATURE. */
export const checkSignature = async (jwt: Jwt, key: CryptoKey): Promise<void> => {
  try {
    await compactVerify(jwt.text, key, { algorithms: [TOKEN_ALGORITHM] })
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) throw error
    throw new TokenRefused('TOKEN_SIGNATURE', 'the signature of the token does not match')
  }
}
