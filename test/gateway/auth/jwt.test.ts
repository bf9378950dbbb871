// Hostile token texts: every one ends in a typed error that does not hold the token.
import { createHmac, generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { importJWK, type CryptoKey } from 'jose'
import { describe, expect, test } from 'vitest'
import { checkSignature, parseJwt } from '../../../gateway/auth/jwt.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { TOKEN_CHARS_MAX } from '../../../protocol/limits.ts'
import { codeOf, encodePart, forge } from './test-authority.ts'

const pair = generateKeyPairSync('ed25519')
const jwk = pair.publicKey.export({ format: 'jwk' })
const key = (await importJWK({ ...jwk, alg: 'EdDSA' })) as CryptoKey
const header = { alg: 'EdDSA', typ: 'varve+jwt', kid: 'k' }
const payload = { iss: 'varve:x' }
const good = forge(header, payload, pair.privateKey)
const [head = '', body = '', signature = ''] = good.split('.')

const parse = (text: string): Promise<unknown> => Promise.resolve().then(() => parseJwt(text))

const raw = (bytes: string | Uint8Array): string => Buffer.from(bytes).toString('base64url')

test('a good token parses and its signature holds', async () => {
  expect(parseJwt(good)).toEqual({ text: good, type: 'varve+jwt', keyId: 'k', payload })
  await checkSignature(parseJwt(good), key)
})

describe('malformed', () => {
  test.each([
    ['two parts', `${head}.${body}`],
    ['an extra dot in front', `.${good}`],
    ['an extra dot behind', `${good}.`],
    ['five parts', `${good}.a.b`],
    ['dots alone', '..'],
    ['a space inside', `${head} .${body}.${signature}`],
    ['a line break behind', `${good}\n`],
    ['padding', `${head}=.${body}.${signature}`],
    ['plain base64 letters', `${head}.${body}.+/${signature.slice(2)}`],
    ['letters outside ASCII', `${head}.${body}.${'ä'.repeat(86)}`],
    ['a length no base64 has', `${head}.${body}.${signature.slice(0, 85)}`],
    ['spare bits that are not zero', `${head}.${body}.${signature.slice(0, 85)}_`],
    ['a header that is not JSON', `${raw('{alg:EdDSA}')}.${body}.${signature}`],
    ['a header that is a list', `${encodePart(['EdDSA'])}.${body}.${signature}`],
    ['a header that is null', `${encodePart(null)}.${body}.${signature}`],
    ['a payload that is not JSON', `${head}.${raw('hello')}.${signature}`],
    ['a payload that is a number', `${head}.${encodePart(1)}.${signature}`],
    ['a payload that is not UTF-8', `${head}.${raw(Uint8Array.of(0x7b, 0xff, 0x7d))}.${signature}`],
    ['a byte order mark', `${head}.${raw(`\uFEFF{}`)}.${signature}`],
    ['an empty payload', `${head}..${signature}`],
    ['no type', `${encodePart({ alg: 'EdDSA' })}.${body}.${signature}`],
    ['a type that is no text', `${encodePart({ alg: 'EdDSA', typ: 1 })}.${body}.${signature}`],
    ['a critical extension', forge({ ...header, crit: ['exp'], exp: 1 }, payload, pair.privateKey)],
    ['an unencoded payload', forge({ ...header, crit: ['b64'], b64: false }, payload, pair.privateKey)],
    ['a huge one, well signed', forge(header, { pad: 'x'.repeat(TOKEN_CHARS_MAX) }, pair.privateKey)],
    ['a megabyte of brackets', raw('['.repeat(1024 * 1024))],
  ])('%s', async (_, text) => {
    expect(await codeOf(parse(text))).toBe('TOKEN_MALFORMED')
  })

  test('cut anywhere it is malformed, or its signature does not match', async () => {
    for (let length = 1; length < good.length; length++) {
      const cut = parse(good.slice(0, length)).then((jwt) => checkSignature(jwt as ReturnType<typeof parseJwt>, key))
      expect(['TOKEN_MALFORMED', 'TOKEN_SIGNATURE'], String(length)).toContain(await codeOf(cut))
    }
  })

  test('no token is not a malformed one', async () => {
    expect(await codeOf(parse(''))).toBe('TOKEN_MISSING')
  })
})

describe('algorithm', () => {
  const hmac = (alg: string, hash: string, secret: string | Buffer): string => {
    const text = `${encodePart({ ...header, alg })}.${body}`
    return `${text}.${createHmac(hash, secret).update(text).digest('base64url')}`
  }
  test.each([
    ['none without a signature', `${encodePart({ ...header, alg: 'none' })}.${body}.`],
    ['none with a signature', `${encodePart({ ...header, alg: 'none' })}.${body}.${signature}`],
    ['None', `${encodePart({ ...header, alg: 'None' })}.${body}.`],
    ['HS256 keyed with the public key’s bytes', hmac('HS256', 'sha256', Buffer.from(jwk.x ?? '', 'base64url'))],
    ['HS256 keyed with the public key’s text', hmac('HS256', 'sha256', jwk.x ?? '')],
    ['HS512 keyed with the PEM', hmac('HS512', 'sha512', pair.publicKey.export({ format: 'pem', type: 'spki' }))],
    ['ES256', `${encodePart({ ...header, alg: 'ES256' })}.${body}.${signature}`],
    ['a list', `${encodePart({ ...header, alg: ['EdDSA'] })}.${body}.${signature}`],
    ['none named', `${encodePart({ typ: 'varve+jwt' })}.${body}.${signature}`],
  ])('%s', async (_, text) => {
    expect(await codeOf(parse(text))).toBe('TOKEN_ALGORITHM')
  })
})

const check = (text: string): Promise<string> => codeOf(checkSignature(parseJwt(text), key))

describe('signature', () => {
  test('by another key', async () => {
    expect(await check(forge(header, payload, generateKeyPairSync('ed25519').privateKey))).toBe('TOKEN_SIGNATURE')
  })

  test('by a key that the header brings along', async () => {
    const own = generateKeyPairSync('ed25519')
    const brought = { ...header, jwk: own.publicKey.export({ format: 'jwk' }), jku: 'http://127.0.0.1/keys' }
    expect(await check(forge(brought, payload, own.privateKey))).toBe('TOKEN_SIGNATURE')
  })

  test('of another payload, another header, empty, short', async () => {
    expect(await check(`${head}.${encodePart({ iss: 'varve:y' })}.${signature}`)).toBe('TOKEN_SIGNATURE')
    expect(await check(`${encodePart({ ...header, kid: 'l' })}.${body}.${signature}`)).toBe('TOKEN_SIGNATURE')
    expect(await check(`${head}.${body}.`)).toBe('TOKEN_SIGNATURE')
    expect(await check(`${head}.${body}.${signature.slice(0, 40)}`)).toBe('TOKEN_SIGNATURE')
  })
})

test('any text ends in a typed error that does not quote it', () => {
  const part = fc.oneof(fc.base64String(), fc.string(), fc.json().map(raw), fc.constantFrom(head, body, signature))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const text = parts.join('.')
      try {
        parseJwt(text)
      } catch (error) {
        expect(error).toBeInstanceOf(VarveError)
        const { code, message } = error as VarveError
        expect(code).toMatch(/^TOKEN_(MISSING|MALFORMED|ALGORITHM)$/u)
        if (text.length > 20) expect(message).not.toContain(text)
      }
    }),
  )
})
