// What is read of a certificate and its key, what is refused with the files' names, and what is said of dates and names.
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { concernsOf, hostNamed, isValidAt, ownAuthority, readCertificate } from '../../../gateway/server/certificate.ts'
import { makeCertificate } from '../../support/certificates.ts'
import { tempFolder } from '../../support/temp.ts'

const DAY_MS = 24 * 60 * 60 * 1000

test('a pair that cannot be served is refused with the file that is wrong, and why', async () => {
  await using temp = await tempFolder()
  const one = await makeCertificate(temp.path, 'one')
  const other = await makeCertificate(temp.path, 'other')
  expect(await readCertificate(one)).toMatchObject({ cert: await readFile(one.cert), key: await readFile(one.key) })
  const [none, folder, empty, text, locked] = [
    temp.join('none'),
    temp.join('folder'),
    temp.join('empty'),
    temp.join('text'),
    temp.join('locked.key'),
  ]
  await mkdir(folder)
  await writeFile(empty, '')
  await writeFile(text, 'not PEM\n')
  execFileSync('openssl', ['ec', '-aes256', '-passout', 'pass:x', '-in', one.key, '-out', locked], { stdio: 'ignore' })
  const wrong: readonly (readonly [cert: string, key: string, says: RegExp])[] = [
    [one.cert, other.key, /other\.key does not belong to the certificate .*one\.pem/u],
    [one.key, one.cert, /one\.key holds no certificate.*swapped\?/u],
    [one.cert, other.cert, /other\.pem holds no private key.*swapped\?/u],
    [none, one.key, /certificate .*none: there is no such file/u],
    [one.cert, none, /key .*none: there is no such file/u],
    [folder, one.key, /certificate .*folder: it is a folder/u],
    [empty, one.key, /certificate .*empty is empty/u],
    [one.cert, empty, /key .*empty is empty/u],
    [text, one.key, /text holds no certificate in PEM$/u],
    [one.cert, text, /text holds no private key in PEM$/u],
    [one.cert, locked, /locked\.key is protected by a passphrase/u],
  ]
  for (const [cert, key, says] of wrong)
    await expect(readCertificate({ cert, key })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(says) as string,
    })
})

test('dates and names that agents stumble over are told', async () => {
  await using temp = await tempFolder()
  const now = Date.now()
  const of = async (name: string, wanted: Parameters<typeof makeCertificate>[2]): Promise<Buffer> =>
    readFile((await makeCertificate(temp.path, name, wanted)).cert)
  const good = await of('good', {})
  expect(concernsOf(good, now)).toEqual([])
  expect(concernsOf(good, now + 80 * DAY_MS)).toEqual([])
  expect(concernsOf(good, now + 95.5 * DAY_MS)).toEqual([expect.stringMatching(/^it expires in 4 days, at 20/u)])
  const old = await of('old', { fromDays: -9, toDays: -2 })
  expect(concernsOf(old, now)).toEqual([expect.stringMatching(/^it expired at .*agents refuse it/u)])
  const early = await of('early', { fromDays: 2, names: null })
  expect(concernsOf(early, now)).toEqual([
    expect.stringMatching(/^it is not valid before .*and it is .* here/u),
    expect.stringMatching(/^it names no host/u),
  ])
  expect([good, old, early].map((pem) => isValidAt(pem, now))).toEqual([true, false, false])
})

test('the host that a certificate names is the first whole name in it', async () => {
  await using temp = await tempFolder()
  const named = async (name: string, names: string | null): Promise<string | null> =>
    hostNamed(await readFile((await makeCertificate(temp.path, name, { names })).cert))
  expect(await named('one', 'IP:192.0.2.7,DNS:*.example,DNS:backup.example,DNS:b.example')).toBe('backup.example')
  expect(await named('address', 'IP:192.0.2.7')).toBe(null)
  expect(await named('none', null)).toBe(null)
})

test('a certificate that signed itself is what agents trust; one of an authority is not, and neither is none', async () => {
  await using temp = await tempFolder()
  const own = await readFile((await makeCertificate(temp.path, 'own')).cert)
  const authority = await makeCertificate(temp.path, 'authority', { authority: true })
  const signed = await readFile((await makeCertificate(temp.path, 'signed', { by: authority })).cert)
  expect(ownAuthority(own)?.trim()).toBe(own.toString().trim())
  expect([ownAuthority(signed), ownAuthority(null)]).toEqual([null, null])
})
