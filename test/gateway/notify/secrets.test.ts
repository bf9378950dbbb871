// Secrets at rest: the catalog alone gives nothing away, and a key that is lost or damaged is said and stops nothing.
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { NOTICE_KEY_NAME, SecretBox } from '../../../gateway/notify/secrets.ts'
import { tempFolder } from '../../support/temp.ts'

test('what was encrypted is read by the same key, for the same purpose, unchanged', async () => {
  await using temp = await tempFolder()
  const box = await SecretBox.open(temp.path)
  const sealed = await box.seal('swordfish', 'target acme mail')
  expect(Buffer.from(sealed).toString('latin1')).not.toContain('swordfish')
  expect(await box.seal('swordfish', 'target acme mail')).not.toEqual(sealed)
  const again = await SecretBox.open(temp.path)
  expect(again.open(sealed, 'target acme mail')).toBe('swordfish')
  expect(again.open(sealed, 'target other mail')).toBeNull()
  for (let at = 0; at < sealed.length; at++) {
    const bent = Uint8Array.from(sealed)
    bent[at]! ^= 1
    expect(again.open(bent, 'target acme mail')).toBeNull()
  }
  for (const short of [new Uint8Array(), sealed.subarray(0, 20)]) expect(again.open(short, 'x')).toBeNull()
  expect((await stat(temp.join(NOTICE_KEY_NAME))).mode & 0o777).toBe(0o600)
})

test('a lost key reads nothing; a new one is made with the next secret', async () => {
  await using temp = await tempFolder()
  const sealed = await (await SecretBox.open(temp.path)).seal('swordfish', 'x')
  await rm(temp.join(NOTICE_KEY_NAME))
  const box = await SecretBox.open(temp.path)
  expect([box.fault, box.open(sealed, 'x')]).toEqual([null, null])
  const fresh = await box.seal('swordfish', 'x')
  expect([box.open(fresh, 'x'), box.open(sealed, 'x')]).toEqual(['swordfish', null])
})

test('a key that others may read, or that is none, is used for nothing and not replaced', async () => {
  await using temp = await tempFolder()
  const sealed = await (await SecretBox.open(temp.path)).seal('swordfish', 'x')
  const text = await readFile(temp.join(NOTICE_KEY_NAME), 'utf8')
  for (const [content, mode] of [
    [text, 0o644],
    ['no key\n', 0o600],
    ['a'.repeat(5000), 0o600],
  ] as const) {
    await rm(temp.join(NOTICE_KEY_NAME))
    await writeFile(temp.join(NOTICE_KEY_NAME), content, { mode })
    const box = await SecretBox.open(temp.path)
    expect(box.fault).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(box.fault!.message).not.toContain(content.slice(0, 6))
    expect(box.open(sealed, 'x')).toBeNull()
    await expect(box.seal('swordfish', 'x')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await readFile(temp.join(NOTICE_KEY_NAME), 'utf8')).toBe(content)
  }
})
