// The signing keys on disk: made once, secret, rotated, shared between processes.
import { execFileSync } from 'node:child_process'
import { chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { importPublicKey, KEY_KEEP_MS, KEYS_MAX, SigningKeys } from '../../../gateway/auth/keys.ts'
import { codeOf, NOW_MS } from './test-authority.ts'
import { tempFolder } from '../../support/temp.ts'

const modeOf = async (file: string): Promise<number> => (await stat(file)).mode & 0o777

const onlyKeyFile = async (folder: string): Promise<string> => {
  const names = await readdir(folder)
  expect(names).toHaveLength(1)
  return path.join(folder, names[0] ?? '')
}

test('the first open makes one key, the next finds it', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  const first = await SigningKeys.open(folder, NOW_MS)
  const again = await SigningKeys.open(folder, NOW_MS + 1)
  expect(first.jwks().keys).toHaveLength(1)
  expect(again.jwks()).toEqual(first.jwks())
  expect(again.newest.kid).toBe(first.newest.kid)
})

test('folder and files are their owner’s alone, and nothing else is left in the folder', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  await SigningKeys.open(folder, NOW_MS)
  expect(await modeOf(folder)).toBe(0o700)
  expect(await modeOf(await onlyKeyFile(folder))).toBe(0o600)
})

test('the public set holds no secret, and neither does what a log would print', async () => {
  await using temp = await tempFolder()
  const keys = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const { d } = JSON.parse(await readFile(await onlyKeyFile(temp.join('keys')), 'utf8')) as { d: string }
  const [jwk] = keys.jwks().keys
  expect(Object.keys(jwk ?? {}).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  for (const text of [JSON.stringify(keys.jwks()), JSON.stringify(keys), inspect(keys, { depth: 9, showHidden: true })])
    expect(text).not.toContain(d)
})

test('a key file that others may read is refused', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  await SigningKeys.open(folder, NOW_MS)
  await chmod(await onlyKeyFile(folder), 0o640)
  expect(await codeOf(SigningKeys.open(folder, NOW_MS))).toBe('CONFIG_INVALID')
})

test('a damaged key file is refused, and the error does not quote it', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  await SigningKeys.open(folder, NOW_MS)
  const file = await onlyKeyFile(folder)
  const text = await readFile(file, 'utf8')
  const { d } = JSON.parse(text) as { d: string }
  const swapped = text.replace(d, `${d.slice(0, 4)}${d[4] === 'A' ? 'B' : 'A'}${d.slice(5)}`)
  for (const damaged of ['', '{', text.slice(0, -20), '{"createdMs":1}', swapped, 'x'.repeat(10_000)]) {
    await writeFile(file, damaged)
    const opened = SigningKeys.open(folder, NOW_MS)
    expect(await codeOf(opened), damaged.slice(0, 20)).toBe('DATA_DAMAGED')
    await expect(opened).rejects.toThrow(/signing-[\w-]+\.json .*varve-gateway keys new/u)
    expect(inspect(await opened.catch((error: unknown) => error))).not.toContain(d.slice(5))
  }
})

test('after a rotation the new key signs and the old one still verifies', async () => {
  await using temp = await tempFolder()
  const keys = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const old = keys.newest.kid
  const kid = await keys.rotate(NOW_MS + 1000)
  expect(kid).not.toBe(old)
  expect(keys.newest.kid).toBe(kid)
  expect(keys.jwks().keys.map((jwk) => jwk.kid)).toEqual([old, kid])
  expect(await keys.verifier(old, NOW_MS)).not.toBeNull()
  expect(await keys.verifier('unknown', NOW_MS)).toBeNull()
})

test('the new key is the newest even where the clock was set back', async () => {
  await using temp = await tempFolder()
  const keys = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const kid = await keys.rotate(NOW_MS - 86_400_000)
  expect((await SigningKeys.open(temp.join('keys'), NOW_MS)).newest.kid).toBe(kid)
})

test('a key that another process made is found, but the folder is not read for every unknown id', async () => {
  await using temp = await tempFolder()
  const running = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const beside = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const kid = await beside.rotate(NOW_MS)
  expect(await running.verifier(kid, NOW_MS + 1)).toBeNull()
  expect(await running.verifier(kid, NOW_MS + 60_000)).not.toBeNull()
  expect(running.newest.kid).toBe(kid)
})

test('keys too old to matter go, and there is a most', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  const keys = await SigningKeys.open(folder, NOW_MS)
  const first = keys.newest.kid
  const second = await keys.rotate(NOW_MS + 1)
  const late = NOW_MS + KEY_KEEP_MS + 1000
  const third = await keys.rotate(late)
  expect(keys.jwks().keys.map(({ kid }) => kid)).toEqual([second, third])
  expect(await keys.verifier(first, late + 60_000)).toBeNull()
  expect(await readdir(folder)).toHaveLength(2)
  for (let count = 2; count < KEYS_MAX; count++) await keys.rotate(late)
  expect(await codeOf(keys.rotate(late))).toBe('LIMIT_REACHED')
  expect(await readdir(folder)).toHaveLength(KEYS_MAX)
})

test('what is no key file is left alone; a folder emptied by hand gets a new key', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  await SigningKeys.open(folder, NOW_MS)
  const file = await onlyKeyFile(folder)
  await writeFile(path.join(folder, 'notes.txt'), 'mine')
  await rm(file)
  const keys = await SigningKeys.open(folder, NOW_MS)
  expect(keys.jwks().keys).toHaveLength(1)
  expect(await readFile(path.join(folder, 'notes.txt'), 'utf8')).toBe('mine')
})

test('a pipe or a folder in the place of a key, and a file in that of the folder, are named', async () => {
  await using temp = await tempFolder()
  const folder = temp.join('keys')
  await SigningKeys.open(folder, NOW_MS)
  const file = await onlyKeyFile(folder)
  await rm(file)
  execFileSync('mkfifo', ['-m', '600', file])
  expect(await codeOf(SigningKeys.open(folder, NOW_MS))).toBe('DATA_DAMAGED')
  await rm(folder, { recursive: true })
  await writeFile(folder, 'mine')
  await expect(SigningKeys.open(folder, NOW_MS)).rejects.toThrow(/keys is not a folder: move it away/u)
})

test('keys that were read stay good when their folder goes away', async () => {
  await using temp = await tempFolder()
  const keys = await SigningKeys.open(temp.join('keys'), NOW_MS)
  const { kid } = keys.newest
  await rm(temp.join('keys'), { recursive: true })
  expect(await keys.verifier('unknown', NOW_MS + 60_000)).toBeNull()
  expect(keys.newest.kid).toBe(kid)
})

test('a public key must be 32 bytes', async () => {
  await expect(importPublicKey(Buffer.alloc(31).toString('base64url'))).rejects.toThrow()
  await importPublicKey(Buffer.alloc(32, 1).toString('base64url'))
})
